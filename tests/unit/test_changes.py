"""Settings that were changed while an instance ran: over all files, below the environment."""

import pytest

from config.loader import load
from processes.changes import (
    changes_path,
    load_with_changes,
    read_changes,
    with_change,
    without_change,
    write_changes,
)
from schemas.errors import ConfigError


def test_a_change_is_put_in_and_taken_out():
    changes = with_change({}, "risk.max_spread_bps", 5)
    changes = with_change(changes, "risk.max_drawdown", "9")
    changes = with_change(changes, "log.level", "debug")
    assert changes == {
        "risk": {"max_spread_bps": 5, "max_drawdown": "9"},
        "log": {"level": "debug"},
    }
    changes = without_change(changes, "risk.max_spread_bps")
    assert changes == {"risk": {"max_drawdown": "9"}, "log": {"level": "debug"}}
    assert without_change(changes, "risk.max_drawdown") == {"log": {"level": "debug"}}
    assert without_change(changes, "nothing.here") == changes


def test_changes_go_over_files_and_below_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("DC__paths__data", str(tmp_path))
    file = tmp_path / "mine.yml"
    file.write_text("risk: {max_spread_bps: 7, max_drawdown: '8'}")
    assert load_with_changes("demo", file).risk.max_spread_bps == 7
    write_changes(changes_path(tmp_path), {"risk": {"max_spread_bps": 5}})
    found = load_with_changes("demo", file)
    assert (found.risk.max_spread_bps, found.risk.max_drawdown) == (5, "8")
    assert load("demo", file=file).risk.max_spread_bps == 7
    monkeypatch.setenv("DC__risk__max_spread_bps", "3")
    assert load_with_changes("demo", file).risk.max_spread_bps == 3


def test_a_change_that_is_wrong_is_refused_as_any(tmp_path, monkeypatch):
    monkeypatch.setenv("DC__paths__data", str(tmp_path))
    write_changes(changes_path(tmp_path), {"risk": {"max_sprad_bps": 5}})
    with pytest.raises(ConfigError, match="Did you mean max_spread_bps"):
        load_with_changes("demo", None)


def test_what_is_no_change_is_not_taken(tmp_path):
    assert read_changes(tmp_path) == {}
    for text in ("[1]", "{", "a: b: c"):
        changes_path(tmp_path).parent.mkdir(exist_ok=True)
        changes_path(tmp_path).write_text(text)
        with pytest.raises(ConfigError):
            read_changes(tmp_path)
