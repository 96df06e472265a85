"""Whole backtests of recorded sessions: the same to the byte, within the limits, and as told."""

import ctypes
import re
import sys
from decimal import Decimal

import msgspec
import numpy as np
import pytest

from config.loader import load
from processes.cli.__main__ import main
from processes.features.cutter import Cutter
from processes.recordings.span import Span, sessions_in
from processes.replay.backtest.main import backtest
from processes.replay.backtest.report import page
from processes.replay.backtest.rows import Rows
from processes.replay.backtest.stretches import stretches
from processes.training.simulated import START_NS
from schemas import features
from schemas.errors import UsageError
from schemas.layout import join
from schemas.settings import FeatureSettings
from tests.recorded import SESSION, record

SECOND = 10**9
LIVELY = {
    "inference.device": "numpy", "strategy.enter_threshold": "0.05",
    "strategy.min_expected_value_bps": "-100", "strategy.horizon_s": "3",
    "strategy.cooldown_s": "0", "risk.allow_short": "true", "risk.max_spread_bps": "1000",
}  # fmt: skip


def settings(**changes: str):
    named = {key.replace("__", "."): value for key, value in changes.items()}
    return load("demo", environment={}, changes={**LIVELY, **named})


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recorded")
    return record(folder, 5, seconds=45.0).data


def run(data, span=None, sessions=(SESSION,), **changes):
    return backtest(data, sessions, span or Span(), settings(**changes))


@pytest.fixture(scope="module")
def lively(data):
    return run(data)


def test_two_runs_are_identical_to_the_byte(data, lively):
    again = run(data)
    assert msgspec.json.encode(again) == msgspec.json.encode(lively)
    assert page(again) == page(lively)
    assert lively.summary.fills > 10
    assert lively.summary.trades > 4
    assert lively.decisions == lively.predictions > 50


def test_the_figures_agree_with_the_fills(lively):
    one = lively.summary
    fills = lively.fills
    cash, held = Decimal(0), {}
    for fill in fills:
        signed = Decimal(fill.quantity) * (1 if fill.side == "buy" else -1)
        cash -= signed * Decimal(fill.price) + Decimal(fill.fee)
        held[fill.instrument] = held.get(fill.instrument, Decimal(0)) + signed
    marks = {one.instrument: Decimal(one.mark) for one in lively.positions}
    worth = sum(quantity * marks[n] for n, quantity in held.items() if quantity)
    assert abs(cash + worth - Decimal(one.net)) < Decimal("1e-6")
    assert {p.instrument for p in lively.positions} == {n for n, q in held.items() if q}
    assert Decimal(one.fees) == sum(Decimal(fill.fee) for fill in fills)
    assert sum(hour.fills for hour in lively.hours) == len(fills)
    assert sum(hour.decisions for hour in lively.hours) == lively.decisions
    assert sum(count.decisions for count in lively.reasons) == lively.decisions
    assert one.won == sum(Decimal(trade.net) > 0 for trade in lively.trades)
    closed = sum(Decimal(trade.net) for trade in lively.trades)
    assert lively.positions or abs(closed - Decimal(one.realized)) < Decimal("1e-6")
    for fill in fills:  # market orders of this machine: between decision and fill all is accounted
        assert Decimal(fill.spread) >= 0
        assert Decimal(fill.depth) >= 0


def test_orders_arrive_and_are_known_of_after_their_latencies(data):
    late = run(data, backtest__latency_ms="150", backtest__report_latency_ms="200")
    prompt = run(data, backtest__latency_ms="0", backtest__report_latency_ms="0")
    drawn = run(data, backtest__latency_ms="150", backtest__jitter_ms="40")
    for result, least, most in ((late, 150, 153), (prompt, 0, 3), (drawn, 150, 193)):
        past_ms = [fill.time_ns % SECOND / 1e6 for fill in result.fills]
        assert past_ms
        assert all(least <= ms < most for ms in past_ms), (least, past_ms)
    assert len({fill.time_ns % SECOND for fill in drawn.fills}) > 3
    assert drawn.fills == run(data, backtest__latency_ms="150", backtest__jitter_ms="40").fills
    other = run(data, backtest__latency_ms="150", backtest__jitter_ms="40", backtest__seed="2")
    assert [f.time_ns for f in other.fills] != [f.time_ns for f in drawn.fills]


def test_limits_hold(data, lively):
    bound = run(data, risk__max_orders_per_minute="3", execution__order_notional="150")
    assert 0 < bound.summary.orders < lively.summary.orders
    entries = [f for f in bound.fills if Decimal(f.quantity) * Decimal(f.price) > 149]
    assert len({fill.command_id for fill in entries}) <= bound.summary.orders
    assert {"order_rate"} <= {count.reason for count in bound.reasons}
    small = run(data, risk__max_total_notional="90")
    assert small.summary.orders == 0
    assert "max_total_position" in {count.reason for count in small.reasons}
    lost = run(data, risk__max_daily_loss="0.05")
    assert lost.summary.orders < lively.summary.orders
    assert "daily_loss" in {count.reason for count in lost.reasons}
    none = run(data, risk__max_order_notional="50")
    assert none.summary.orders == 0
    assert none.summary.net == "0.00000000"
    assert page(none)
    off = run(data, execution__enabled="false")
    assert "execution_disabled" in {count.reason for count in off.reasons}
    assert off.summary.orders == 0


def test_fees_are_the_venues(data, lively):
    free = run(data, backtest__fees__bitfinex__taker_bps="0")
    dear = run(data, backtest__fees__bitfinex__taker_bps="20")
    assert free.summary.fees == "0.00000000"
    assert free.fills[0].price == dear.fills[0].price == lively.fills[0].price
    wanted = Decimal(dear.fills[0].price) * Decimal(dear.fills[0].quantity) / 500
    assert Decimal(dear.fills[0].fee) == round(wanted, 8)


@pytest.mark.parametrize("trigger", [False, True])
def test_rows_are_those_of_a_builder_that_reads_the_tape_as_it_comes(data, trigger):
    """Read event by event under the tape's clock, the live cutter makes the same rows."""
    from processes.recordings.recording import Recording

    recording = Recording(data, SESSION)
    told = FeatureSettings(trigger=trigger, trigger_interval_us=50_000)
    instruments = recording.tables.instruments

    class Taken:
        rows_back = 1

        def __init__(self) -> None:
            self.rows: list[np.ndarray] = []

        def warm(self, rows, address) -> None:
            raise AssertionError("nothing is before the span")

        def take(self, rows, address):
            self.rows.append(rows.copy())
            return 0, 0

    taken = Taken()
    changed = msgspec.structs.replace(settings(), features=told)
    rows = Rows(instruments, 1, changed, 0, taken, lambda *_: None)
    for pieces in stretches([recording.tape("bitfinex")]):
        rows.take(pieces)

    tape = join(list(recording.tape("bitfinex")), next(recording.tape("bitfinex")).dtype)
    live, now_ns = [], int(tape["recv_ns"][0]) - 1

    def emit(address, count, _):
        made = np.zeros(count, features.SLOT)
        ctypes.memmove(made.ctypes.data, address, made.nbytes)
        live.append(made)

    cutter = Cutter(instruments, 1, told, emit, lambda: now_ns)
    cutter.stamp(1)
    cutter.begin(now_ns)
    ends = [*(np.flatnonzero(np.diff(tape["recv_ns"])) + 1).tolist(), len(tape)]
    begin = 0
    for end in ends:
        now_ns = int(tape["recv_ns"][begin])
        block = np.ascontiguousarray(tape[begin:end])
        cutter.take(0, block, int(block.ctypes.data))
        cutter.turn()
        begin = end
    one, other = join(taken.rows, features.SLOT), join(live, features.SLOT)
    assert len(one) == len(other) > (200 if trigger else 60)
    for name in ("cut", "cut_ns", "instrument", "values", "book", "invalid", "tape_position_0"):
        assert one[name].tobytes() == other[name].tobytes(), name


def test_a_span_is_warm_from_its_first_row_on(data, lively):
    span = Span(from_ns=START_NS + 30 * SECOND, to_ns=START_NS + 40 * SECOND)
    part = run(data, span)
    assert part.from_ns == span.from_ns
    assert part.to_ns < span.to_ns
    assert 0 < part.decisions <= 2 * 10
    assert "invalid_features" not in {count.reason for count in part.reasons}
    # The first decision is taken of the same prediction as in a run of it all.
    assert part.fills[0].time_ns in {fill.time_ns for fill in lively.fills}


def test_positions_go_over_to_the_next_session(tmp_path, monkeypatch):
    later = SESSION + 1000
    record(tmp_path, 5, seconds=25.0)
    alone = run(tmp_path, strategy__horizon_s="3000")
    assert alone.positions
    monkeypatch.setattr("tests.recorded.SESSION", later)
    record(tmp_path, 6, seconds=25.0)
    both = run(tmp_path, sessions=(SESSION, later), strategy__horizon_s="3000")
    assert both.sessions == [SESSION, later]
    assert both.fills[: len(alone.fills)] == alone.fills
    assert len(both.fills) > len(alone.fills)
    held: dict[int, Decimal] = {}
    for fill in both.fills:  # what is held is not entered again, in the second session neither
        signed = Decimal(fill.quantity) * (1 if fill.side == "buy" else -1)
        held[fill.instrument] = held.get(fill.instrument, Decimal(0)) + signed
        assert abs(held[fill.instrument]) * Decimal(fill.price) < 120
    assert sessions_in(tmp_path, Span()) == [SESSION, later]
    assert sessions_in(tmp_path, Span(from_ns=(later + 1) * 10**6)) == [later]
    with pytest.raises(UsageError, match="no event is recorded"):
        run(tmp_path, Span(from_ns=START_NS + 3600 * SECOND), sessions=(later,))


def test_two_venues_are_merged_and_each_takes_its_own_fees(tmp_path):
    record(
        tmp_path, 3, seconds=25.0, venues__kraken__enabled="true",
        venues__kraken__symbols='["BTC/USD"]',
    )  # fmt: skip
    fees = {"backtest__fees__kraken__taker_bps": "40", "execution__order_notional": "20"}
    one, other = run(tmp_path, **fees), run(tmp_path, **fees)
    assert msgspec.json.encode(one) == msgspec.json.encode(other)
    shares = {
        fill.instrument: round(Decimal(fill.fee) / Decimal(fill.price) / Decimal(fill.quantity), 6)
        for fill in one.fills
    }
    assert {shares[n] for n in shares if n < 2} == {Decimal("0.00005")}
    assert {shares[n] for n in shares if n >= 2} == {Decimal("0.004")}


def dcctl(monkeypatch, capsys, data, *words: str) -> tuple[int, str, str]:
    """The command in this process."""
    monkeypatch.setenv("DC__paths__data", str(data))
    monkeypatch.setattr(sys, "argv", ["dcctl", *words])
    try:
        main()
        code = 0
    except SystemExit as ended:
        code = int(ended.code or 0)
    said = capsys.readouterr()
    return code, said.out, said.err


WORDS = [word for key, value in LIVELY.items() for word in ("--set", f"{key}={value}")]


def test_the_command_prints_json_and_writes_a_page(data, monkeypatch, capsys, tmp_path, lively):
    words = ("backtest", "--session", "last", *WORDS)
    code, out, _ = dcctl(monkeypatch, capsys, data, *words, "--json")
    assert code == 0
    told = msgspec.json.decode(out)
    assert told["digest"] == lively.digest
    assert told["summary"]["net"] == lively.summary.net
    html = tmp_path / "page.html"
    code, out, _ = dcctl(monkeypatch, capsys, data, *words, "--report", str(html))
    assert code == 0
    assert lively.digest in out
    text = html.read_text()
    assert text.count("<svg") == 4
    # Nothing is fetched: addresses stand in it only as the settings that they are.
    assert not re.search(
        r"""(src|href)\s*=\s*["']?\s*(https?:)?//|url\(\s*["']?(https?:)?//""", text
    )
    assert "src=" not in text


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "--session last"),
        (["--session", "7"], "no session 7"),
        (["--from", "2001-01-01", "--to", "2001-01-02"], "dcctl backtest --session last"),
        (["--from", "2001-01-02", "--to", "2001-01-01"], "not before"),
        (["--from", "yesterday"], "2026-11-21T10:00:00"),
        (["--session", "last", "--set", "strategy.enter_treshold=1"], "Did you mean"),
        (["--session", "last", "--set", "strategy.enter_threshold=high"], "enter_threshold"),
        (["--session", "last", "--set", "strategy"], "--set strategy.enter_threshold=0.5"),
        (["--session", "last", "--set", "venues.bitfinex.symbols=[]"], "as it was recorded"),
        (["--session", "last", "--sweep", "strategy.horizon_s"], "--sweep strategy.horizon_s=60"),
        (["--session", "last", "--sweep", "a.b=1", "--by", "luck"], "choose one of"),
        (["--session", "last", "--sweep", "strategy.horizon=1"], "no such setting"),
    ],
)
def test_what_is_typed_wrong_is_said_with_what_to_type(data, monkeypatch, capsys, words, says):
    code, out, err = dcctl(monkeypatch, capsys, data, "backtest", *words)
    assert (code, out) == (2 if words[:2] != ["--session", "7"] else 1, "")
    assert says in err


def test_a_trigger_stops_entries_for_the_rest_and_is_told(data, lively):
    found = run(
        data, risk__triggers__daily_loss__at="0.05", risk__triggers__daily_loss__again_below="0.01"
    )
    (pulled,) = found.pulled
    assert (pulled.code, pulled.level) == ("daily_loss", "pause")
    assert found.summary.orders < lively.summary.orders
    assert "killed" in {count.reason for count in found.reasons}
    entered = [t.opened_ns for t in found.trades]
    assert max(entered) <= pulled.time_ns
    assert "Triggers" in page(found)
    assert lively.pulled == []
    flat = run(
        data, risk__triggers__daily_loss__at="0.05", risk__triggers__daily_loss__again_below="0.01",
        risk__triggers__daily_loss__pull="flatten",
    )  # fmt: skip
    assert flat.positions == []
    again = run(
        data, sessions=(SESSION, SESSION), risk__triggers__daily_loss__at="0.05",
        risk__triggers__daily_loss__again_below="0.01",
    )  # fmt: skip
    assert len(again.pulled) == 1
