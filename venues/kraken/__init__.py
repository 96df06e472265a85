"""Kraken (Spot), by its WebSocket v2 and REST interfaces."""
