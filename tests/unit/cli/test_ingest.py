"""ingest under all that may stand in a file: counted and skipped, never a crash, nothing left."""

import json
import random
from pathlib import Path

import pyarrow as pa
import pytest

from processes.cli.__main__ import EXIT_FAILED, EXIT_USAGE
from processes.storage.store import Store
from tests.unit.venues.test_bitfinex_codec import mutate

HEAD = [
    '{"event":"info","version":2,"serverId":"x","platform":{"status":1}}',
    '{"event":"conf","status":"OK","flags":65536}',
    '{"event":"subscribed","channel":"book","chanId":5,"symbol":"tBTCUSD","prec":"P0",'
    '"freq":"F0","len":"25"}',
    '{"event":"subscribed","channel":"trades","chanId":6,"symbol":"tBTCUSD"}',
    "[5,[[100,1,2],[101,1,-3]],1]",
]
TAIL = ["[5,[99,1,7],2]", '[6,"te",[1,1600000000000,0.5,100],3]']


@pytest.fixture
def ingest(dcctl, tmp_path):
    """Ingests lines between a good head and a good tail; the report."""
    counter = iter(range(1000))

    def run(lines, *, raw=False, code=0):
        number = next(counter)
        path = tmp_path / f"{number}.jsonl"
        whole = lines if raw else [*HEAD, *lines, *TAIL]
        path.write_bytes(
            b"\n".join(
                x if isinstance(x, bytes) else x.encode("utf-8", "surrogatepass") for x in whole
            )
        )
        out = tmp_path / f"out-{number}"
        assert (
            dcctl("ingest", "--venue", "bitfinex", str(path), "--out", str(out), "--json") == code
        )
        return json.loads(dcctl.out)

    return run


def check_whole(told) -> None:
    """The head and the tail came through, and what was counted is what is in the lake."""
    assert told["books"]["tBTCUSD"] == {
        "bids": [["100", "2"], ["99", "7"]],
        "asks": [["101", "-3"]],
    }
    assert told["symbols"]["tBTCUSD"]["trades"] == 1
    assert sum(told["events"].values()) == told["lake_rows"]


BAD = [
    "{}", "garbage", "[", "]", "{", "}", "[5", "[5,", "[5,[100,1,", "[5,[100", '"text"', "nul",
    "\0\0\0", b"\xff\xfe\xfd", "[5,[1e999,1,1],9]", "[5,[100,1," + "9" * 5000 + "],9]",
    '[5,["100",1,1],9]',
    "[5,[100,true,1],9]", "[5,[100,null,1],9]", "[5,{},9]", '[6,"te",[1,2],9]', '[6,"te",{},9]',
    '[6,"te",["x",1600000000000,0.5,100],9]', "[[5],[100,1,1],9]", "[5.5,[100,1,1],9]",
    "[" * 3000, "[5," + "[" * 2000 + "]" * 2000 + ",9]", '{"event":"subscribed"}', '{"event":5}',
    '{"event":"subscribed","channel":"book","chanId":"x","symbol":"tX","prec":"P0"}',
    '{"event":"subscribed","channel":"nonsense","chanId":9,"symbol":"tX"}',
    '{"event":"subscribed","channel":"book","chanId":9,"symbol":5,"prec":"P0"}',
    '{"event":"conf","status":"OK","flags":"many"}',
    '{"t":"soon","frame":[5,[100,1,9],9]}', '{"t":1.5,"frame":', '{"t":1.5,"frame":"text"}',
    '{"t":1.5,"frame":{}}', '{"dir":5,"t":1.5,"frame":[5,"hb",9]}', '{"t":null,"frame":[5,"hb",9]}',
]  # fmt: skip


@pytest.mark.parametrize("line", BAD, ids=range(len(BAD)))
def test_a_bad_line_is_counted_and_skipped(ingest, line):
    told = ingest([line])
    check_whole(told)
    assert told["frames"] == len(HEAD) + 1 + len(TAIL)
    assert told["errors_total"] == len(told["errors"]) == 1
    assert told["sequence"]["last"] == 3


@pytest.mark.parametrize(
    "line",
    [
        '[6,"te",[2,99999999999999999,0.5,100],9]', '[6,"te",[2,-5,0.5,100],9]',
        '[6,"te",[2,1e30,0.5,100],9]', '[6,"te",[99999999999999999999999,1,0.5,100],9]',
        "[99999999999999999999,[100,1,1],9]", '[6,"te",[2,1600000000000,1e300,1e300],9]',
        "[77,[100,1,1],9]", '{"event":"pong","ts":1e99}', '{"event":"info","code":1e9}',
        '{"t":1e300,"frame":[5,"hb",9]}', '{"t":-1e300,"frame":[5,"hb",9]}',
        '{"t":1700000000000,"frame":[5,"hb",9]}', '{"t":-5,"frame":[5,"hb",9]}',
        '{"t":1e18,"frame":[6,"te",[2,1600000000000,0.5,100],9]}',
        '{"dir":"open","t":1e300}', '{"dir":"rx"}', '{"dir":"nonsense","frame":[5,"hb",9]}',
        "[5,[100,1,1],99999999999999999999999999]", "[5,[100,1,1],-1]",
    ],
)  # fmt: skip
def test_a_giant_number_ends_nothing(ingest, line):
    told = ingest([line])
    assert sum(told["events"].values()) == told["lake_rows"]
    if "open" not in line:  # a new connection begins without channels
        assert told["symbols"]["tBTCUSD"]["trades"] >= 1
        assert ["101", "-3"] in told["books"]["tBTCUSD"]["asks"]


def test_a_giant_line_is_counted(ingest):
    told = ingest(["[5,[" + "[100,1,1]," * 300_000 + "[100,1,1]],9]", "x" * 20_000_000])
    assert told["errors_total"] == 2
    check_whole(told)
    assert sum(told["events"].values()) == told["lake_rows"]


def test_a_file_cut_anywhere(ingest, tmp_path, seed):
    whole = "\n".join([*HEAD, *TAIL]).encode()
    draw = random.Random(seed)
    for cut in sorted(draw.randrange(len(whole)) for _ in range(12)):
        told = ingest([whole[:cut]], raw=True)
        assert told["errors_total"] <= 1
        assert told["frames"] == len([line for line in whole[:cut].split(b"\n") if line.strip()])


def test_nothing_at_all(ingest):
    for content in ([], ["", "  ", "\r"], [b"\xef\xbb\xbf"]):
        told = ingest(content, raw=True)
        assert told["events"] == {}
        assert told["lake_rows"] == 0
        assert told["sequence"] == {"first": None, "last": None, "gaps": 0}


def test_lines_may_end_as_they_like(ingest):
    told = ingest([line + "\r" for line in [*HEAD, *TAIL]], raw=True)
    check_whole(told)
    assert told["errors"] == []


def test_several_files_are_one_stream(dcctl, tmp_path):
    lines = [*HEAD, *TAIL]
    paths = []
    for number, part in enumerate((lines[:4], lines[4:])):
        paths.append(tmp_path / f"{number}.jsonl")
        paths[-1].write_text("\n".join(part))
    files = [str(path) for path in paths]
    out = str(tmp_path / "out")
    assert dcctl("ingest", "--venue", "bitfinex", *files, "--out", out, "--json") == 0
    told = json.loads(dcctl.out)
    check_whole(told)
    assert told["unknown_frames"] == 0


def test_damaged_recordings_go_through(ingest, recordings, seed, long_run):
    """Real frames, damaged at random: the report's sums hold, whatever is left of them."""
    draw = random.Random(seed)
    folder = recordings / "bitfinex"
    for _ in range(60 if long_run else 3):
        name = draw.choice(["ws_frames_2026.jsonl", "ws_reconnect_boundary_btcusd_2018.jsonl"])
        lines = (folder / name).read_bytes().splitlines()[:1500]
        damaged = [mutate(draw, line, lines) if draw.random() < 0.2 else line for line in lines]
        told = ingest(damaged, raw=True)
        assert sum(told["events"].values()) == told["lake_rows"]
        assert told["frames"] >= told["errors_total"]


@pytest.mark.parametrize(
    ("venue", "file", "words"),
    [("nope", "good", "no venue nope; there are bitfinex"), ("bitfinex", "missing", "is no file"),
     ("bitfinex", ".", "is no file"), ("", "good", "no venue")],
)  # fmt: skip
def test_what_cannot_be_done_is_said_before_anything_is_made(dcctl, tmp_path, venue, file, words):
    (tmp_path / "good").write_text("\n".join(HEAD))
    out = tmp_path / "out"
    code = dcctl("ingest", "--venue", venue, str(tmp_path / file), "--out", str(out))
    assert code == (EXIT_USAGE if "venue" in words else EXIT_FAILED)
    assert words in dcctl.err
    assert not out.exists()


def test_a_folder_that_cannot_be_written_is_said(dcctl, tmp_path):
    (tmp_path / "good").write_text("\n".join(HEAD))
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/nowhere")):
        code = dcctl("ingest", "--venue", "bitfinex", str(tmp_path / "good"), "--out", str(out))
        assert code == EXIT_FAILED, out
        assert "--out" in dcctl.err
        assert str(out) in dcctl.err


def test_a_folder_with_a_lake_is_left_alone(dcctl, tmp_path):
    (tmp_path / "good").write_text("\n".join([*HEAD, *TAIL]))
    arguments = [
        "ingest",
        "--venue",
        "bitfinex",
        str(tmp_path / "good"),
        "--out",
        str(tmp_path / "o"),
    ]
    assert dcctl(*arguments) == 0
    before = sorted((p, p.stat().st_size) for p in (tmp_path / "o").rglob("*") if p.is_file())
    assert dcctl(*arguments) == EXIT_FAILED
    assert "holds a lake already" in dcctl.err
    assert before == sorted(
        (p, p.stat().st_size) for p in (tmp_path / "o").rglob("*") if p.is_file()
    )


@pytest.mark.parametrize("fault", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_an_end_in_the_middle_leaves_no_shared_memory(dcctl, tmp_path, monkeypatch, fault):
    """The fixture that watches over every test sees it; and the disk's word is passed on."""

    def fails(*_: object) -> None:
        raise fault

    (tmp_path / "good").write_text("\n".join([*HEAD, *TAIL]))
    monkeypatch.setattr(Store, "finish", fails)
    code = dcctl(
        "ingest", "--venue", "bitfinex", str(tmp_path / "good"), "--out", str(tmp_path / "o")
    )
    assert code == (130 if fault is KeyboardInterrupt else EXIT_FAILED)
    if fault is not KeyboardInterrupt:
        assert "No space left" in dcctl.err


KRAKEN_STATUS = (
    '{"channel":"status","type":"update","data":[{"version":"2.0.10","system":"online",'
    '"api_version":"v2","connection_id":16174536464690282295}]}'
)
KRAKEN_LEVEL3 = (
    '{"channel":"level3","type":"snapshot","data":[{"symbol":"A/USD","asks":[],"bids":['
    '{"order_id":"OTCFZG-YOE2Q-LQKNM3","limit_price":5.0,"order_qty":1.50,'
    '"timestamp":"2026-09-15T23:41:47.461426256Z"}],"checksum":4270409207}]}'
)


def kraken_book(kind: str, size: str) -> str:
    return (
        f'{{"channel": "book", "data": [{{"symbol": "A/USD", "bids": [{{"price": 5.0, "qty": {size}'
        f'}}], "asks": []}}], "type": "{kind}"}}'
    )


def test_kraken_goes_the_same_way(dcctl, tmp_path):
    """Whatever the names of files: books, level3 with its text ids, and a change of status."""
    path, out = tmp_path / "anything.txt", tmp_path / "out"
    cancel_only = KRAKEN_STATUS.replace("online", "cancel_only")
    lines = [
        KRAKEN_STATUS, kraken_book("snapshot", "1.50"), cancel_only, kraken_book("update", "2.50"),
        '{"channel":"heartbeat"}', KRAKEN_LEVEL3, "garbage",
    ]  # fmt: skip
    path.write_text("\n".join(lines))
    assert dcctl("ingest", "--venue", "kraken", str(path), "--out", str(out), "--json") == 0
    told = json.loads(dcctl.out)
    assert told["books"] == {"A/USD": {"bids": [["5.0", "2.50"]], "asks": []}}
    assert told["connections"] == 1
    assert told["checksums"] == {"verified": 1, "failed": 0}
    assert (told["errors_total"], told["heartbeats"], told["unknown_frames"]) == (1, 1, 0)
    assert told["level3"]["A/USD"]["top_bids"] == [["5.0", [["OTCFZG-YOE2Q-LQKNM3", "1.50"]]]]
    assert sum(told["events"].values()) == told["lake_rows"]
    (file,) = (out / "lake").rglob("raw_books*.arrow")
    rows = pa.ipc.open_file(file).read_all().to_pylist()
    orders = [row for row in rows if row["marker"] is None]
    assert [(row["order_id"], row["order_text"], row["op"]) for row in orders] == [
        (0, "OTCFZG-YOE2Q-LQKNM3", "set")
    ]
    assert orders[0]["event_ns"] == 1789515707461426256


def test_every_connection_of_a_recording_has_its_say(dcctl, tmp_path):
    """Level3 books of two connections, and frames of a third that has none."""
    path, out = tmp_path / "frames.jsonl", tmp_path / "out"
    path.write_text("\n".join([
        wrapped(0, KRAKEN_LEVEL3, 1600000000), wrapped(1, KRAKEN_STATUS, 1600000000),
        wrapped(1, KRAKEN_LEVEL3.replace("A/USD", "B/USD"), 1600000001),
        wrapped(2, KRAKEN_STATUS, 1600000002),
    ]))  # fmt: skip
    assert dcctl("ingest", "--venue", "kraken", str(path), "--out", str(out), "--json") == 0
    assert set(json.loads(dcctl.out)["level3"]) == {"A/USD", "B/USD"}


def test_kraken_recordings_go_through(dcctl, recordings, tmp_path):
    """Every stream file of the recordings, as it is: nothing failed, nothing that is an error."""
    folder = recordings / "kraken"
    files = [*folder.glob("ws_v2_book_*"), *folder.glob("*_as_v2_shape*")]
    files += [*folder.glob("ws_v2_level3*"), *folder.glob("ws_v2_ohlc*")]
    files += [*folder.glob("ws_v2_frames_observed*"), *folder.glob("ws_v2_instrument*")]
    assert len(files) >= 8
    verified = 0
    for file in files:
        out = tmp_path / file.stem
        assert dcctl("ingest", "--venue", "kraken", str(file), "--out", str(out), "--json") == 0
        told = json.loads(dcctl.out)
        assert (told["errors"], told["checksums"]["failed"]) == ([], 0), file.name
        assert sum(told["events"].values()) <= told["lake_rows"]
        verified += told["checksums"]["verified"]
    assert verified >= 256 + 11 + 3 + 2149 + 1


def wrapped(connection: int, frame: str, recv: float) -> str:
    return f'{{"dir":"rx","t":{recv},"connection":{connection},"frame":{frame}}}'


def test_interleaved_connections_are_kept_apart(ingest):
    """Each has its own channel ids, numbers and epochs: the same ids mean different things."""
    other = [line.replace("tBTCUSD", "tETHUSD") for line in HEAD]
    lines = [
        wrapped(number, frame, 1600000000 + at)
        for at, pair in enumerate(zip([*HEAD, *TAIL], [*other, *TAIL], strict=True))
        for number, frame in zip((0, 5), pair, strict=True)
    ]
    told = ingest(lines, raw=True)
    assert told["connections"] == 2
    assert told["sequence"] == {"first": 1, "last": 3, "gaps": 0}
    assert told["errors_total"] == told["unknown_frames"] == 0
    for symbol in ("tBTCUSD", "tETHUSD"):
        assert told["books"][symbol]["bids"] == [["100", "2"], ["99", "7"]]
        assert told["symbols"][symbol]["trades"] == 1
    # A connection that is opened anew starts from nothing, and the other goes on.
    again = ['{"dir":"open","t":1600000100.0,"connection":5,"frame":null}', *lines[1::2],
             wrapped(0, "[5,[98,1,1],4]", 1600000101)]  # fmt: skip
    told = ingest([*lines, *again], raw=True)
    assert told["connections"] == 3
    assert told["sequence"]["gaps"] == 0
    assert told["books"]["tBTCUSD"]["bids"][-1] == ["98", "1"]


def test_frames_that_a_recorder_lost_are_told_and_marked(ingest):
    lines = [wrapped(0, frame, 1600000000) for frame in [*HEAD, *TAIL]]
    lines.insert(5, '{"dir":"lost","t":1600000001.0,"connection":0,"frame":{"frames":17}}')
    told = ingest(lines, raw=True)
    assert told["frames_lost"] == 17
    assert told["errors_total"] == 0
    check_whole(told)
    del lines[5]
    assert ingest(lines, raw=True)["events"]["marker"] == told["events"]["marker"] - 1


@pytest.mark.parametrize("lost", ["{}", "null", '"x"', '{"frames":-5}', '{"frames":"a"}'])
def test_a_word_about_lost_frames_may_be_damaged(ingest, lost):
    told = ingest([f'{{"dir":"lost","t":1600000001.0,"connection":0,"frame":{lost}}}'])
    assert told["frames_lost"] == 1
    check_whole(told)


def test_there_are_no_more_connections_than_any_recorder_has(ingest):
    lines = [wrapped(number, '[1,"hb"]', 1600000000) for number in range(300)]
    told = ingest(lines, raw=True)
    assert told["connections"] == 256
    assert told["errors_total"] == 300 - 256


def test_liquidations_and_funding_books_are_in_the_report(ingest):
    told = ingest(
        [
            '{"event":"subscribed","channel":"status","chanId":8,"key":"liq:global"}',
            '[8,[["pos",1454,1600000000000,null,"tETHF0:USTF0",-1.6,2495,null,1,1,null,2501.5]]]',
            '{"event":"subscribed","channel":"book","chanId":9,"symbol":"fUSD","prec":"P0",'
            '"freq":"F0","len":"25"}',
            "[9,[[0.0002,30,2,-500],[0.0003,2,1,70.5]]]",
        ],
        raw=True,
    )
    assert told["status"] == {"liq:global": 1}
    book = {"bids": [["0.0002", 30, "-500"]], "asks": [["0.0003", 2, "70.5"]]}
    assert told["books"] == {"fUSD": book}
    assert sum(told["events"].values()) == told["lake_rows"]
