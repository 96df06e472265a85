"""dcctl settle and take-over: a person's word reaches execution; what comes of it is said."""

import json
import sys
import threading
from decimal import Decimal

import msgspec
import pytest

from processes import runtime
from processes.cli.__main__ import main
from processes.execution.comparison import Difference, _Place
from processes.execution.reading import LedgerView
from processes.places import Resolved, lock
from processes.sessions import SessionFolder
from processes.supervisor.tables import Allotment
from schemas.trading import OrderAccepted, OrderFilled, OrderUnknown
from tests.helpers import wait_until
from tests.instances import Bare, bare_instance
from tests.unit.execution.test_execution import T0, Life


def keep_session(instance: Bare) -> None:
    """The settings in force, as the supervisor keeps them."""
    assert instance.memory is not None
    folders = {name: str(path) for name, path in msgspec.structs.asdict(instance.paths).items()}
    resolved = Resolved(generation=1, folders=folders, settings=instance.settings)
    tables = Allotment.load(instance.paths.data).tables
    SessionFolder(instance.paths.data, instance.memory.registry.session).keep(resolved, tables)


@pytest.fixture
def life(monkeypatch):
    with bare_instance() as instance:
        instance.put_in_force()
        instance.open()
        keep_session(instance)
        monkeypatch.setattr(runtime, "open_log", lambda *_: instance.log)
        for name in ("run", "data", "logs"):
            monkeypatch.setenv(f"DC__paths__{name}", str(getattr(instance.paths, name)))
        held = lock(instance.paths.run)
        made = Life(instance)
        yield made.begin()
        made.end()
        held.close()


def dcctl(*arguments: str) -> int:
    sys.argv = ["dcctl", *arguments]
    try:
        main()
    except SystemExit as end:
        return int(str(end.code or 0))
    return 0


def test_a_persons_word_is_handed_on_and_its_outcome_said(life, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", [])
    number = life.send(account="paper")
    life.tell(OrderUnknown(number, T0, "no answer"))
    ended: list[int] = []
    person = threading.Thread(
        target=lambda: ended.append(
            dcctl("settle", number[-40:], "--venue-order", "8003", "--yes", "--json")
        )
    )
    person.start()

    def asked() -> bool:
        life.context.bus.serve_commands()
        return life.broker.asked[-1] == ("settle", number, "8003")

    wait_until(asked, 20)
    life.tell(OrderAccepted(number, "8003", T0))
    person.join(20)
    assert ended == [0]
    assert json.loads(capsys.readouterr().out) == {"order": number, "state": "acked"}
    view = LedgerView(life.context.settings.ledger, life.context.paths.data)
    assert [one.state for one in view.order(number)] == ["acked"]


def test_what_execution_does_not_take_is_said(life, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", [])
    assert dcctl("settle", "f" * 32, "--absent", "--yes") == 1
    assert "no order begins with" in capsys.readouterr().err


def served(life, *arguments: str) -> int:
    """The command's answer, execution taking commands meanwhile."""
    ended: list[int] = []
    person = threading.Thread(target=lambda: ended.append(dcctl(*arguments)))
    person.start()

    def over() -> bool:
        life.context.bus.serve_commands()
        return bool(ended)

    wait_until(over, 20)
    person.join(20)
    return ended[0]


def test_what_a_venue_holds_is_booked_on_a_persons_word(life, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", [])
    number = life.send(account="paper", instrument=0)
    life.tell(OrderFilled(number, "f1", "100", "3", "0", "", T0))
    assert served(life, "take-over") == 0
    assert capsys.readouterr().out == "every venue holds what we do\n"
    assert served(life, "take-over", "bitfinex:tBTCUSD", "--yes") == 1
    assert "nothing of bitfinex:tBTCUSD differs" in capsys.readouterr().err
    difference = Difference("paper", "tBTCUSD", Decimal(3), Decimal(1), on_margin=True)
    life.machine.comparison.found[_Place("paper", "tBTCUSD", on_margin=True)] = difference
    text = "tBTCUSD of paper: 3 here, 1 there"
    assert served(life, "take-over", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"differences": [text]}
    assert life.machine.book.quantity(0) == 3, "only shown"
    assert served(life, "take-over", "bitfinex:tBTCUSD", "--price", "90", "--yes") == 0
    assert text in capsys.readouterr().out
    view = LedgerView(life.context.settings.ledger, life.context.paths.data)
    (position,) = view.positions()
    assert (position.quantity, position.realized) == ("1", "-20")


def test_a_price_that_is_none_is_said_before_anything_is_asked(life, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", [])
    for price in ("0", "abc", "-5", "NaN", "1e5"):
        assert dcctl("take-over", "bitfinex:tBTCUSD", f"--price={price}", "--yes") == 2
        assert "is no price: say it like" in capsys.readouterr().err
