"""Kraken Spot, WebSocket version 2."""
