"""The access token of the private socket: made, extended in time, given up when it is lost.

Rules (api.coin.z.com/docs, ws-auth): a token is in the socket's address and is valid for 60
minutes; each extension gives it 60 minutes more. An account has at most five; a sixth removes the
one that would expire first, so tokens that are given up are handed back. An extension that the
venue refuses costs the token: a new one is made and the socket connects anew. One that nobody
answered is tried again, as long as the token has time.

Owns no socket, no clock and no signature: calls and time are given. What fails is tried again after
`RETRY_S`, never sooner; nothing here ever ends the process.
"""

from collections.abc import Callable
from typing import Final, Protocol

from schemas.errors import VenueError

LIFE_S: Final = 3600.0
EXTEND_AFTER_S: Final = 1500.0
SPARE_S: Final = 300.0
"""A token that is to end this soon is given up: it opens no socket, and is extended no more."""
RETRY_S: Final = 10.0
GIVEN_UP_MAX: Final = 5

_FAILURES = (VenueError, OSError, TimeoutError)


class TokenCalls(Protocol):
    """The three calls of ws-auth, signed; each raises VenueError, OSError or TimeoutError."""

    async def create(self) -> str:
        """POST: a new token."""

    async def extend(self, token: str) -> None:
        """PUT: 60 minutes more from now."""

    async def delete(self, token: str) -> None:
        """DELETE: give it back."""


class TokenKeeper:
    """One private socket's token.

    Args:
        calls: the venue's three calls. now_s: a clock that never jumps.
    """

    def __init__(self, calls: TokenCalls, now_s: Callable[[], float]) -> None:
        self.text = ""
        """Why there is no token, or why it may end; empty while all is well."""
        self._calls = calls
        self._now_s = now_s
        self._token = ""
        self._ends_s = 0.0
        self._extend_s = 0.0
        self._create_s = self._hand_back_s = float("-inf")
        self._given_up: list[str] = []

    @property
    def token(self) -> str:
        """The token in force, empty if there is none that can be relied on."""
        return self._token if self._now_s() < self._ends_s else ""

    async def address(self, base: str) -> str:
        """Where to connect: a token that is good for a while yet, or a new one.

        Raises:
            OSError: there is none now; `text` says why.
        """
        if self._now_s() > self._ends_s - SPARE_S:
            self._give_up()
        if not self._token:
            await self._create()
        if not self._token:
            raise OSError(f"no access token: {self.text}")
        return f"{base.rstrip('/')}/{self._token}"

    def refused(self) -> None:
        """The venue would not open a socket with this token: it is no longer one."""
        self._give_up()

    async def tick(self) -> bool:
        """Do what is due; True if the socket must connect anew, to `address`."""
        if not self._token:
            return False  # whoever connects asks for one
        await self._hand_back()
        now_s = self._now_s()
        if now_s >= self._extend_s:
            await self._extend(now_s)
        if self._token and now_s > self._ends_s - SPARE_S:
            self._give_up()
        return not self._token

    async def close(self) -> None:
        """Hand all tokens back; one that cannot be handed back runs out by itself."""
        self._give_up()
        while self._given_up:
            token = self._given_up.pop()
            try:
                await self._calls.delete(token)
            except _FAILURES:
                continue

    async def _create(self) -> None:
        began_s = self._now_s()
        if began_s < self._create_s:
            return
        self._create_s = began_s + RETRY_S
        try:
            token = await self._calls.create()
        except _FAILURES as error:
            self.text = str(error) or type(error).__name__
            return
        self._token, self.text = token, ""
        self._renewed(began_s)

    async def _extend(self, began_s: float) -> None:
        self._extend_s = began_s + RETRY_S
        try:
            await self._calls.extend(self._token)
        except VenueError as error:
            self.text = f"it could not be extended: {error}"
            self._give_up()
        except (OSError, TimeoutError) as error:
            self.text = f"it could not be extended yet: {str(error) or type(error).__name__}"
        else:
            self.text = ""
            self._renewed(began_s)

    def _renewed(self, began_s: float) -> None:
        """Counted from when the call began: the venue counts from some time after it."""
        self._ends_s = began_s + LIFE_S
        self._extend_s = began_s + EXTEND_AFTER_S

    def _give_up(self) -> None:
        if self._token:
            self._given_up = [*self._given_up, self._token][-GIVEN_UP_MAX:]
        self._token, self._ends_s = "", 0.0

    async def _hand_back(self) -> None:
        """One old token a turn, once there is a new one; what fails is left to end by itself."""
        now_s = self._now_s()
        if self._given_up and now_s >= self._hand_back_s:
            self._hand_back_s = now_s + RETRY_S
            token = self._given_up.pop(0)
            try:
                await self._calls.delete(token)
            except _FAILURES:
                return
