"""GMO Coin (Japan, crypto), by its WebSocket and REST interfaces."""
