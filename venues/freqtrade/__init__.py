"""A Freqtrade bot as a place to trade at: its REST, its answers, what its refusals mean."""
