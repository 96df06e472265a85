"""Keepers: a process beside each Freqtrade bot that an account says how to start."""
