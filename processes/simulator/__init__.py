"""A local exchange: matching engine, seeded order flow, the venues' protocols, faults on request.

It imports nothing from `venues/`: its encoders and checksums are its own, so that a
misunderstanding of a protocol cannot confirm itself.
"""
