"""Raw frames on disk: every one of them, or a word about those that are not there."""

import json
import os
import random
import signal
import threading
from pathlib import Path

import pytest

from processes.cli.frames import read_frames
from processes.collector import frame_files
from processes.collector.frame_files import FrameFiles
from processes.collector.recorder import Recorder, without_secrets
from processes.zstd import read_lines, whole_bytes
from tests.helpers import python, wait_until
from venues.wire import FrameBatch

START_NS = 1_790_000_000_123_456_789
HOUR_NS = 3_600_000_000_000


def batch_of(*frames: bytes) -> FrameBatch:
    batch = FrameBatch()
    for frame in frames:
        assert batch.add(frame)
    return batch


def recorded(folder: Path) -> list[dict]:
    paths = sorted(folder.glob("dt=*/*.jsonl.zst"))
    return [json.loads(line) for path in paths for line in read_lines(path)]


@pytest.fixture
def recorder(tmp_path):
    made = Recorder(tmp_path, 1 << 20, 1 << 30)
    yield made
    made.close()


def test_frames_come_back_to_the_nanosecond_and_the_digit(recorder, tmp_path):
    frames = [b"[7,[8.86e-05,1,1e-8],1]", b'[7,"hb"]', b'{"event":"info"}', b"[7,[]]"]
    recorder.opened(3, START_NS)
    recorder.sent(3, '{"event":"conf","flags":5}', START_NS + 1)
    recorder.received(3, batch_of(*frames), START_NS + 2)
    recorder.received(0, batch_of(b"[1,2]"), START_NS + 3)
    recorder.close()
    files = sorted(tmp_path.rglob("*.zst"))
    assert [str(path.relative_to(tmp_path)) for path in files] == [
        "dt=2026-09-21/20260921T141320Z.jsonl.zst"
    ]
    told = [(line["dir"], line["connection"]) for line in recorded(tmp_path)]
    assert told == [("open", 3), ("tx", 3), *[("rx", 3)] * 4, ("rx", 0)]
    read = list(read_frames(files))
    assert [frame.text for frame in read] == [b"", *frames, b"[1,2]"]
    assert [frame.recv_ns for frame in read] == [START_NS, *[START_NS + 2] * 4, START_NS + 3]
    assert [frame.connection for frame in read] == [3] * 5 + [0]
    assert (recorder.recorded, recorder.lost) == (5, 0)


def test_frames_with_line_ends_and_frames_that_are_no_json_keep_their_line(recorder, tmp_path):
    frames = [b'{\r\n "a": 1\n}', b"no json", b'{"a":', b"[1,2]"]
    recorder.received(2, batch_of(*frames), START_NS)
    recorder.close()
    read = list(read_frames(sorted(tmp_path.rglob("*.zst"))))
    assert [frame.text for frame in read] == [b'{   "a": 1 }', *frames[1:]]
    assert {(frame.recv_ns, frame.connection) for frame in read} == {(START_NS, 2)}


def test_secrets_are_never_written(recorder, tmp_path):
    texts = [
        '{"event":"auth","apiKey":"hidden","authSig":"hidden","authNonce":7777,"filter":["x"]}',
        '{"method":"subscribe","params":{"channel":"level3","token":"hidden","a":[{"otp":"hidden"}]}}',
        "hidden, and no json",
    ]
    for text in texts:
        recorder.sent(0, text, START_NS)
    recorder.close()
    lines = recorded(tmp_path)
    assert "hidden" not in json.dumps(lines)
    assert "7777" not in json.dumps(lines)
    assert lines[0]["frame"]["filter"] == ["x"]
    assert lines[1]["frame"]["params"]["channel"] == "level3"
    assert json.loads(without_secrets('{"a":1.50}')) == {"a": 1.5}


def test_a_slow_disk_drops_frames_with_a_word_and_never_makes_the_loop_wait(tmp_path, monkeypatch):
    go = threading.Event()
    write = FrameFiles.write

    def slow(self, lines, time_ns):
        assert go.wait(30)
        write(self, lines, time_ns)

    monkeypatch.setattr(FrameFiles, "write", slow)
    recorder = Recorder(tmp_path, 1 << 30, 1 << 40, buffers=2)
    frame = b"[7,%s]" % (b"1" * 4000)
    reads = 0
    while recorder.lost < 300:
        recorder.received(reads % 2, batch_of(*[frame] * 100), START_NS + reads)
        reads += 1
    lost = recorder.lost
    go.set()
    wait_until(lambda: len(recorder._free) == 2)
    recorder.received(0, batch_of(b"[1]"), START_NS + reads)
    recorder.close()
    lines = recorded(tmp_path)
    assert sum(line["frame"]["frames"] for line in lines if line["dir"] == "lost") == lost
    assert sum(line["dir"] == "rx" for line in lines) == 100 * reads - lost + 1 == recorder.recorded
    # The word stands where the frames are missing.
    directions = [line["dir"] for line in lines]
    assert directions.index("lost") == directions.count("rx") - 1
    told = [f for f in read_frames(sorted(tmp_path.rglob("*.zst"))) if f.lost]
    assert {frame.connection for frame in told} == {0, 1}


def test_a_full_disk_is_told_and_the_file_stays_readable(tmp_path, monkeypatch):
    real, full = os.write, []

    def write(descriptor, data):
        if not full:
            return real(descriptor, data)
        real(descriptor, bytes(data[: len(data) // 2]))  # and then there is no more room
        raise OSError(28, "No space left on device")

    recorder = Recorder(tmp_path, 1 << 20, 1 << 30)
    monkeypatch.setattr(frame_files.os, "write", write)
    noise = random.Random(1).randbytes(200_000).hex().encode()
    recorder.received(0, batch_of(b'["%s",1]' % noise), START_NS)
    wait_until(lambda: recorder.recorded == 1)
    full.append(True)
    recorder.received(0, batch_of(b'["%s",2]' % noise, b"[2]"), START_NS)
    wait_until(lambda: recorder.error)
    assert "No space left" in recorder.error
    recorder.service()
    assert recorder.lost == 2
    full.clear()
    recorder.received(0, batch_of(b'["%s",3]' % noise), START_NS)
    recorder.close()
    assert recorder.error == ""
    lines = recorded(tmp_path)
    assert [line["dir"] for line in lines] == ["rx", "lost", "rx"]
    assert lines[1]["frame"] == {"frames": 2}


def test_files_end_at_their_size_and_with_the_hour_and_the_oldest_go(tmp_path):
    files = FrameFiles(tmp_path, 200_000, 700_000)
    draw = random.Random(2)
    blocks = 0
    for hour in range(6):
        for _ in range(8):
            files.write(
                memoryview(draw.randbytes(30_000).hex().encode()), START_NS + hour * HOUR_NS
            )
            blocks += 1
    files.close()
    left = files.files()
    sizes = [path.stat().st_size for path in left]
    assert sum(sizes) <= 700_000
    assert max(sizes) < 200_000 + 60_000
    assert all(whole_bytes(path) == path.stat().st_size for path in left)
    names = [path.name for path in left]
    assert names == sorted(names)
    assert names[-1].startswith("20260921T191320Z")
    # Two of one second keep their order.
    assert any(name.endswith("Z_001.jsonl.zst") for name in names)


def test_a_new_life_cuts_off_what_the_last_one_did_not_finish(tmp_path):
    files = FrameFiles(tmp_path, 1 << 20, 1 << 30)
    files.write(memoryview(b'{"n":1}\n'), START_NS)
    files.close()
    path = files.files()[0]
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:-3])
    recorder = Recorder(tmp_path, 1 << 20, 1 << 30)
    recorder.close()
    assert path.read_bytes() == whole
    path.write_bytes(whole[:5])
    Recorder(tmp_path, 1 << 20, 1 << 30).close()
    assert not path.exists()


def test_a_killed_process_leaves_files_that_are_whole_but_for_the_last_moments(tmp_path, seed):
    draw = random.Random(seed)
    for life in range(3):
        folder = tmp_path / str(life)
        child = python("-m", "tests.unit.collector.recorder_child", str(folder))
        try:
            assert child.stdout.readline() == "recording\n"
            wanted = draw.randrange(1, 6)
            wait_until(lambda f=folder, w=wanted: len(list(f.rglob("*.zst"))) >= w, 60)
        finally:
            child.send_signal(signal.SIGKILL)
            child.communicate()
        lines = recorded(folder)
        numbers = [line["frame"][1][0] for line in lines if line["dir"] == "rx"]
        lost = sum(line["frame"]["frames"] for line in lines if line["dir"] == "lost")
        assert len(numbers) > 1000
        assert numbers == sorted(set(numbers))
        assert numbers[-1] + 1 - len(numbers) == lost


def test_a_read_as_large_as_they_come_is_kept(recorder, tmp_path):
    large = b'["' + b"x" * (4 << 20) + b'"]'
    recorder.received(0, batch_of(large, b"[1]"), START_NS)
    recorder.received(0, batch_of(large), START_NS)
    recorder.close()
    assert [len(json.dumps(line["frame"])) for line in recorded(tmp_path)] == [
        len(large), 3, len(large),
    ]  # fmt: skip
