"""Recorded sessions read back: rings as slots, feature rows made again at their recorded cuts.

No process: the floor below replay and training, which learn different things from one recording.
"""
