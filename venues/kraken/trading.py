"""Trading at Kraken over the private WebSocket v2 (docs.kraken.com/api/docs/websocket-v2).

An order carries its command id as `cl_ord_id` and a deadline, by the venue's own clock, after which
the matching engine refuses it: so an order that is not there some seconds later will not come any
more. An answer says only that the gateway took or refused a command; what becomes of an order is
told by the channel `executions`, whose frames are counted: a missing one ends the connection, and
the next one is reconciled. Each connection has a token of its own, from REST.

Fails as `venues.trading.Trading` says. Never sends a command twice, never lets a token into a text.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final, TypeVar

from schemas.account import AccountEvent, AccountGap, BalanceChange, CommandAnswer, Fill
from schemas.errors import AnswerError, DecodeError, RateLimitedError, RefusedError, VenueError
from venues.kraken.account import CHANNELS, KrakenAccount
from venues.kraken.look import Look
from venues.kraken.private_rest import KrakenPrivateRest
from venues.kraken.private_socket import Message, PrivateSocket
from venues.kraken.rest import KrakenRest, error_of
from venues.kraken.signing import sign
from venues.kraken.terms import changed_terms, order_terms
from venues.names import time_ns
from venues.trading import Access, NewOrder, NotSentError, OrderRef, Sight, Tell

T = TypeVar("T")
URL: Final = "wss://ws-auth.kraken.com/v2"
DEADLINE_NS: Final = 5_000_000_000
"""The venue takes 0.5 to 60 s."""
ANSWERS_TIMED: Final = 16
"""A few minutes' of the dead man's timer alone: clocks do not drift apart meanwhile."""
LIVE_S: Final = 10.0
"""From a subscription to its snapshot."""
BATCH_MAX: Final = 15
CANCELS_MAX: Final = 50
_OVER: Final = "EOrder:Unknown order"
_SESSION: Final = "ESession:"
_SPENDABLE: Final = frozenset({"", "spot"})
"""Kinds of wallets whose balance is what orders can use."""
_SUBSCRIPTIONS: Final[dict[str, Message]] = {
    "executions": {"snap_orders": True, "snap_trades": True},
    "balances": {"snapshot": True},
}


class KrakenTrading:
    """One key at Kraken, spot.

    Raises:
        ConfigError: the secret is none of Kraken's.
    """

    venue = "kraken"
    parallel = 8
    settle_s = 10.0
    """The deadline's five seconds, and as many for REST to show what the engine took at its end."""

    def __init__(self, access: Access) -> None:
        self._access = access
        sign(access.secret, "", 0, "")  # a secret that cannot sign is said at the start
        private = KrakenPrivateRest(access.rest, access.key, access.secret, access.next_nonce)
        self._private = private
        self._look = Look(private, KrakenRest(access.rest))
        self._account = KrakenAccount()
        self._socket: PrivateSocket | None = None
        self._tell: Tell = lambda _: None
        self._awaited: set[str] = set()
        """Channels whose snapshot has not come."""
        self._live = asyncio.Event()
        self._ahead_ns: deque[int] = deque(maxlen=ANSWERS_TIMED)
        """The venue's clock less ours, by the newest answers: each had to travel, some for long, so
        that the greatest is nearest."""

    def client_id(self, order: NewOrder) -> str:
        """The command id."""
        return order.command_id

    # ---- the connection

    async def connect(self, tell: Tell) -> None:
        """A token, a socket, and both private channels with their snapshots."""
        await self.close()  # what is left of an attempt that failed
        self._tell = tell
        await self._access.rest.__aenter__()
        token = await self._private.websocket_token()
        socket = PrivateSocket(self._access.socket_url or URL, token, self._take)
        await socket.open()
        self._socket = socket
        self._account.open()
        self._ahead_ns.clear()
        self._awaited = set(CHANNELS)
        self._live = asyncio.Event()
        for channel, options in _SUBSCRIPTIONS.items():
            answer = await socket.ask("subscribe", {"channel": channel, **options})
            self._learn_time(answer)
            if answer.get("success") is not True:
                text = str(answer.get("error", "refused"))
                if text.startswith(_SESSION):
                    raise VenueError(f"{channel}: {text}", code=text)  # says nothing of the key
                raise error_of(f"subscribe {channel}", text)
        await socket.until(self._live, LIVE_S)

    async def watch(self) -> None:
        """Until the socket ends, or a frame is missing or cannot be read."""
        if self._socket is None:
            raise NotSentError("not connected")
        await self._socket.serve()

    async def close(self) -> None:
        """Close socket and client."""
        socket, self._socket = self._socket, None
        if socket is not None:
            await socket.close()
        await self._access.rest.__aexit__(None, None, None)

    def _take(self, message: Message) -> None:
        """A frame that answers nothing: of a private channel, or of none that matters here."""
        channel = message.get("channel")
        if not isinstance(channel, str) or channel not in CHANNELS:
            return  # status, heartbeat, pong, an answer that came too late
        try:
            events = self._account.take(message)
        except (DecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise AnswerError(f"{channel}: a frame that cannot be read: {error!r:.80}") from None
        for event in events:
            self._hand_on(event)
        if message.get("type") == "snapshot":
            self._awaited.discard(channel)
            if not self._awaited:
                self._live.set()

    def _hand_on(self, event: AccountEvent) -> None:
        if isinstance(event, AccountGap):
            raise VenueError(
                f"{event.channel}: frame {event.expected} is missing, {event.found} came"
            )
        if isinstance(event, Fill):
            self._look.keep(event)
        if isinstance(event, BalanceChange) and event.wallet.partition(":")[0] not in _SPENDABLE:
            return  # what is lent or staked cannot be traded with
        self._tell(event)

    # ---- commands

    async def place(self, order: NewOrder, written: Callable[[], None]) -> str:
        """Send `add_order`."""
        params = {"symbol": order.symbol, **order_terms(order), "deadline": self._deadline()}
        try:
            return (await self._command("add_order", params, written)).order_id
        except RateLimitedError as error:
            raise RefusedError(str(error), code=error.code) from None

    async def place_batch(
        self, orders: Sequence[NewOrder], written: Callable[[], None] = lambda: None
    ) -> list[CommandAnswer]:
        """Send 2 to 15 orders of one symbol with `batch_add`: an answer for each, in order.

        Of a batch the venue takes none if one is not as it should be; so `place` never makes
        one of orders that have nothing to do with each other.

        Raises:
            RefusedError, NotSentError: there are no orders. The rest as `place`.
        """
        symbols = {order.symbol for order in orders}
        if len(symbols) != 1 or not 2 <= len(orders) <= BATCH_MAX:
            raise NotSentError(f"a batch is of 2 to {BATCH_MAX} orders of one symbol")
        params = {
            "symbol": orders[0].symbol,
            "orders": [order_terms(order) for order in orders],
            "deadline": self._deadline(),
        }
        try:
            message = await self._ask("batch_add", params, written)
        except RateLimitedError as error:
            raise RefusedError(str(error), code=error.code) from None
        return _read("batch_add", lambda: self._account.take_batch(message))

    async def amend(self, ref: OrderRef, *, quantity: str = "", limit_price: str = "") -> None:
        """Change an open order in place with `amend_order`: it keeps its ids.

        Args:
            quantity: in all, what is filled included. Empty: as it is.

        Raises:
            RefusedError: nothing was changed. The rest as `place`.
        """
        named = {"cl_ord_id": ref.order.command_id}
        if ref.venue_order_id:
            named = {"order_id": ref.venue_order_id}
        params = {**named, **changed_terms(quantity, limit_price), "deadline": self._deadline()}
        await self._command("amend_order", params)

    async def edit(self, ref: OrderRef, *, quantity: str = "", limit_price: str = "") -> str:
        """Replace an open order with `edit_order`: the new one's id, and it has no command id.

        Raises:
            NotSentError: the venue's id of the order is not known. RefusedError: the order is as it
                was. The rest as `place`.
        """
        if not ref.venue_order_id:
            raise NotSentError("edit_order needs the venue's id of the order")
        params = {
            "order_id": ref.venue_order_id,
            "symbol": ref.order.symbol,
            **changed_terms(quantity, limit_price),
            "deadline": self._deadline(),
        }
        return (await self._command("edit_order", params)).order_id

    async def cancel(self, refs: Sequence[OrderRef]) -> None:
        """`cancel_order` for one, `batch_cancel` for several."""
        for first in range(0, len(refs), CANCELS_MAX):
            chunk = refs[first : first + CANCELS_MAX]
            ids = [ref.venue_order_id for ref in chunk if ref.venue_order_id]
            named = [ref.order.command_id for ref in chunk if not ref.venue_order_id]
            several = len(chunk) > 1
            by_id = {"orders" if several else "order_id": ids} if ids else {}
            by_name = {"cl_ord_id": named} if named else {}
            try:
                method = "batch_cancel" if several else "cancel_order"
                await self._command(method, {**by_id, **by_name})
            except RefusedError as error:
                if not error.code.startswith(_OVER):
                    raise

    async def cancel_all(self) -> None:
        """`cancel_all`."""
        await self._command("cancel_all", {})

    async def dead_man(self, timeout_s: float) -> None:
        """`cancel_all_orders_after`; 0 disarms it."""
        await self._command("cancel_all_orders_after", {"timeout": round(timeout_s)})

    async def _command(
        self, method: str, params: Message, written: Callable[[], None] = lambda: None
    ) -> CommandAnswer:
        message = await self._ask(method, params, written)
        answer = _read(method, lambda: self._account.take_reply(message))
        assert isinstance(answer, CommandAnswer)
        return answer

    async def _ask(self, method: str, params: Message, written: Callable[[], None]) -> Message:
        """A command's answer, which took it.

        Raises:
            VenueError: it was refused. NotSentError, OSError, TimeoutError: as `PrivateSocket.ask`.
        """
        socket = self._socket
        if socket is None:
            raise NotSentError("not connected")
        message = await socket.ask(method, params, written)
        self._learn_time(message)
        answer = _read(method, lambda: self._account.take_reply({**message, "result": {}}))
        assert isinstance(answer, CommandAnswer)
        if answer.accepted:
            return message
        if answer.text.startswith(_SESSION):
            socket.end("the venue does not know this connection's token any more")
        raise error_of(method, answer.text or "refused without a word")

    def _learn_time(self, message: Message) -> None:
        with suppress(KeyError, DecodeError):
            self._ahead_ns.append(time_ns(message["time_out"]) - self._access.now_ns())

    def _deadline(self) -> str:
        """RFC 3339, by the venue's clock."""
        due_ns = self._access.now_ns() + max(self._ahead_ns, default=0) + DEADLINE_NS
        moment = datetime.fromtimestamp(due_ns // 1_000_000 / 1000, UTC)
        return f"{moment:%Y-%m-%dT%H:%M:%S}.{due_ns // 1_000_000 % 1000:03d}Z"

    # ---- questions

    async def look(self, refs: Sequence[OrderRef], since_ns: int) -> Sight:
        """Over REST; see look.py."""
        return await self._look.look(refs, since_ns)

    async def holdings(self) -> list[BalanceChange]:
        """Over REST, which tells what open orders hold."""
        return await self._look.holdings()

    async def margin_positions(self) -> dict[str, Decimal]:
        """None: spot only."""
        return {}


def _read(method: str, read: Callable[[], T]) -> T:
    """What an answer says.

    Raises:
        AnswerError: it cannot be read, and what it said is not known.
    """
    try:
        return read()
    except (DecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise AnswerError(f"{method}: an answer that cannot be read: {error!r:.80}") from None
