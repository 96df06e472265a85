"""Trading at GMO Coin: orders over REST, what becomes of them over the private WebSocket.

Rules (api.coin.z.com/docs): no order carries an id of ours, so one is under way at a time and a
lost one is looked for by its looks (look.py). The private stream repeats nothing: after every
connection the broker asks over REST. There is no dead-man timer: what is open stays open when
nobody is there.

A spot order trades what is held. On leverage symbols an order opens a position, on whichever side;
one that only reduces is a closing order, which the venue refuses where there is not so much to
close. It never shows a secret, a token or a signed text.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from schemas.account import AccountEvent, BalanceChange, Fill, OrderUpdate
from schemas.errors import AnswerError, RefusedError, UnavailableError, VenueError
from venues.gmo.look import Looker, Question, Window
from venues.gmo.order_rest import CANCELED_MAX, GmoOrderRest, is_key_refusal
from venues.gmo.placing import closes_positions, order_body, sent_once
from venues.gmo.private import TokenKeeper
from venues.gmo.private_rest import IDS_MAX, GmoPrivateRest, Margin, OpenPosition, PositionSum
from venues.gmo.private_socket import PrivateSocket, TokenRefusedError
from venues.gmo.rest import GmoRest, SymbolRules
from venues.gmo.updates import balance_of, signed_sums
from venues.trading import Access, NewOrder, NotSentError, OrderRef, Sight, Tell

SOCKET_URL: Final = "wss://api.coin.z.com/ws/private/v1"
CHANNELS: Final = ("executionEvents", "orderEvents")
HAND_BACK_S: Final = 2.0
TICK_S: Final = 1.0
BALANCES_AFTER_S: Final = 1.0
"""The venue tells no balances: they are asked for so long after a fill."""
NEVER_NS: Final = 1 << 62
REMEMBERED: Final = 5000
"""Orders, by each of their names."""
STRANGE_ASKED: Final = 50
"""Orders of others that the stream told of, in one look."""
ROUNDS_MAX: Final = 100
"""Of ten cancels each."""
OVER: Final = frozenset({"ERR-5122", "ERR-5123"})
"""A cancel came too late: the order is over, or on its way to be."""


class _Tokens:
    """The calls of ws-auth; remembers whether the key was refused, which a keeper does not tell."""

    def __init__(self, orders: GmoOrderRest) -> None:
        self._orders = orders
        self.refusal: RefusedError | None = None

    async def create(self) -> str:
        try:
            return await self._orders.create()
        except RefusedError as error:
            self.refusal = error if is_key_refusal(error) else None
            raise

    async def extend(self, token: str) -> None:
        await self._orders.extend(token)

    async def delete(self, token: str) -> None:
        await self._orders.delete(token)


class GmoTrading:
    """One key. Not connected until `connect`."""

    venue = "gmo"
    parallel = 1
    settle_s = 10.0

    def __init__(self, access: Access) -> None:
        self._access = access
        self.public = GmoRest(access.rest)
        self.reads = GmoPrivateRest(access.rest, access.key, access.secret)
        self.orders = GmoOrderRest(access.rest, access.key, access.secret)
        self._keeper: TokenKeeper | None = None
        self._socket: PrivateSocket | None = None
        self._tell: Tell = lambda _: None
        self._is_entered = False
        self._rules: dict[str, SymbolRules] = {}
        self._own: OrderedDict[str, str] = OrderedDict()
        """Command ids by the venue's ids."""
        self._seen: OrderedDict[str, int] = OrderedDict()
        """When the venue first told of an order, by stream or as canceled."""
        self._strange: OrderedDict[str, str] = OrderedDict()
        """Symbols of orders that the stream told of and that are not known."""
        self._windows: OrderedDict[str, Window] = OrderedDict()
        self._under_way: dict[str, NewOrder] = {}
        self._none: OrderedDict[str, bool] = OrderedDict()
        """Command ids of which the venue provably has no order."""
        self._balances_due_ns = NEVER_NS
        self._is_surveyed = False
        """Foreign orders of all symbols were asked for since the connection was made."""

    def client_id(self, order: NewOrder) -> str:  # noqa: ARG002
        """Nothing: the venue knows no such name."""
        return ""

    # ---- the connection

    async def connect(self, tell: Tell) -> None:
        """Symbols, a token, the socket, its channels; see the protocol for what it raises."""
        self._tell = tell
        self._is_surveyed = False
        try:
            await self._enter()
            self._rules = {rules.symbol: rules for rules in await self.public.symbols()}
            await self._open()
        except RefusedError as error:
            if is_key_refusal(error):
                raise
            raise UnavailableError(str(error), code=error.code) from None

    async def _open(self) -> None:
        tokens = _Tokens(self.orders)
        keeper = TokenKeeper(tokens, lambda: self._access.now_ns() / 1e9)
        self._keeper = keeper
        try:
            address = await keeper.address(self._access.socket_url or SOCKET_URL)
        except OSError:
            if tokens.refusal is not None:
                raise tokens.refusal from None
            raise
        self._socket = PrivateSocket(self._hear, lambda: self._access.rest.turn("private_socket"))
        try:
            await self._socket.open(address)
        except TokenRefusedError:
            keeper.refused()
            raise
        for channel in CHANNELS:
            await self._socket.subscribe(channel)

    async def watch(self) -> None:
        """Serve the socket and keep its token; raises what ends either."""
        assert self._socket is not None, "connect first"
        assert self._keeper is not None
        both = {
            asyncio.create_task(self._socket.serve()),
            asyncio.create_task(self._tend(self._keeper)),
        }
        try:
            done, _ = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)

    async def close(self) -> None:
        """End the socket, hand the token back, close the client; again, if it was cancelled."""
        if self._socket is not None:
            await self._socket.close()
            self._socket = None
        keeper, self._keeper = self._keeper, None
        try:
            async with asyncio.timeout(HAND_BACK_S):
                if keeper is not None:
                    await keeper.close()
        except TimeoutError:
            pass  # it runs out by itself
        if self._is_entered:
            self._is_entered = False
            await self._access.rest.__aexit__(None, None, None)

    async def _enter(self) -> None:
        if not self._is_entered:
            await self._access.rest.__aenter__()
            self._is_entered = True

    async def _tend(self, keeper: TokenKeeper) -> None:
        """The token, and balances after fills."""
        while True:
            await asyncio.sleep(TICK_S)
            if await keeper.tick():
                raise ConnectionError(f"the access token has ended: {keeper.text}")
            if self._access.now_ns() >= self._balances_due_ns:
                await self._tell_balances()

    async def _tell_balances(self) -> None:
        begun_ns = self._access.now_ns()
        try:
            held = await self.holdings()
        except (VenueError, OSError, TimeoutError):
            return  # asked for again
        if self._balances_due_ns <= begun_ns:
            self._balances_due_ns = NEVER_NS
        for asset in held:
            self._tell(asset)

    def _hear(self, event: AccountEvent) -> None:
        if isinstance(event, Fill):
            self._balances_due_ns = self._access.now_ns() + int(BALANCES_AFTER_S * 1e9)
        if isinstance(event, OrderUpdate | Fill) and event.order_id not in self._seen:
            self._see(event.order_id)
            if event.order_id not in self._own:
                _remember(self._strange, event.order_id, event.symbol)
        self._tell(event)

    def _see(self, name: str) -> None:
        if name not in self._seen:
            _remember(self._seen, name, self._access.now_ns())

    # ---- orders

    async def place(self, order: NewOrder, written: Callable[[], None]) -> str:
        """Send an order once; the venue's id of it. See the protocol for what it raises."""
        body = order_body(order, self._rules)
        send = self.orders.close_bulk if closes_positions(order) else self.orders.order
        begin_ns = self._access.now_ns()
        self._under_way[order.command_id] = order
        try:
            name = await sent_once(lambda sending: send(body, sending), written)
        except (RefusedError, NotSentError):
            _remember(self._none, order.command_id, value=True)
            raise
        finally:
            del self._under_way[order.command_id]
            _remember(self._windows, order.command_id, Window(begin_ns, self._access.now_ns()))
        self._learn(name, order.command_id)
        return name

    async def change(self, ref: OrderRef, price: str) -> None:
        """Another price for an order; that it was taken is told by an event.

        Raises:
            VenueError, OSError, TimeoutError: it was refused, or nobody can say.
        """
        await self.orders.change(_number(ref), price)

    async def close_positions(
        self, order: NewOrder, positions: Mapping[int, str], written: Callable[[], None]
    ) -> str:
        """As `place`, of an order that closes these positions, each with its size."""
        body = order_body(order, self._rules)
        name = await sent_once(lambda s: self.orders.close(body, positions, s), written)
        self._learn(name, order.command_id)
        return name

    async def cancel(self, refs: Sequence[OrderRef]) -> None:
        """Ask for cancels, ten at a time.

        Raises:
            VenueError, OSError, TimeoutError: at least one was not asked for; among them orders
                whose id is not known yet.
        """
        numbers = [_number(ref) for ref in refs if ref.venue_order_id]
        for begin in range(0, len(numbers), IDS_MAX):
            failures = await self.orders.cancel_several(numbers[begin : begin + IDS_MAX])
            left = [failure for failure in failures if failure.code not in OVER]
            if left:
                raise UnavailableError(f"{left[0].order_id}: {left[0].code}", code=left[0].code)
        nameless = [ref.order.command_id for ref in refs if not ref.venue_order_id]
        if nameless:
            raise UnavailableError(f"{nameless[0]}: its id at the venue is not known yet")

    async def cancel_all(self) -> None:
        """Ask for the cancel of everything, ten orders at a time, until nothing is left to ask."""
        await self._enter()
        if not self._rules:
            self._rules = {rules.symbol: rules for rules in await self.public.symbols()}
        asked: set[int] = set()
        for _ in range(ROUNDS_MAX):
            found = set(await self.cancel_bulk(list(self._rules)))
            if not found - asked:
                return
            asked |= found
        raise AnswerError(f"after {ROUNDS_MAX * CANCELED_MAX} cancels there are orders left")

    async def cancel_bulk(
        self, symbols: Sequence[str], *, side: str = "", settle_type: str = ""
    ) -> list[int]:
        """Ask for the cancel of the ten oldest of some symbols; their ids."""
        try:
            found = await self.orders.cancel_bulk(symbols, side=side, settle_type=settle_type)
        except RefusedError as error:
            if error.code in OVER:
                return []
            raise
        for number in found:
            self._see(str(number))  # one of them may be an order whose answer was lost
        return found

    async def dead_man(self, timeout_s: float) -> None:
        """Nothing: the venue has no such timer."""

    # ---- asking

    async def look(self, refs: Sequence[OrderRef], since_ns: int) -> Sight:
        """What became of orders; foreign ones of every symbol once a connection."""
        for ref in refs:
            if ref.venue_order_id:
                self._learn(ref.venue_order_id, ref.order.command_id)
        names = {command_id: name for name, command_id in self._own.items()}
        asked = [
            OrderRef(order=ref.order, venue_order_id=names.get(ref.order.command_id, ""))
            for ref in refs
            if ref.order.command_id not in self._none
        ]
        symbols = {ref.order.symbol for ref in refs} | set(self._strange.values())
        if not self._is_surveyed:
            symbols |= set(self._rules)
        question = Question(
            refs=asked,
            since_ns=since_ns,
            now_ns=self._access.now_ns(),
            symbols=symbols,
            windows=dict(self._windows),
            own=set(self._own),
            seen=dict(self._seen),
            strange=list(self._strange)[-STRANGE_ASKED:],
            under_way=list(self._under_way.values()),
            settle_ns=int(self.settle_s * 1e9),
        )
        sight = await Looker(self.reads, question).look()
        sight.missing |= {ref.order.command_id for ref in refs} & set(self._none)
        for name, update in sight.orders.items():
            if self._own.get(update.order_id, name) == name:  # or one like it was sent meanwhile
                self._learn(update.order_id, name)
        for order in sight.foreign:
            if order.is_final:
                self._strange.pop(order.order_id, None)  # told, and nothing comes after it
        self._is_surveyed = True
        return sight

    async def holdings(self) -> list[BalanceChange]:
        """All assets; margin that positions hold is not available yen."""
        return [balance_of(asset) for asset in await self.reads.assets()]

    async def margin(self) -> Margin:
        """The margin account."""
        return await self.reads.margin()

    async def positions(self, symbol: str) -> list[OpenPosition]:
        """The newest hundred leverage positions of a symbol."""
        return await self.reads.open_positions(symbol)

    async def margin_positions(self) -> dict[str, Decimal]:
        """Long less short: both sides of a symbol can be held at once."""
        return signed_sums(await self.position_sums())

    async def position_sums(self) -> list[PositionSum]:
        """All leverage positions, a row for each symbol and side."""
        return await self.reads.position_sums()

    def _learn(self, name: str, command_id: str) -> None:
        _remember(self._own, name, command_id)
        self._strange.pop(name, None)


def _number(ref: OrderRef) -> int:
    if not ref.venue_order_id.isdigit():
        raise VenueError(f"{ref.order.command_id}: the venue's id of it is not known")
    return int(ref.venue_order_id)


def _remember(names: OrderedDict[str, Any], name: str, value: Any) -> None:
    """Keep a fact, and forget the oldest when there are too many."""
    names[name] = value
    while len(names) > REMEMBERED:
        names.popitem(last=False)
