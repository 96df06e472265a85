"""dcctl settle: a person's word reaches execution, and what comes of it is said."""

import json
import sys
import threading

import msgspec
import pytest

from processes import runtime
from processes.cli.__main__ import main
from processes.execution.reading import LedgerView
from processes.places import Resolved, lock
from processes.sessions import SessionFolder
from processes.supervisor.tables import Allotment
from schemas.trading import OrderAccepted, OrderUnknown
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
