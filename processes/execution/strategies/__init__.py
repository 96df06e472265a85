"""Strategies: one file each, chosen in the settings by name, exchanged while running.

A strategy says what it wants of a prediction: a direction with a confidence and an expected move,
nothing, or out. It is a compiled rule, since most predictions are weighed by a kernel, and a small
class that says which model it reads and gives the rule its parameters. Whether what it wants is
worth its cost, and all gates, are the policy's.
"""
