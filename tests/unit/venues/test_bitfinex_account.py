"""The account channel: every record typed and exact, every missing number told."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.account import (
    AccountFigures,
    AccountGap,
    AccountState,
    BalanceChange,
    CommandAnswer,
    Fee,
    Fill,
    FundingChange,
    OrderUpdate,
    PositionChange,
)
from schemas.errors import DecodeError
from venues.bitfinex.account import FAILURE, AccountDecoder

SEQUENCE, TIMESTAMP = 65536, 32768
TIME = 1_600_000_000_000
NS = 1_000_000


def decoder(flags: int = 0) -> AccountDecoder:
    made = AccountDecoder()
    made.open()
    made.take(json.dumps({"event": "conf", "status": "OK", "flags": flags}).encode())
    return made


def take(*frames: str, flags: int = 0) -> list:
    made = decoder(flags)
    return [event for frame in frames for event in made.take(frame.encode())]


def order(
    status: str = "ACTIVE",
    kind: str = "EXCHANGE LIMIT",
    amount: str = "-0.5",
    ordered: str = "-2.00000001",
    flags: str = "null",
    more: str = ",null,9",
) -> str:
    return (
        f'[123456789012345678,7,1574955083558,"tETHUSD",{TIME},{TIME + 5},{amount},{ordered},'
        f'"{kind}",null,null,null,{flags},"{status}",null,null,120.50,8.86e-05,0,119,null,null,'
        "null,"
        f'0,0,null,null,null,"BFX",null,null,null{more}]'
    )


def test_an_order_whole():
    event = take(f'[0,"ou",{order("PARTIALLY FILLED @ 107.6(-0.2)")}]')[0]
    assert event == OrderUpdate(
        venue="bitfinex", order_id="123456789012345678", symbol="tETHUSD",
        status="partially_filled", status_text="PARTIALLY FILLED @ 107.6(-0.2)",
        client_order_id="1574955083558", side="sell", order_type="EXCHANGE LIMIT",
        quantity="2.00000001", filled_quantity="1.50000001", limit_price="120.50",
        average_price="0.0000886", event="ou", time_ns=(TIME + 5) * NS, created_ns=TIME * NS,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "status"),
    [("ACTIVE", "open"), ("PARTIALLY FILLED @ 1(2)", "partially_filled"),
     ("EXECUTED @ 107.6(-0.2)", "filled"), ("CANCELED was: PARTIALLY FILLED @ 1(2)", "canceled"),
     ("POSTONLY CANCELED", "canceled"), ("IOC CANCELED", "canceled"), ("RSN_DUST", "rejected"),
     ("RSN_PAUSE", "rejected"), ("INSUFFICIENT MARGIN was: ACTIVE", "rejected"),
     ("something new", "unknown"), ("", "unknown")],
)  # fmt: skip
def test_a_status_is_known_by_its_beginning(text, status):
    row = order(text, amount="-2.00000001")
    event = take(f'[0,"on",{row}]')[0]
    assert (event.status, event.status_text) == (status, text)
    # What has closed can go on no more, whatever its words.
    closed = take(f'[0,"oc",{row}]')[0]
    assert closed.is_final
    assert closed.status == (status if closed.status == status else "canceled")


@pytest.mark.parametrize(
    ("kind", "limit", "stop", "status", "force"),
    [("EXCHANGE LIMIT", "120.50", "", "open", ""), ("MARKET", "", "", "open", ""),
     ("EXCHANGE STOP", "", "120.50", "pending", ""), ("STOP LIMIT", "119", "120.50", "pending", ""),
     ("EXCHANGE TRAILING STOP", "", "120.50", "pending", ""),
     ("EXCHANGE FOK", "120.50", "", "open", "FOK"), ("IOC", "120.50", "", "open", "IOC")],
)  # fmt: skip
def test_prices_mean_what_the_type_says(kind, limit, stop, status, force):
    event = take(f'[0,"on",{order(kind=kind)}]')[0]
    assert (event.limit_price, event.stop_price, event.status) == (limit, stop, status)
    assert event.time_in_force == force


def test_flags_of_orders():
    event = take(f'[0,"on",{order(flags="5120")}]')[0]
    assert (event.post_only, event.reduce_only) == (True, True)


@pytest.mark.parametrize("length", [14, 20, 32, 40])
def test_orders_may_be_shorter_or_longer(length):
    fields = json.loads(order(more=""))
    row = json.dumps([*fields, *[None] * 8][:length])
    event = take(f'[0,"os",[{row},[]]]')
    assert len(event) == 1
    assert event[0].is_snapshot
    assert event[0].limit_price == ("" if length == 14 else "120.5")


def trade(fee: str = "-0.00024", currency: str = '"USD"', number: int = 9, maker: int = -1) -> str:
    begin = f'{number},"tBTCUSD",{TIME},34938060782,-0.2,153.57,"MARKET",0'
    return f"[{begin},{maker},{fee},{currency},88]"


def test_a_fill_is_told_once_and_with_its_fee():
    made = decoder()
    assert made.take(f'[0,"te",{trade("null", "null")}]'.encode()) == []
    told = made.take(f'[0,"tu",{trade()}]'.encode())
    assert told == [
        Fill(
            venue="bitfinex", fill_id="9", order_id="34938060782", symbol="tBTCUSD", side="sell",
            price="153.57", quantity="0.2", client_order_id="88",
            fees=(Fee(asset="USD", amount="0.00024"),), liquidity="taker", time_ns=TIME * NS,
        )
    ]  # fmt: skip
    assert made.take(f'[0,"tu",{trade()}]'.encode()) == []
    assert made.take(f'[0,"te",{trade()}]'.encode()) == []


def test_a_fill_that_is_never_confirmed_is_not_told_without_its_fee():
    made = decoder()
    executed = '[0,"te",[9,"tBTCUSD",1588241444015.25,7,-0.2,153.57,null,null,-1,null,null,88]]'
    assert made.take(executed.encode()) == []
    ended = made.take(f'[0,"ou",{order("PARTIALLY FILLED @ 153.57(-0.2)")}]'.encode())
    assert ended[0].filled_quantity != "0", "who reads it knows that something is missing"
    assert len(made.take(f'[0,"tu",{trade()}]'.encode())) == 1


def test_memory_of_fills_is_bounded():
    made = decoder()
    for number in range(1, 10_000):
        assert len(made.take(f'[0,"tu",{trade(number=number)}]'.encode())) == 1
    assert len(made._told) <= 4096


def test_artefacts_of_doubles_are_no_amounts():
    update = take(f'[0,"ou",{order(amount="-0.09999999999999998", ordered="-0.1")}]')[0]
    assert (update.filled_quantity, update.quantity) == ("0.00000000", "0.1")
    long = trade().replace("-0.2", "-0.20000000000000001")
    fill = take(f'[0,"tu",{long}]')[0]
    assert (fill.quantity, fill.side) == ("0.20000000", "sell")


@pytest.mark.parametrize(
    "number", ["1e300", "12345678901234567890123.123456789012", "1e-300", "-1e999", "0.5e63"]
)
def test_numbers_out_of_all_bounds_are_read_or_refused(number):
    for row in (order(amount=number), order(ordered=number)):
        for tag in ("on", "oc"):
            try:
                take(f'[0,"{tag}",{row}]')
            except DecodeError:
                continue


def test_a_failure_is_no_refusal():
    row = "[null,null,77]"
    answers = take(
        f'[0,"n",[1,"on-req",null,null,{row},null,"FAILURE","internal"]]',
        f'[0,"n",[1,"on-req",null,null,{row},null,"ERROR","Invalid order"]]',
        '{"event":"error","msg":"ratelimit: error","code":11010}',
    )
    assert [(answer.accepted, answer.code) for answer in answers] == [
        (False, FAILURE), (False, ""), (False, "11010"),
    ]  # fmt: skip


def test_times_may_have_fractions_and_notifications_may_be_in_seconds():
    row = '[1185815098,null,1575287436979,"tETHUSD"]'
    events = take(
        f'[0,"n",[1575287438.515,"on-req",null,null,{row},null,"SUCCESS","Submitting"]]',
        f'[0,"n",[1575291219660,"oc-req",null,null,{row},null,"SUCCESS","Submitted"]]',
        f'[0,"n",[null,"on-req",null,null,{row},null,"SUCCESS","Submitting"]]',
        f'[0,"tu",{trade().replace(str(TIME), f"{TIME}.25")}]',
    )
    assert [event.time_ns for event in events] == [
        1575287438515 * NS, 1575291219660 * NS, 0, TIME * NS + 250_000,
    ]  # fmt: skip


def test_what_was_filled_of_an_order_that_ends_badly_stands():
    text = "INSUFFICIENT MARGIN was: PARTIALLY FILLED @ 107.6(-0.2)"
    assert take(f'[0,"oc",{order(text)}]')[0].status == "canceled"
    whole = order(text, amount="-2.00000001")
    assert take(f'[0,"oc",{whole}]')[0].status == "rejected"


def test_a_rebate_is_a_negative_fee():
    assert take(f'[0,"tu",{trade("0.0001", maker=1)}]')[0].fees[0].amount == "-0.0001"
    assert take(f'[0,"tu",{trade("0")}]')[0].fees[0].amount == "0"
    assert take(f'[0,"tu",{trade("null")}]')[0].fees == ()


def test_wallets_positions_balances_margin():
    events = take(
        '[0,"ws",[["exchange","SAN",19.76,0,null,null,null],["margin","UST",1e-8]]]',
        '[0,"wu",["exchange","BTC",1.25,0,1.2,"Exchange",{"reason":"TRADE",'
        '"order_id":34934099168}]]',
        '[0,"ps",[["tETHUST","ACTIVE",-0.2,153.71,0,0,-1.5,-0.2,201.5,3,null,142420429]]]',
        '[0,"pc",["tETHUST","CLOSED",0,153.71,0,0,null,null,null,null,null,142420429,1,2]]',
        '[0,"bu",[4131.85,4131.85]]',
        '[0,"miu",["base",[-13.014640000000007,0,49331.70267297,49318.68803297,27]]]',
        '[0,"miu",["sym","tBTCUSD",[0.5,null,0.1,0.2,7]]]',
        '[0,"fiu",["sym","fUSD",[0.0008595462068208099,0,1.8444560185185186,0]]]',
    )
    san, ust, btc, short, closed, sums, base, of_symbol, lent = events
    assert (san.asset, san.balance, san.available, san.is_snapshot) == ("SAN", "19.76", "", True)
    assert (ust.wallet, ust.balance) == ("margin", "0.00000001")
    assert btc == BalanceChange(
        venue="bitfinex", asset="BTC", balance="1.25", wallet="exchange", available="1.2",
        cause="TRADE", reference="34934099168",
    )  # fmt: skip
    assert isinstance(short, PositionChange)
    assert (short.side, short.quantity, short.profit) == ("sell", "0.2", "-1.5")
    assert (short.status, short.liquidation_price, short.leverage) == ("open", "201.5", "3")
    assert (closed.status, closed.side, closed.time_ns) == ("closed", "", 2 * NS)
    assert sums == AccountFigures(
        venue="bitfinex", scope="balance", figures={"assets": "4131.85", "assets_net": "4131.85"}
    )
    assert base.figures["profit"] == "-13.014640000000007"
    assert of_symbol.scope == "margin:tBTCUSD"
    assert of_symbol.figures == {"tradable": "0.5", "buy": "0.1", "sell": "0.2"}
    assert lent.scope == "funding:fUSD"


def test_offers_credits_and_loans():
    events = take(
        f'[0,"fon",[41238747,"fUST",{TIME},{TIME + 1},5000,5000,"LIMIT",null,null,0,"ACTIVE",null,'
        "null,null,0.006000000000000001,30,0,0,null,0,null]]",
        '[0,"foc",[41238748,"fUST",1,2,-5,-10,"LIMIT",null,null,0,"CANCELED"]]',
        f'[0,"fcs",[[26223578,"fUST",1,{TIME},{TIME + 2},350,0,"ACTIVE",null,null,null,0.0002,'
        "30]]]",
        '[0,"flc",[26223579,"fUST",-1,1,2,350,0,"CLOSED (expired)",null,null,null,0,30]]',
    )
    offer, demand, credit, loan = events
    assert offer == FundingChange(
        venue="bitfinex", kind="offer", funding_id="41238747", symbol="fUST", status="open",
        status_text="ACTIVE", side="lend", amount="5000", original_amount="5000",
        rate="0.006000000000000001", period_days=30, time_ns=(TIME + 1) * NS, created_ns=TIME * NS,
    )  # fmt: skip
    assert (demand.side, demand.amount, demand.original_amount) == ("borrow", "5", "10")
    assert demand.status == "canceled"
    assert (credit.kind, credit.side, credit.is_snapshot) == ("credit", "lend", True)
    assert (loan.kind, loan.side, loan.status) == ("loan", "borrow", "expired")


def test_notifications_answer_commands():
    events = take(
        f'[0,"n",[{TIME},"on-req",5,null,{order()},null,"SUCCESS","Submitted"]]',
        f'[0,"n",[{TIME},"on-req",null,null,[null,null,77,"tX"],10001,"ERROR","Invalid order"]]',
        f'[0,"n",[{TIME},"oc_multi-req",null,null,[[{order()}]],null,"SUCCESS","2 orders"]]',
        f'[0,"n",[{TIME},"ox_multi-req",null,null,[[{TIME},"on-req",null,null,[null,null,7,"tX"],'
        f'null,"ERROR","no"],[{TIME},"oc-req",null,null,[8,null,9],null,"SUCCESS","yes"]],'
        'null,"SUCCESS","2 operations"]]',
        f'[0,"n",[{TIME},"deposit_new",null,null,{{"a":1}},null,"INFO","arrived"]]',
    )
    good, refused, several, *both, other = events
    assert [(each.command, each.accepted, each.client_order_id) for each in both] == [
        ("on-req", False, "7"), ("oc-req", True, "9"),
    ]  # fmt: skip
    assert good == CommandAnswer(
        venue="bitfinex", command="on-req", accepted=True, request_id="5",
        order_id="123456789012345678", client_order_id="1574955083558", text="Submitted",
        time_ns=TIME * NS,
    )  # fmt: skip
    assert (refused.accepted, refused.code, refused.client_order_id) == (False, "10001", "77")
    assert several.order_id == "123456789012345678"
    assert (other.command, other.accepted) == ("deposit_new", True)


@pytest.mark.parametrize(
    ("event", "live", "permanent"),
    [({"event": "auth", "status": "OK", "chanId": 0}, True, False),
     ({"event": "auth", "status": "FAILED", "code": 10100, "msg": "apikey: invalid"}, False, True),
     ({"event": "auth", "status": "FAILED", "code": 10114, "msg": "nonce: small"}, False, False),
     ({"event": "unauth", "status": "OK", "chanId": 0}, False, False),
     ({"event": "info", "code": 20051}, False, False),
     ({"event": "info", "code": 20060}, False, False),
     ({"event": "info", "code": 20061}, False, False)],
)  # fmt: skip
def test_whether_the_account_is_being_told(event, live, permanent):
    told = take(json.dumps(event))
    assert [(state.live, state.permanent) for state in told] == [(live, permanent)]
    assert isinstance(told[0], AccountState)
    assert take('{"event":"info","version":2}', '{"event":"pong"}') == []


# ---- numbers


def stream(frames: list[str], *, time: str = "") -> list[str]:
    """Frames as the venue numbers them: `hb`, `n`, `req`, `ou`, `ticker` and `sync`."""
    public = account = 0
    out = []
    for kind in frames:
        if kind != "req":
            public += 1
        if kind == "ou":
            account += 1
        body = {
            "hb": f'[0,"hb",{public}{time}]',
            "n": f'[0,"n",[1,"info"],{public},{account}{time}]',
            "req": f'[0,"n",[1,"on-req"],{account}{time}]',
            "ou": f'[0,"bu",[1,2],{public},{account}{time}]',
            "sync": f'[0,"bu",[1,2],{public},0{time}]',
            "ticker": f"[55,[1,2,3],{public}{time}]",
        }
        out.append(body[kind])
    return out


KINDS = st.lists(
    st.sampled_from(["hb", "n", "req", "ou", "sync", "ticker"]), min_size=1, max_size=30
)


@given(KINDS, st.booleans())
def test_a_whole_stream_has_no_gap(kinds, timed):
    flags = SEQUENCE | (TIMESTAMP if timed else 0)
    events = take(*stream(kinds, time=f",{TIME}" if timed else ""), flags=flags)
    assert not [event for event in events if isinstance(event, AccountGap)]
    assert sum(kind in {"ou", "sync"} for kind in kinds) == sum(
        isinstance(event, AccountFigures) for event in events
    )


@given(KINDS, st.data())
def test_a_missing_frame_is_told_by_the_next_with_a_number(kinds, data):
    kinds = ["ou", *kinds, "ou"]
    missing = data.draw(st.integers(1, len(kinds) - 2))
    frames = stream(kinds)
    del frames[missing]
    gaps = [event for event in take(*frames, flags=SEQUENCE) if isinstance(event, AccountGap)]
    # An answer to a command has no number of its own: nobody can see that one is missing.
    assert len([gap for gap in gaps if not gap.channel]) == (kinds[missing] != "req")
    assert len([gap for gap in gaps if gap.channel]) == (kinds[missing] == "ou")


def test_without_the_flag_there_are_no_numbers_to_check():
    assert take('[0,"bu",[1,2]]', '[0,"hb"]', f'[0,"bu",[1,2],{TIME}]')
    made = decoder(SEQUENCE)
    made.take(b'[0,"bu",[1,2],5]')
    assert made.uncounted == 1


# ---- what is not as it should be


@pytest.mark.parametrize(
    "frame",
    ["", "x", "[", "{}x", "[0]", '[0,"on"]', '[0,"on",5]', '[0,"os",{}]', '[0,"os",[5]]',
     '[0,"on",["x"]]', '[0,"tu",[1.5,"tX",1]]', '[0,"wu",["a","b","c"]]', '[0,"miu",["base",5]]',
     '[0,"wu",["a","b",1e999]]', '["0","on",[]]', "[null,1]", '[0,"bu",[NaN]]'],
)  # fmt: skip
def test_a_frame_that_is_none_costs_itself(frame):
    made = decoder(SEQUENCE)
    good = stream(["ou", "ou"])
    assert made.take(good[0].encode())
    with pytest.raises(DecodeError):
        made.take(frame.encode())
    assert [type(event) for event in made.take(good[1].encode())] == [AccountFigures]


@given(st.binary(max_size=60))
def test_any_bytes_are_decoded_or_refused(data):
    for frame in (data, b'[0,"on",' + data + b"]", b'[0,"n",[1,"on-req",' + data + b"]]"):
        try:
            decoder().take(frame)
        except DecodeError:
            continue


def test_frames_of_new_kinds_are_counted():
    made = decoder()
    assert made.take(b'[0,"zz",[1]]') == []
    assert made.take(b"[0,[1],2]") == []
    assert made.unknown == 2


def test_documentation_samples_of_the_account(recordings):
    lines = (recordings / "bitfinex" / "ws_doc_samples.jsonl").read_text().splitlines()
    seen = {}
    for line in lines:
        sample = json.loads(line)
        if sample["ack"]["event"] == "auth":
            frame = line[line.index('"frame":') + 8 : -1]
            seen[sample["name"]] = take(json.dumps(sample["ack"]), frame)[1:]
    assert all(len(events) == 1 for events in seen.values()), seen
    assert len(seen) == 9
    assert seen["OrderSnapshot"][0].quantity == "0.201104"
    assert seen["PositionSnapshot"][0].average_price == "153.71"
    assert seen["WalletSnapshot"][0].balance == "19.76"
    assert seen["FundingOfferUpdate"][0].rate == "0.006000000000000001"
