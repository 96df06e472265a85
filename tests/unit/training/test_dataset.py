"""Rows to learn from: live = replay = training, and no row of what was not asked for."""

import ctypes

import numpy as np
import pytest

from models.labels import move_labels
from processes.features import cuts, kernels
from processes.recordings.span import Span
from processes.training import dataset
from processes.training.dataset import MADE, ROW_BYTES, Selection, Source, collect
from schemas import features
from schemas.errors import OperatorError, UsageError
from schemas.features import CATALOGUE, Invalid
from tests.recorded import Recorder
from tests.unit.training.lakes import SESSION, write_rows
from tests.unit.training.markets import SECOND, START, TARGET, changed, labelled, rows


@pytest.fixture(scope="module")
def recorder(tmp_path_factory):
    """A session through the real decoder and cutter, with builders that die; its tapes too."""
    made = Recorder(tmp_path_factory.mktemp("recorded"), 5, 40.0)
    made.build()
    made.store()
    return made


def told(recorder, folder, **changed):
    return collect(Source(recorder.data, Selection(**changed)), folder)


def live(recorder, **columns):
    """What the cutter emitted, markers left out."""
    slots = recorder.features.slots
    return slots[slots["instrument"] < len(recorder.tables.instruments)]


def test_rows_made_again_are_those_that_were_live_bit_for_bit(recorder, tmp_path):
    slots = live(recorder)
    again = told(recorder, tmp_path / "again")
    recorded = told(recorder, tmp_path / "recorded", recorded=True)
    assert again.made.compared >= len(slots) > 60
    assert again.made.difference is None
    assert again.made.as_recorded == again.made.left_out == 0
    assert recorded.made.as_recorded == len(slots)
    for found in (again, recorded):
        made = found.samples
        assert made.count == len(slots)
        assert (
            made.values.tobytes()
            == np.ascontiguousarray(slots["values"][:, : len(CATALOGUE)]).tobytes()
        )
        assert made.book.tobytes() == np.ascontiguousarray(slots["book"]).tobytes()
        for name, field in (
            ("invalid", "invalid"), ("instrument", "instrument"), ("cut_ns", "cut_ns"),
            ("price", "reference_price"),
        ):  # fmt: skip
            assert getattr(made, name).tobytes() == np.ascontiguousarray(slots[field]).tobytes()


def test_a_kernel_that_changed_is_told(recorder, tmp_path, monkeypatch):
    """The rows are those of today's kernels; that they are not the recorded ones is said."""
    real = cuts.cut

    def other(words, *rest):
        count = real(words, *rest)
        out = ctypes.c_int64.from_address(words + 8 * kernels.W_OUT).value
        at = features.SLOT.fields["values"][1]
        for row in range(count):
            ctypes.c_float.from_address(out + row * features.SLOT_BYTES + at).value += 1.0
        return count

    monkeypatch.setattr("processes.recordings.features.cuts.cut", other)
    found = told(recorder, tmp_path / "rows")
    assert found.made.difference is not None
    assert found.made.difference.field == "values[0]"
    assert np.allclose(found.samples.values[:, 0] - live(recorder)["values"][:, 0], 1.0, atol=1e-4)


def test_slots_that_are_in_no_file_leave_the_recorded_rows(recorder, tmp_path):
    """A tape with a hole cannot be made again: from there on rows are as recorded."""
    tape = recorder.tapes["bitfinex"]
    folder = Recorder(tmp_path / "holed", 5, 2.0)
    folder.tables, folder.tapes = recorder.tables, {"bitfinex": np.delete(tape, slice(3000, 3400))}
    folder.features = recorder.features
    folder.keep(1, recorder.settings)
    folder.store()
    found = told(folder, tmp_path / "rows")
    assert found.made.excluded
    assert found.made.as_recorded > 0
    assert found.made.difference is None
    slots = live(recorder)
    assert (
        found.samples.values.tobytes()
        == np.ascontiguousarray(slots["values"][:, : len(CATALOGUE)]).tobytes()
    )


def test_rows_of_another_catalogue_are_made_again_of_the_tapes(recorder, tmp_path, monkeypatch):
    """A recording that lacks a column of today: only where and when rows were cut is read."""
    monkeypatch.setattr(dataset.Recording, "has_columns", lambda _: False)
    found = told(recorder, tmp_path / "rows")
    assert found.made.compared == found.made.as_recorded == 0
    slots = live(recorder)
    assert (
        found.samples.values.tobytes()
        == np.ascontiguousarray(slots["values"][:, : len(CATALOGUE)]).tobytes()
    )
    with pytest.raises(OperatorError, match="leave out --recorded"):
        told(recorder, tmp_path / "more", recorded=True)


def test_a_span_and_symbols_are_all_that_is_taken(recorder, tmp_path):
    slots = live(recorder)
    cuts = np.unique(slots["cut_ns"])
    span = Span(from_ns=int(cuts[10]), to_ns=int(cuts[20]))
    for asked in ("bitfinex:tETHUSD", "tETHUSD"):
        found = told(recorder, tmp_path / asked[-4:], span=span, symbols=(asked,))
        assert np.array_equal(np.unique(found.samples.cut_ns), cuts[10:20])
        assert np.unique(found.samples.instrument).tolist() == [1]
        assert list(found.made.instruments.values()) == ["bitfinex:tETHUSD"]
    with pytest.raises(UsageError, match="There is: bitfinex:tBTCUSD, bitfinex:tETHUSD"):
        Source(recorder.data, Selection(symbols=("tXRPUSD",)))
    with pytest.raises(UsageError, match="dcctl lake ls"):
        Source(recorder.data, Selection(span=Span(from_ns=int(cuts[-1]) + 10**15)))
    with pytest.raises(UsageError, match="dcctl start"):
        Source(tmp_path, Selection())


def two_sessions(tmp_path, pause=30, back=0):
    """Two sessions, the second a while after the first, or with a clock that was set back."""
    first, _ = rows(300, 2, 1)
    second, _ = rows(300, 2, 2)
    shift = (300 + pause - back) * SECOND
    second = changed(second, cut_ns=second.cut_ns + shift)
    write_rows(tmp_path, first)
    write_rows(tmp_path, second, SESSION + (300 + pause) * 1000)
    return first, second


def test_sessions_follow_one_another_and_are_told_apart(tmp_path):
    first, second = two_sessions(tmp_path)
    found = collect(Source(tmp_path, Selection(recorded=True)), tmp_path / "rows")
    assert found.samples.count == first.count + second.count
    assert (np.diff(found.samples.cut_ns) >= 0).all()
    assert np.unique(found.paths.session).tolist() == found.made.sessions
    assert (found.paths.session == found.made.sessions[0]).sum() == first.count


def test_time_never_runs_back_over_sessions(tmp_path):
    first, second = two_sessions(tmp_path, back=80)
    found = collect(Source(tmp_path, Selection(recorded=True)), tmp_path / "rows")
    assert (np.diff(found.samples.cut_ns) >= 0).all()
    left_out = (second.cut_ns < first.cut_ns[-1]).sum()
    assert left_out > 50
    assert found.samples.count == first.count + second.count - left_out


def test_rows_are_kept_whole_or_made_anew(tmp_path):
    write_rows(tmp_path, rows(300)[0])
    source = Source(tmp_path, Selection(recorded=True))
    folder = tmp_path / "rows"
    made = collect(source, folder)
    assert sum(path.stat().st_size for path in folder.iterdir() if path.name != MADE) == (
        made.samples.count * ROW_BYTES
    )
    before = (folder / "values").stat().st_mtime_ns
    collect(source, folder)
    assert (folder / "values").stat().st_mtime_ns == before
    (folder / MADE).unlink()  # as if it had been broken off
    (folder / "values").unlink()
    (folder / "values").write_bytes(b"half")
    again = collect(source, folder)
    assert again.samples.values.tobytes() == made.samples.values.tobytes()


def test_rows_that_were_dropped_are_no_samples_and_labels_lead_over_them(tmp_path):
    """More of them in a row than a gap is long, and the last before a label is known."""
    given, _ = rows(300)
    invalid = given.invalid.copy()
    second = given.cut_ns.astype(np.int64) - START
    dropped = (second >= 100 * SECOND) & (second < 120 * SECOND) & (given.instrument == 0)
    dropped |= np.random.default_rng(1).random(given.count) < 0.05
    invalid[dropped] = int(Invalid.DROPPED)
    write_rows(tmp_path, changed(given, invalid=invalid))
    found = collect(Source(tmp_path, Selection(recorded=True)), tmp_path / "rows")
    assert (found.made.rows, found.made.dropped) == ((~dropped).sum(), dropped.sum())
    assert found.samples.values.tobytes() == given.values[~dropped].tobytes()
    made = found.labelled(move_labels(found.paths, TARGET, 3.0))
    whole = labelled(given, np.ones(given.count, np.int64)).take(~dropped)
    for name in ("label", "move_bps", "matured_ns"):
        assert getattr(made, name).tobytes() == getattr(whole, name).tobytes(), name
    assert made.known[made.cut_ns < START + 290 * SECOND].all()
    # What came later changes no row before it.
    until = Selection(recorded=True, span=Span(to_ns=START + 110 * SECOND))
    first = collect(Source(tmp_path, until), tmp_path / "first").samples
    assert first.values.tobytes() == found.samples.take(slice(first.count)).values.tobytes()


def test_more_rows_than_the_bound_are_refused(tmp_path):
    write_rows(tmp_path, rows(300)[0])
    with pytest.raises(UsageError, match=r"training\.max_rows"):
        collect(Source(tmp_path, Selection(recorded=True, max_rows=100)), tmp_path / "rows")


def test_the_mark_is_of_what_is_recorded(tmp_path):
    write_rows(tmp_path, rows(300)[0])
    marks = [Source(tmp_path, Selection(recorded=True)).mark for _ in range(2)]
    assert marks[0] == marks[1]
    end = Span(to_ns=START + 100 * SECOND)
    assert Source(tmp_path, Selection(recorded=True, span=end)).mark != marks[0]
    assert Source(tmp_path, Selection()).mark != marks[0]
    write_rows(tmp_path, changed(rows(50)[0], cut_ns=rows(50)[0].cut_ns + 10**12), SESSION + 10**6)
    assert Source(tmp_path, Selection(recorded=True)).mark != marks[0]
