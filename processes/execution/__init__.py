"""Execution: a deterministic machine over one input journal; policy, risk, orders, brokers."""
