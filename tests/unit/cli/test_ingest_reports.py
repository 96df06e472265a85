"""What ingest reports: of every recording what its venue says of it, of damage what was left
out."""

import json
import re
from pathlib import Path

from processes.cli.__main__ import EXIT_FAILED, EXIT_USAGE


def report(dcctl, path: Path, out: Path):
    """Ingest one file of Bitfinex, well."""
    arguments = ("ingest", "--venue", "bitfinex", str(path), "--out", str(out), "--json")
    assert dcctl(*arguments) == 0, dcctl.err
    return json.loads(dcctl.out)


def test_ingest_of_every_recording(dcctl, recordings):
    folder = recordings / "bitfinex"
    golden = json.loads((folder / "golden_states_seqall_2021_part1.json").read_text())
    for path in sorted(folder.glob("ws_*.jsonl")):
        if not re.match(r"ws_(seqall|book_|reconnect_boundary|frames_2026)", path.name):
            continue
        out = dcctl.folder / path.stem
        told = report(dcctl, path, out)
        assert told["errors"] == [], path.name
        assert told["sequence"]["gaps"] == 0
        assert told["checksums"]["failed"] == 0
        assert told["deletes_of_nothing"] == 0
        assert sum(told["events"].values()) == told["lake_rows"]
        if "seqall" in path.name:
            assert told["sequence"] == {"first": 1, "last": golden["last_seq"], "gaps": 0}
            assert told["unknown_frames"] == 0
            for symbol, wanted in golden["books"].items():
                assert told["books"][symbol]["bids"][0] == wanted["best_bid"]
                assert told["books"][symbol]["asks"][0] == wanted["best_ask"]
        if "r0" in path.name:
            assert len(told["raw_books"]["tBTCUSD"]["bids"][0]) == 3
    assert dcctl("ingest", "--venue", "bitfinex", str(path), "--out", str(out)) == EXIT_FAILED
    assert "holds a lake already" in dcctl.err
    new = str(out / "x")
    assert dcctl("ingest", "--venue", "bitfinex", "/nowhere", "--out", new) == EXIT_FAILED
    assert "is no file" in dcctl.err


def test_ingest_counts_what_it_cannot_use_and_goes_on(dcctl):
    lines = [
        '{"t":1.5,"frame":{"event":"info","version":2}}',
        '{"t":1.6,"frame":{"event":"conf","status":"OK","flags":65536}}',
        '{"t":1.7,"frame":{"event":"subscribed","channel":"book","chanId":5,"symbol":"tBTCUSD",'
        '"prec":"P0","freq":"F0","len":"25"}}',
        '{"t":1.8,"frame":[5,[[100,1,2],[101,1,-3]],1]}',
        "garbage",
        '{"t":1.9,"frame":[5,[100,"x",2],2]}',
        '{"t":2.0,"frame":[5,[99,1,1e-8],5]}',
        '{"t":2.1,"frame":[5,"cs",123,6]}',
        '{"t":2.2,"frame":[77,"hb",7]}',
        '{"dir":"tx","t":2.2,"frame":{"event":"ping"}}',
    ]
    path = dcctl.folder / "frames.jsonl"
    path.write_text("\n".join(lines))
    out = dcctl.folder / "out"
    told = report(dcctl, path, out)
    assert told["frames"] == 9
    assert told["errors_total"] == 2
    assert told["sequence"] == {"first": 1, "last": 7, "gaps": 1}
    assert told["checksums"] == {"verified": 0, "failed": 1}
    assert told["unknown_frames"] == 1
    assert told["books"]["tBTCUSD"] == {
        "bids": [["100", "2"], ["99", "1e-8"]],
        "asks": [["101", "-3"]],
    }
    new = [str(dcctl.folder / name) for name in ("out2", "out3")]
    assert dcctl("ingest", "--venue", "bitfinex", str(path), "--out", new[0]) == 0
    assert "1 gaps" in dcctl.out
    assert dcctl("ingest", "--venue", "nope", str(path), "--out", new[1]) == EXIT_USAGE
    assert "no venue" in dcctl.err
