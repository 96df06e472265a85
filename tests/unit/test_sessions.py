"""What is kept of a session outlives supervisors, and is never written over by other settings."""

import msgspec
import pytest

from config.loader import load
from processes.places import Resolved
from processes.sessions import SessionFolder, refuse_mixed, sessions_of, this_machine
from schemas.errors import ConfigError, OperatorError
from schemas.instruments import Instrument, Tables

TABLES = Tables(instruments=[Instrument(index=0, venue="bitfinex", symbol="tA", pair="A/USD")])


def settings(threshold: float):
    return load("demo", environment={"DC__strategy__enter_threshold": str(threshold)})


def test_the_next_supervisor_of_a_session_goes_on_counting_generations(tmp_path):
    folder = SessionFolder(tmp_path, 7)
    first, second = settings(0.1), settings(0.2)
    assert folder.generation_for(first) == 1
    folder.keep(Resolved(generation=1, folders={}, settings=first), TABLES)
    again = SessionFolder(tmp_path, 7)
    assert again.generation_for(first) == 1  # nothing has changed
    assert again.generation_for(second) == 2
    again.keep(Resolved(generation=2, folders={}, settings=second), Tables())
    assert again.generations() == [1, 2]
    assert (again.settings(1), again.settings(2)) == (first, second)
    assert again.tables(1) == TABLES
    assert SessionFolder(tmp_path, 8).generation_for(first) == 1
    assert sessions_of(tmp_path) == [7]


def test_settings_of_another_version_are_left_as_they_are(tmp_path):
    folder = SessionFolder(tmp_path, 7)
    folder.keep(Resolved(generation=1, folders={}, settings=settings(0.1)), TABLES)
    (folder.path / "config-1.json").write_text('{"generation":1,"folders":{},"settings":{"old":1}}')
    assert folder.generation_for(settings(0.1)) == 2
    with pytest.raises(OperatorError, match=r"config-1\.json cannot be read"):
        folder.settings(1)


def test_a_state_is_named_by_what_it_is(tmp_path):
    folder = SessionFolder(tmp_path, 7)
    mark = folder.keep_state(b"{}")
    assert folder.keep_state(b"{}") == mark != folder.keep_state(b"[]")
    assert folder.state(mark) == b"{}"
    with pytest.raises(OperatorError, match="session 7 cannot be read"):
        folder.state("f" * 32)


def test_another_machine_is_named(tmp_path):
    here = this_machine()
    there = msgspec.structs.replace(here, processor="arm64", packages={**here.packages, "mlx": "1"})
    told = there.differences(here)
    assert any(text.startswith("processor ") for text in told)
    assert any("was 1" in text for text in told)
    assert here.differences(here) == []


@pytest.mark.parametrize("first", ["demo", "kraken-paper"])
def test_a_made_up_market_and_a_real_one_do_not_share_a_folder(tmp_path, first):
    (other,) = {"demo", "kraken-paper"} - {first}
    data = tmp_path / "data"
    refuse_mixed(data, load(first))  # nothing is there yet
    SessionFolder(data, 7).keep(
        Resolved(generation=1, folders={}, settings=load(first)), TABLES
    )  # fmt: skip
    refuse_mixed(data, load(first))
    with pytest.raises(ConfigError, match=rf"paths\.data .*mv {data} {data}-{first}"):
        refuse_mixed(data, load(other))
    if first != "demo":
        refuse_mixed(data, load("gmo-paper"))  # real ones may follow each other
    (data / "sessions" / "7" / "config-1.json").write_text("{}")
    refuse_mixed(data, load(other))  # of another version of the program: nobody knows
