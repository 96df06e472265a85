"""Trading at Bitfinex over its authenticated WebSocket (docs.bitfinex.com, "Websocket Inputs").

An order is named by a client id made from its command id and the UTC day. A notification says that
the gateway took or refused a command; frames of the account channel tell what becomes of orders,
and are counted: a missing one ends the connection, and the next one is reconciled. The connection
is opened with `dms: 4`: the venue cancels every order of the account when it is gone, so that no
resting order outlives a cut, a restart, or an execution that has stopped to call `dead_man`.

Spot alone: orders are EXCHANGE LIMIT and EXCHANGE MARKET, balances those of the exchange wallet.
Fails as `venues.trading.Trading` says. Never sends a command twice, and never lets a signed frame
into a text.
"""

import asyncio
import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Final

import msgspec

from schemas.account import (
    AccountEvent,
    AccountGap,
    AccountState,
    BalanceChange,
    CommandAnswer,
    Fill,
    OrderUpdate,
)
from schemas.errors import (
    AnswerError,
    DecodeError,
    RefusedError,
    UnavailableError,
    VenueError,
)
from venues.bitfinex.account import AccountDecoder
from venues.bitfinex.answers import Answers
from venues.bitfinex.look import WALLET, Look, common_asset, with_common_fees
from venues.bitfinex.orders import change_of, client_id_of, input_of, names_of
from venues.bitfinex.private_rest import BitfinexPrivateRest
from venues.bitfinex.private_socket import HEARD_S, PrivateSocket
from venues.trading import Access, NewOrder, NotSentError, OrderRef, Sight, Tell

URL: Final = "wss://api.bitfinex.com/ws/2"
ANSWER_S: Final = 10.0
"""A command that is not answered by then has an outcome that nobody knows."""
TEND_S: Final = 0.5
LATE_S: Final = 14.0
"""From a decision to its send, and from a send that was read to what REST shows."""
MULTI_MAX: Final = 75
_SPARE: Final = re.compile(rb'\[0,"(?!on"|ou"|oc"|tu"|n"|hb")\w+",')
"""Frames of snapshots, wallets, positions, margin and funding: no order depends on one."""
_MULTI: Final = "oc_multi"
_NOT_FOUND: Final = "not found"


class BitfinexTrading:
    """One key at Bitfinex, spot."""

    venue = "bitfinex"
    parallel = 16
    settle_s = HEARD_S + LATE_S

    def __init__(self, access: Access) -> None:
        self._access = access
        private = BitfinexPrivateRest(access.rest, access.key, access.secret, access.next_nonce)
        self._look = Look(private, access.now_ns)
        self._asking = asyncio.Lock()
        """One question at a time: nonces must arrive in order."""
        self._account = AccountDecoder()
        self._socket: PrivateSocket | None = None
        self._tell: Tell = lambda _: None
        self._answers = Answers()
        self._canceling = asyncio.Lock()
        """One `oc_multi` at a time: its answer names none that asked for it."""
        self._unreckoned: set[str] = set()
        """The venue's codes of assets of which it has not said what is available."""
        self._dead_man_s: float | None = None
        """The loop's time at which nobody is well any more."""

    def client_id(self, order: NewOrder) -> str:
        """Its `cid`."""
        return str(client_id_of(order.command_id))

    # ---- the connection

    async def connect(self, tell: Tell) -> None:
        """A socket that has authenticated and shown the account's orders."""
        self._tell = tell
        self._dead_man_s = None
        self._unreckoned.clear()
        self._account.open()
        await self._access.rest.__aenter__()
        socket = PrivateSocket(self._access.socket_url or URL, self._take)
        self._socket = socket
        await socket.open(self._access.key, self._access.secret, self._access.next_nonce)

    async def watch(self) -> None:
        """Until the socket ends, a frame is missing or cannot be read, or nobody is well.

        The last has the socket closed, and so the venue cancel everything: that is how a timer is
        kept which the venue does not have.
        """
        socket = self._open_socket()
        serving = asyncio.create_task(socket.serve())
        try:
            while True:
                done, _ = await asyncio.wait({serving}, timeout=TEND_S)
                if done:
                    serving.result()
                now_s = asyncio.get_running_loop().time()
                if self._dead_man_s is not None and now_s >= self._dead_man_s:
                    raise UnavailableError("the dead-man timer has run out: all are canceled")
                await self._reckon(socket)
        finally:
            self._answers.fail(lambda: ConnectionError("the connection was lost"))
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)

    async def close(self) -> None:
        """Close socket and client; with the socket the venue cancels all orders."""
        socket, self._socket = self._socket, None
        if socket is not None:
            await socket.close()
        self._answers.fail(lambda: ConnectionError("the connection was closed"))
        await self._access.rest.__aexit__(None, None, None)

    async def dead_man(self, timeout_s: float) -> None:
        """Unless called again in time, `watch` ends, and with the connection every order."""
        self._dead_man_s = asyncio.get_running_loop().time() + timeout_s

    async def _reckon(self, socket: PrivateSocket) -> None:
        """Ask what is available of assets that have changed; the venue tells it when asked."""
        if self._unreckoned:
            wanted = [[f"wallet_{WALLET}_{asset}"] for asset in sorted(self._unreckoned)]
            self._unreckoned.clear()
            await socket.send(_input("calc", wanted))

    def _open_socket(self) -> PrivateSocket:
        if self._socket is None:
            raise NotSentError("not connected to Bitfinex")
        return self._socket

    # ---- what the venue tells

    def _take(self, frame: bytes) -> None:
        try:
            events = self._account.take(frame)
        except DecodeError:
            if _SPARE.match(frame):
                return  # it was counted, and what it has to say is asked for over REST
            raise AnswerError("a frame of the account channel cannot be read") from None
        for event in events:
            self._hand_on(event)

    def _hand_on(self, event: AccountEvent) -> None:
        match event:
            case AccountGap():
                raise VenueError(
                    f"a frame is missing: number {event.expected} was due, {event.found} came"
                )
            case AccountState(live=False):
                text = f"Bitfinex: {event.text[:80]}"
                raise RefusedError(text) if event.permanent else UnavailableError(text)
            case CommandAnswer():
                self._answers.take(event)
            case OrderUpdate(is_snapshot=False):
                self._tell(event)
                # An order that is told was taken, whether or not its answer ever comes.
                self._answers.settle("on", event.client_order_id, event.order_id)
            case Fill(fees=fees) if fees:
                self._tell(with_common_fees(event))
            case BalanceChange(is_snapshot=False, wallet=wallet) if wallet == WALLET:
                self._hold(event)
            case _:
                pass  # snapshots: reconciliation asks over REST

    def _hold(self, change: BalanceChange) -> None:
        if change.available:
            self._tell(msgspec.structs.replace(change, asset=common_asset(change.asset)))
        else:
            self._unreckoned.add(change.asset)

    # ---- orders

    async def place(self, order: NewOrder, written: Callable[[], None]) -> str:
        """Send `on`."""
        wanted = input_of(order)
        return await self._ask("on", str(wanted["cid"]), wanted, written)

    async def place_many(
        self, orders: Sequence[NewOrder], written: Callable[[], None] = lambda: None
    ) -> list[str | BaseException]:
        """Send up to 75 orders with one `ox_multi`; the venue takes or refuses each by itself.

        Returns:
            For each order what `place` returns or raises.

        Raises:
            NotSentError: none of them left. OSError: the connection was lost on the way.
        """
        if not 1 <= len(orders) <= MULTI_MAX:
            raise NotSentError(f"1 to {MULTI_MAX} orders go into one frame")
        wanted = [input_of(order) for order in orders]
        socket = self._open_socket()
        frame = _input("ox_multi", [["on", each] for each in wanted])
        names = [str(each["cid"]) for each in wanted]
        with self._answers.awaited("on", names) as answers:
            try:
                async with asyncio.timeout(ANSWER_S):
                    await socket.send(frame, written)
                    await asyncio.wait(answers)
            except TimeoutError:
                pass  # of those that have none nobody can say anything
            return [_outcome(answer) for answer in answers]

    async def amend(self, ref: OrderRef, *, change: str = "", limit_price: str = "") -> None:
        """Change an order in place with `ou`.

        Args:
            change: what is added to its quantity, in plain decimal text; below zero takes away.

        Raises:
            RefusedError, NotSentError: it is as before. The rest as `place`.
        """
        wanted = change_of(ref, change, limit_price)
        await self._ask("ou", ref.venue_order_id, wanted)

    # ---- cancels

    async def cancel(self, refs: Sequence[OrderRef]) -> None:
        """Send `oc` for one order by its id, `oc_multi` for several or for client ids."""
        if len(refs) == 1 and refs[0].venue_order_id:
            number = refs[0].venue_order_id
            try:
                await self._ask("oc", number, {"id": int(number)})
            except RefusedError as error:
                if _NOT_FOUND not in str(error).lower():
                    raise
        elif refs:
            await self._cancel_many(names_of(refs))

    async def cancel_all(self) -> None:
        """Send `oc_multi` for all; without an answer the connection ends, which cancels all."""
        await self._cancel_many({"all": 1})

    async def _cancel_many(self, wanted: dict[str, Any]) -> None:
        async with self._canceling:
            socket = self._open_socket()
            try:
                await self._ask(_MULTI, "", wanted)
            except TimeoutError:
                # Its answer would be taken for the next one's.
                socket.end(UnavailableError("no answer to a cancel of several orders"))
                raise

    # ---- asking

    async def look(self, refs: Sequence[OrderRef], since_ns: int) -> Sight:
        """Over REST; see look.py."""
        async with self._asking:
            return await self._look.look(refs, since_ns)

    async def holdings(self) -> list[BalanceChange]:
        """Over REST, which tells what is available."""
        async with self._asking:
            return await self._look.holdings()

    async def margin_positions(self) -> dict[str, Decimal]:
        """None: the exchange wallet only."""
        return {}

    # ---- commands and their answers

    async def _ask(
        self,
        command: str,
        name: str,
        wanted: dict[str, Any],
        written: Callable[[], None] = lambda: None,
    ) -> str:
        """Send a command; the id in its answer.

        Args:
            name: what the answer repeats of the order: its client id or id; nothing where it is
                of several.
        """
        socket = self._open_socket()
        with self._answers.awaited(command, [name]) as (answer,):
            try:
                async with asyncio.timeout(ANSWER_S):
                    await socket.send(_input(command, wanted), written)
                    return await answer
            except TimeoutError:
                raise _unanswered(command) from None


def _input(name: str, wanted: Any) -> bytes:
    return msgspec.json.encode([0, name, None, wanted])


def _unanswered(command: str) -> TimeoutError:
    return TimeoutError(f"{command}: no answer within {ANSWER_S:.0f} s")


def _outcome(answer: asyncio.Future[str]) -> str | BaseException:
    if not answer.done():
        return _unanswered("ox_multi")
    error = answer.exception()
    return answer.result() if error is None else error
