"""Replay: a recorded session through the code that made it, and what came out compared by bits."""
