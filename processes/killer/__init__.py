"""The killer: ends what stands at venues when execution cannot. One shot, then it is gone."""
