"""The control block and the counter pages."""

import pytest

from schemas import metrics
from shm.control import CONTROL_BYTES, ControlBlock, format_control
from shm.counters import BUCKETS, FIRST_OCTAVE, CounterPages, counters_bytes, format_counters
from shm.errors import LayoutMismatchError, NoRoomError
from shm.identity import identity_of, is_alive, own_identity, pid_of
from shm.segment import Segment, segment_name
from tests.helpers import python


@pytest.fixture
def control(instance):
    name = segment_name(instance, "ctl")
    segment = Segment.create(name, CONTROL_BYTES)
    with pytest.raises(LayoutMismatchError):
        ControlBlock(segment)
    format_control(segment, generation=5)
    yield ControlBlock(segment)
    segment.close()
    Segment.unlink(name)


@pytest.fixture
def pages(instance):
    name = segment_name(instance, "counters")
    segment = Segment.create(name, counters_bytes(3, metrics.SLOTS))
    format_counters(segment, 3, metrics.SLOTS)
    yield CounterPages(segment, metrics.SLOTS)
    segment.close()
    Segment.unlink(name)


def test_words_only_rise_where_they_must(control):
    assert control.generation == 5
    control.set(4, 1)
    assert control.raise_to(4, 3)
    assert not control.raise_to(4, 2)
    assert control.get(4) == 3


def test_a_row_carries_heartbeat_and_text(control):
    index = control.allot("collector.bitfinex")
    assert control.allot("collector.bitfinex") == control.find("collector.bitfinex") == index
    control.take_row(index)
    control.beat(index, 123, 2)
    control.say(index, "x" * 300 + "é")
    row = control.row(index)
    assert row.name == "collector.bitfinex"
    assert (row.owner, row.state, row.beat_ns, row.beats) == (own_identity(), 2, 123, 1)
    assert row.text == "x" * 176
    control.say(index, "")
    assert control.row(index).text == ""
    with pytest.raises(NoRoomError):
        control.find("nobody")


def test_text_is_cut_between_characters(control):
    index = control.allot("a")
    control.say(index, "é" * 100)
    assert control.row(index).text == "é" * 88


def test_counters_begin_anew_with_their_process(pages):
    page = pages.take(1)
    page.add(metrics.place("ingest_frames"), 5)
    page.set(metrics.place("model_rung"), 2)
    assert pages.values(1)[metrics.place("ingest_frames")] == 5
    assert pages.owner(1) == own_identity()
    assert pages.owner(0) == 0
    page = pages.take(1)
    assert page.get(metrics.place("ingest_frames")) == 0


def test_histograms_count_every_value_in_its_bucket(pages):
    assert (metrics.BUCKETS, metrics.FIRST_OCTAVE) == (BUCKETS, FIRST_OCTAVE)
    page = pages.take(0)
    at = metrics.place("recv_to_tape")
    bounds = metrics.bucket_bounds_ns()
    values = [-5, 0, 1023, 1024, 1279, 1280, 2047, 2048, 10**6, 10**9, 10**15]
    values += [bound - 1 for bound in bounds] + bounds
    for value in values:
        page.observe(at, value)
    counts = pages.values(0)[at : at + BUCKETS]
    expected = [0] * BUCKETS
    for value in values:
        expected[sum(bound <= value for bound in bounds)] += 1
    assert counts == expected
    assert pages.values(0)[at + BUCKETS] == sum(max(value, 0) for value in values)
    assert pages.values(0)[at + BUCKETS + 1] == len(values)


def test_quantiles_come_back_within_a_bucket():
    counts = [0] * BUCKETS
    bounds = metrics.bucket_bounds_ns()
    counts[40] = 100
    assert bounds[39] <= metrics.quantile_ns(counts, 0.5) <= bounds[40]
    assert metrics.quantile_ns([0] * BUCKETS, 0.99) == 0.0


def test_identity_tells_the_living_from_the_dead():
    me = own_identity()
    assert is_alive(me)
    assert not is_alive(me + 1)
    assert not is_alive(0)
    child = python("-c", "input()", stdin=-1)
    identity = identity_of(child.pid)
    assert pid_of(identity) == child.pid
    assert is_alive(identity)
    child.communicate("")
    assert not is_alive(identity)


def test_identity_without_proc_uses_ps():
    import os
    import shutil

    if shutil.which("ps") is None:
        pytest.skip("this machine has no ps")
    word = identity_of(os.getpid(), platform="darwin")
    assert pid_of(word) == os.getpid()
    assert identity_of(os.getpid(), platform="darwin") == word
    assert identity_of(2**22 - 3, platform="darwin") == 0
