"""Brokers: one interface, a body for each way of having an order executed."""
