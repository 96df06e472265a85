"""zstd files of independent frames: what is torn or damaged costs itself and nothing else."""

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processes.zstd import Compressor, frame_end, read_lines, whole_bytes

BLOCKS = [b"".join(b'{"n":%d}\n' % n for n in range(k, k + 50)) for k in range(0, 500, 50)]
LINES = [b'{"n":%d}' % n for n in range(500)]
FRAMES = [Compressor().compress(memoryview(block)) for block in BLOCKS]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("zstd") / "x.zst"


def test_frames_end_where_they_end():
    data = b"".join(FRAMES)
    at = 0
    for frame in FRAMES:
        assert frame_end(data, at) == at + len(frame)
        at += len(frame)
    assert frame_end(data, 1) == -1


@pytest.mark.parametrize(
    "content", [b"", b"x", b"x" * 300, bytes(70_000), bytes(range(256)) * 2000]
)
def test_content_of_every_size_and_kind_of_block(content, path):
    frame = Compressor().compress(memoryview(content))
    assert frame_end(frame + b"more", 0) == len(frame)
    assert frame_end(frame[:-1], 0) == -1


@settings(max_examples=80, deadline=None)
@given(st.integers(0, sum(map(len, FRAMES))))
def test_cut_anywhere_a_file_gives_every_whole_frame_and_no_torn_line(path, cut):
    path.write_bytes(b"".join(FRAMES)[:cut])
    whole, end = 0, 0
    while whole < len(FRAMES) and end + len(FRAMES[whole]) <= cut:
        end += len(FRAMES[whole])
        whole += 1
    assert list(read_lines(path)) == LINES[: 50 * whole]
    assert whole_bytes(path) == end


def test_damage_in_the_middle_is_told_and_costs_its_frame(path):
    data = bytearray(b"".join(FRAMES))
    start = len(FRAMES[0]) + len(FRAMES[1])
    data[start : start + 20] = b"\0" * 20
    path.write_bytes(data)
    found = list(read_lines(path))
    assert found[100].startswith(b"damaged: no zstd at byte %d" % start)
    assert found[:100] + found[101:] == LINES[:100] + LINES[150:]


def test_other_writers_files_are_read_too(path):
    """One long frame without its size, with a skippable frame before it: lines cross its pieces."""
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as out:
        for _ in range(40):
            out.write(b"".join(BLOCKS))
    skippable = (0x184D2A51).to_bytes(4, "little") + (3).to_bytes(4, "little") + b"abc"
    path.write_bytes(skippable + sink.getvalue().to_pybytes())
    assert list(read_lines(path)) == LINES * 40


def test_a_file_that_is_no_zstd_says_so(path):
    path.write_bytes(b'{"n":1}\n')
    assert [line[:8] for line in read_lines(path)] == [b"damaged:"]
    path.write_bytes(b"")
    assert list(read_lines(path)) == []
