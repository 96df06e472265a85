"""The Freqtrade broker: a bot on this machine, over its REST and its message socket."""
