"""Backtest: recorded tapes through the live code, with a broker that fills from them."""
