"""One command to another process at a time, without waiting for its answer."""

from pathlib import Path
from typing import Any

import zmq

from processes.bus import command_endpoint
from processes.clock import monotonic_s
from schemas.messages import Command, Reply, decode_reply, encode


class Courier:
    """Sends a command, and has its answer when it has come."""

    def __init__(
        self, context: "zmq.Context[zmq.Socket[bytes]]", run: Path, process: str, timeout_s: float
    ) -> None:
        self._context = context
        self._endpoint = command_endpoint(run, process)
        self._timeout_s = timeout_s
        self._socket: zmq.Socket[bytes] | None = None
        self._id = 0
        self._until_s = 0.0

    def send(self, name: str, arguments: dict[str, Any]) -> None:
        """Send a command; the one before has been answered or given up."""
        # A socket a command: an answer that comes too late finds nobody.
        self.close()
        self._id += 1
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.linger = 0
        self._socket.connect(self._endpoint)
        self._socket.send_multipart([b"", encode(Command(self._id, name, arguments))])
        self._until_s = monotonic_s() + self._timeout_s

    def answer(self) -> Reply | None:
        """The answer, or None while there is none.

        Raises:
            TimeoutError: there was none in time. Whether the command was obeyed is not known.
        """
        assert self._socket is not None
        if self._socket.poll(0):
            reply = decode_reply(self._socket.recv_multipart()[-1])
            self.close()
            return reply
        if monotonic_s() >= self._until_s:
            self.close()
            raise TimeoutError(f"no answer within {self._timeout_s:g} s")
        return None

    def close(self) -> None:
        """Give the socket up."""
        if self._socket is not None:
            self._socket.close(0)
            self._socket = None
