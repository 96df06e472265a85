"""Logs: one JSON line an event, whole, and never more files than were asked for."""

import json

import pytest

from processes.logs import TO_STDOUT, RotatingFile, open_log
from schemas.settings import LogSettings

T0 = 1_760_000_000_123_456_789


@pytest.fixture(autouse=True)
def _close(closed_logs):
    """Every log of these tests is closed with its test."""


def lines(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_line_is_json_with_what_belongs_to_it(tmp_path):
    log = open_log(tmp_path, "features", LogSettings(), lambda: T0)
    log.info("ready", rows=5, price=1.5, path=tmp_path, text='a "b"\n\u20ac')
    log.bind(child="x").warning("late")
    first, second = lines(tmp_path / "features.jsonl")
    assert first == {
        "time": "2025-10-09T08:53:20.123Z", "level": "info", "process": "features",
        "event": "ready", "rows": 5, "price": 1.5, "path": str(tmp_path), "text": 'a "b"\n\u20ac',
    }  # fmt: skip
    assert (second["level"], second["event"], second["child"]) == ("warning", "late", "x")


def test_what_is_below_the_level_is_not_written(tmp_path):
    log = open_log(tmp_path, "p", LogSettings(level="warning"), lambda: T0)
    for level in ("debug", "info", "warning", "error"):
        getattr(log, level)(level)
    assert [line["event"] for line in lines(tmp_path / "p.jsonl")] == ["warning", "error"]


def test_an_exception_is_told_with_its_stack_in_one_line(tmp_path):
    log = open_log(tmp_path, "p", LogSettings(), lambda: T0)
    try:
        int("no number")
    except ValueError:
        log.exception("ended by an error")
    (line,) = lines(tmp_path / "p.jsonl")
    assert "ValueError: invalid literal" in line["exception"]
    assert "test_logs.py" in line["exception"]


@pytest.mark.parametrize("keep", [1, 3])
def test_a_full_file_is_turned_over_and_the_oldest_goes(tmp_path, keep):
    file = RotatingFile(tmp_path / "p.jsonl", 100, keep)
    for number in range(60):
        file.write(json.dumps({"number": number}) + "\n")
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"p.jsonl", *(f"p.jsonl.{n}" for n in range(1, keep + 1))}
    assert all(path.stat().st_size <= 100 for path in tmp_path.iterdir())
    newest_first = [tmp_path / "p.jsonl", *(tmp_path / f"p.jsonl.{n}" for n in range(1, keep + 1))]
    numbers = [line["number"] for path in newest_first[::-1] for line in lines(path)]
    assert numbers == list(range(60 - len(numbers), 60)), "nothing between is missing"
    file.flush()


def test_it_goes_on_where_it_was(tmp_path):
    for number in range(2):
        RotatingFile(tmp_path / "p.jsonl", 1000, 3).write(f"{number}\n")
    assert (tmp_path / "p.jsonl").read_text() == "0\n1\n"


def test_a_file_that_somebody_has_removed_costs_nobody_his_life(tmp_path):
    path = tmp_path / "p.jsonl"
    file = RotatingFile(path, 30, 2)
    file.write("x" * 20 + "\n")
    path.unlink()
    file.write("y" * 20 + "\n")
    assert path.read_text() == "y" * 20 + "\n"


def test_letters_that_take_more_bytes_count_as_such(tmp_path):
    file = RotatingFile(tmp_path / "p.jsonl", 100, 2)
    for _ in range(9):
        file.write("\u20ac" * 20 + "\n")  # 61 bytes
    assert all(path.stat().st_size <= 100 for path in tmp_path.iterdir())


def test_in_the_foreground_it_is_told_to_standard_output_too(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(TO_STDOUT, "1")
    open_log(tmp_path, "p", LogSettings(), lambda: T0).info("hello")
    assert capsys.readouterr().out == (tmp_path / "p.jsonl").read_text()
