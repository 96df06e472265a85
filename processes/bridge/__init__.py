"""Rings to Redis Streams for programs on other machines, and their signals back."""
