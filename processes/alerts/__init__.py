"""Alerts: what is wrong, told to people by channels of theirs."""
