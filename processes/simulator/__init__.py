"""A local exchange: matching engine, seeded order flow, the venues' protocols, faults on request.

It imports nothing from `venues/`: its encoders and checksums are its own, so that a
misunderstanding of a protocol cannot confirm itself.

    market, flow, history       the engine, its orders, what happened
    conversation, venue         what all venues have in common: one socket, one venue
    bitfinex*, kraken*, gmo*    a venue each: protocol, data, REST calls, truth
    recordings, playback        recorded frames served in place of markets
    faults, server, main        what can go wrong, the port, the process
"""
