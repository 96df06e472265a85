"""When a written frame has left this process: what the kill switch's proof rests on.

A transport takes bytes and gives them to the system when it can. They are gone when its buffer is
empty; but behind TLS a second buffer lies where nobody can look. That one is emptied as the loop
goes round whenever the system's socket has room: so the loop has to go round a few times, with room
all the while.
"""

import asyncio
import select
from typing import Final

ROUNDS: Final = 3
"""Of the loop, with room in the socket: what waits is handed on in the first of them."""
LOOK_S: Final = 0.002


async def handed_over(transport: asyncio.Transport) -> bool:
    """Return when all that was written has been handed to the system.

    Returns:
        False: the connection ended before; what was not handed over by then never will be.
    """
    rounds = 0
    while rounds < ROUNDS:
        if transport.is_closing():
            return False
        if transport.get_write_buffer_size() == 0 and _has_room(transport):
            rounds += 1
            await asyncio.sleep(0)
        else:
            rounds = 0
            await asyncio.sleep(LOOK_S)
    return True


def _has_room(transport: asyncio.Transport) -> bool:
    socket = transport.get_extra_info("socket")
    if socket is None:
        return False
    poll = select.poll()
    poll.register(socket.fileno(), select.POLLOUT)
    return any(event & select.POLLOUT for _, event in poll.poll(0))
