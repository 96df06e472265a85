"""Segments: names, attachment, and that no reader's exit takes the memory from anybody else."""

import numpy as np
import pytest

from shm.errors import SharedMemoryError
from shm.segment import NAME_BYTES_MAX, Segment, segment_name
from tests.helpers import run_python


def test_names_fit_macos_or_are_refused(instance):
    assert len(segment_name(instance, "tape.bitfinex.r")) < NAME_BYTES_MAX
    with pytest.raises(SharedMemoryError, match="longer than"):
        segment_name(instance, "x" * 30)


def test_a_segment_is_made_once_and_seen_by_all(instance):
    name = segment_name(instance, "a")
    with Segment.create(name, 100) as made:
        with pytest.raises(SharedMemoryError, match="there already"):
            Segment.create(name, 100)
        made.buffer[3] = 7
        with Segment.attach(name) as other, Segment.attach(name, writable=False) as view:
            assert other.buffer[3] == view.buffer[3] == 7
            assert made.size == 100
            with pytest.raises(TypeError):
                view.buffer[0] = 1
    assert Segment.unlink(name)
    assert not Segment.unlink(name)
    with pytest.raises(SharedMemoryError, match="there is no"):
        Segment.attach(name)


def test_an_array_keeps_the_map_from_being_closed_under_it(instance):
    name = segment_name(instance, "b")
    segment = Segment.create(name, 4096)
    array = np.frombuffer(segment.buffer, np.uint8)
    with pytest.raises(BufferError):
        segment.close()
    del array
    segment.close()
    Segment.unlink(name)


@pytest.mark.parametrize("writable", ["True", "False"])
def test_the_exit_of_an_attached_process_leaves_the_segment(instance, writable):
    name = segment_name(instance, "c")
    with Segment.create(name, 4096):
        done = run_python(
            "-c",
            f"from shm.segment import Segment; s = Segment.attach({name!r}, writable={writable})",
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        Segment.attach(name).close()
    Segment.unlink(name)


def test_unlink_in_a_child_is_silent_and_final(instance):
    name = segment_name(instance, "d")
    made = Segment.create(name, 4096)
    done = run_python("-c", f"from shm.segment import Segment; assert Segment.unlink({name!r})")
    assert (done.returncode, done.stderr) == (0, "")
    made.close()
    assert not Segment.unlink(name)
