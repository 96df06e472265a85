"""Bitfinex, WebSocket and REST version 2."""
