"""GMO Coin's public and private WebSocket."""
