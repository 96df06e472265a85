"""Every command of dcctl: its help, its exit code, and one sentence where it cannot be done."""

import io
import json
import re

import pytest

from config.loader import load
from processes.cli.__main__ import EXIT_CONFIG, EXIT_FAILED, EXIT_NOT_RUNNING, EXIT_USAGE, app
from processes.latch import Latch, read_latch, write_latch
from processes.live import may_trade
from processes.operations import switch
from processes.places import REGISTRY, Resolved, lock
from processes.sessions import SessionFolder, latest_settings
from schemas.errors import OperatorError
from schemas.instruments import Tables
from schemas.trading import KillLevel

COMMANDS = sorted(one.name or one.callback.__name__ for one in app.registered_commands)
NEED_NO_INSTANCE = {
    "config", "doctor", "ingest", "kill", "arm", "start", "bench", "completion", "version",
    "install", "uninstall",
}  # fmt: skip
NOTHING_TO_STOP = {"stop"}
READ_FILES = {
    "logs", "replay", "backtest", "why", "positions", "orders", "fills", "pnl", "train",
}  # fmt: skip


def test_the_exit_codes_are_fixed():
    assert (EXIT_FAILED, EXIT_USAGE, EXIT_NOT_RUNNING, EXIT_CONFIG) == (1, 2, 3, 78)


def test_the_commands_there_are():
    assert set(COMMANDS) >= {
        "start", "stop", "restart", "status", "logs", "top", "tap", "kill", "arm", "reload",
        "doctor", "config", "ingest", "bench", "version",
    }  # fmt: skip


def test_help_names_every_command_with_a_sentence(dcctl):
    assert dcctl("--help") == 0
    for command in COMMANDS:
        assert re.search(rf"^ +{command} +\S.*\w", dcctl.out, re.MULTILINE), command
    assert "78 bad configuration" in " ".join(dcctl.out.split())


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_explains_every_option(dcctl, command):
    assert dcctl(command, "--help") == 0
    assert f"dcctl {command}" in dcctl.out.replace("python -m processes.cli", "dcctl")
    options = re.findall(r"^  +(-\S.*?)(?:  +(\S.*))?$", dcctl.out, re.MULTILINE)
    assert options
    lines = dcctl.out.splitlines()
    for option, words in options:
        following = lines[[n for n, line in enumerate(lines) if option in line][-1] + 1 :]
        assert words or (following and following[0].startswith(" " * 10)), f"{command} {option}"


def test_nothing_at_all_shows_the_help(dcctl):
    assert dcctl() == EXIT_USAGE
    assert "start" in dcctl.out + dcctl.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"], ["status", "--nonsense"], ["status", "extra"], ["logs", "-n", "many"],
        ["logs", "-n", "0"], ["tap"], ["tap", "features", "-n", "-1"], ["ingest"],
        ["ingest", "x.jsonl"], ["settle", "abc"],
        ["feeds"], ["feeds", "subscribe", "kraken"], ["feeds", "connect", "kraken", "-c", "-2"],
        ["settle", "abc", "--absent", "--venue-order", "1"], ["take-over", "x", "--price", "0"],
        ["start", "--timeout", "soon"], ["--nonsense"], ["completion"], ["completion", "tcsh"],
    ],
)  # fmt: skip
def test_wrong_usage_is_two(dcctl, arguments):
    assert dcctl(*arguments) == EXIT_USAGE
    assert dcctl.err
    assert not dcctl.started()


@pytest.mark.parametrize(
    "arguments",
    [
        ["status"], ["status", "--json"], ["top"], ["stop"], ["restart"], ["restart", "features"],
        ["reload"], ["tap", "features"], ["tap", "bus"], ["settle", "abc", "--absent"],
        ["console"], ["console", "--json"], ["set"], ["set", "risk.max_order=1", "--yes"],
        ["feeds", "list"], ["feeds", "connect", "kraken"],
        ["feeds", "subscribe", "kraken", "BTC/USD", "--yes"],
        ["take-over"], ["take-over", "kraken:BTC/USD", "--yes"],
    ],
)  # fmt: skip
def test_without_an_instance_it_is_three(dcctl, arguments):
    assert dcctl(*arguments) == EXIT_NOT_RUNNING
    assert "not running" in dcctl.err
    assert dcctl.out == ""


def test_every_command_is_tried_without_an_instance():
    tried = {
        "status", "top", "stop", "restart", "reload", "tap", "settle", "take-over", "console",
        "set",
    }  # fmt: skip
    assert set(COMMANDS) == tried | NEED_NO_INSTANCE | READ_FILES


@pytest.mark.parametrize("command", ["why", "positions", "orders", "fills", "pnl"])
def test_where_nothing_has_run_there_is_nothing_to_show(dcctl, command):
    assert dcctl(command) == EXIT_FAILED
    assert "nothing has run" in dcctl.err


def test_a_supervisor_that_is_just_starting(dcctl):
    """It holds the lock and has written nothing yet."""
    assert dcctl("logs") == EXIT_FAILED  # makes the folders
    held = lock(dcctl.folder / "run")
    for command in (["status"], ["stop"], ["reload"], ["restart"], ["tap", "features"]):
        assert dcctl(*command) == EXIT_NOT_RUNNING, command
    assert dcctl("start") == EXIT_FAILED
    assert "runs here already" in dcctl.err
    held.close()


def test_a_registry_that_cannot_be_read(dcctl):
    (dcctl.folder / "run").mkdir(mode=0o700)
    path = dcctl.folder / "run" / REGISTRY
    path.write_bytes(b"garbage")
    assert dcctl("stop") == EXIT_FAILED
    assert str(path) in dcctl.err
    assert dcctl("kill", "--yes", "--json") == 0, "a kill must go through all the same"
    assert read_latch(dcctl.folder / "data").level == KillLevel.FLATTEN
    assert dcctl("arm", "--yes") == 0


# ---- configuration


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("http__port=abc", ["http.port", "'abc'", "int"]),
        ("http__port=70000", ["http.port", "70000", "65535"]),
        ("strategy__name=magic", ["strategy.name", "'magic'"]),
        ("risk__max_daily_loss=-1", ["risk.max_daily_loss", "-1"]),
        ("nonsense__x=1", ["nonsense", "Allowed here"]),
        ("paths__data=/dev/null", ["paths.data", "/dev/null"]),
        ("venues__bitfinex__stale_s={foo: 1}", ["venues.bitfinex.stale_s", "'foo'"]),
        ("features__stale_after_s=.nan", ["features.stale_after_s", "nan"]),
    ],
)
def test_a_bad_setting_is_seventy_eight_and_starts_nothing(dcctl, monkeypatch, setting, words):
    name, _, value = setting.partition("=")
    monkeypatch.setenv(f"DC__{name}", value)
    for command in (["start"], ["start", "--foreground"]):
        assert dcctl(*command) == EXIT_CONFIG
        for word in words:
            assert word in dcctl.err, dcctl.err
        assert len(dcctl.err.splitlines()) == 1
        assert dcctl.out == ""
        assert not dcctl.started()


@pytest.mark.parametrize(("service", "code"), [("launchd", 0), ("systemd", EXIT_CONFIG)])
def test_a_service_with_a_bad_setting_is_not_started_again(dcctl, monkeypatch, service, code):
    """launchd starts again whatever does not end with 0, systemd what does not end with 78."""
    monkeypatch.setenv("DC_SERVICE", service)
    monkeypatch.setenv("DC__http__port", "70000")
    assert dcctl("start", "--foreground") == code
    assert "http.port" in dcctl.err
    assert not dcctl.started()


@pytest.mark.parametrize(("service", "code"), [("launchd", 0), ("systemd", 0), ("", 1)])
def test_a_service_that_the_switch_has_shut_down_stays_down(dcctl, monkeypatch, service, code):
    monkeypatch.setenv("DC_SERVICE", service)
    (dcctl.folder / "data" / "state").mkdir(parents=True)
    write_latch(dcctl.folder / "data", Latch(level=KillLevel.SHUTDOWN, by="a test", since_ns=1))
    assert dcctl("start", "--foreground") == code
    assert "dcctl arm releases it" in dcctl.err
    assert not dcctl.started()


@pytest.mark.parametrize("command", ["start", "config"])
def test_a_config_file_that_is_none(dcctl, command):
    folder = dcctl.folder
    (folder / "binary.yml").write_bytes(b"\xff\xfe\x00http")
    (folder / "list.yml").write_text("- 1")
    (folder / "broken.yml").write_text("http: {port")
    for name in ("missing.yml", "binary.yml", "list.yml", "broken.yml", ""):
        assert dcctl(command, "--config", str(folder / name)) == EXIT_CONFIG, name
        assert name in dcctl.err
    assert not dcctl.started()


def test_an_unknown_profile_names_those_there_are(dcctl):
    for command in ("start", "config"):
        assert dcctl(command, "--profile", "nope") == EXIT_CONFIG
        assert "demo" in dcctl.err


def test_config_shows_what_is_in_force(dcctl, monkeypatch):
    monkeypatch.setenv("DC__risk__max_daily_loss", "'7.5'")
    assert dcctl("config", "--json") == 0
    assert json.loads(dcctl.out)["risk"]["max_daily_loss"] == "7.5"
    assert dcctl("config") == 0
    assert re.search(r"^risk\.max_daily_loss +7\.5$", dcctl.out, re.MULTILINE)
    assert dcctl("config", "--schema") == 0
    assert "$defs" in json.loads(dcctl.out)


def test_commands_find_their_folders_though_the_settings_are_broken(dcctl, monkeypatch):
    """One must be able to stop and kill what runs, whatever was typed into a file since."""
    monkeypatch.setattr("processes.operations.instance.ROOT", dcctl.folder)
    monkeypatch.setenv("DC__http__port", "abc")
    for name in ("run", "data", "logs"):
        monkeypatch.delenv(f"DC__paths__{name}")
    assert dcctl("status") == EXIT_NOT_RUNNING
    assert dcctl("kill", "--yes", "--json") == 0
    assert read_latch(dcctl.folder / "data").level == KillLevel.FLATTEN
    assert dcctl("arm", "--yes") == 0


# ---- the kill switch


def test_kill_without_an_instance_latches_and_arm_releases(dcctl):
    data = dcctl.folder / "data"
    assert dcctl("kill", "--yes", "--json") == 0
    told = json.loads(dcctl.out)
    assert (told["level"], told["running"], told["acknowledged"]) == ("flatten", False, False)
    assert read_latch(data).level == KillLevel.FLATTEN
    assert dcctl("kill", "--level", "pause", "--yes") == 0
    assert read_latch(data).level == KillLevel.FLATTEN, "down is only by arming"
    assert "latched at flatten" in dcctl.out
    assert dcctl("arm", "--yes", "--json") == 0
    assert json.loads(dcctl.out) == {"level_before": "flatten", "level": "none"}
    assert read_latch(data).level == KillLevel.NONE
    assert dcctl("arm", "--yes") == 0
    assert "was not pulled" in dcctl.out


def test_it_is_latched_before_anybody_is_asked(dcctl, monkeypatch):
    """A supervisor that hangs must not keep the latch from the disk."""
    seen = []

    def hangs(*_: object, **__: object) -> None:
        seen.append(read_latch(dcctl.folder / "data").level)
        raise OperatorError("supervisor did not answer")

    monkeypatch.setattr(switch, "request", hangs)
    assert dcctl("kill", "--level", "cancel", "--yes") == 0
    assert seen == [KillLevel.CANCEL]


def test_an_unknown_level_names_those_there_are_and_pulls_nothing(dcctl):
    for level in ("gently", "", "none", "FLATTEN "):
        assert dcctl("kill", "--level", level, "--yes") == EXIT_USAGE
        assert "pause, cancel, flatten, shutdown" in dcctl.err
    assert read_latch(dcctl.folder / "data").level == KillLevel.NONE


@pytest.mark.parametrize("answer", ["n\n", ""])
def test_without_yes_it_asks_and_no_is_no(dcctl, monkeypatch, answer):
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    assert dcctl("kill") == EXIT_FAILED
    assert read_latch(dcctl.folder / "data").level == KillLevel.NONE
    dcctl("kill", "--yes")
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    assert dcctl("arm") == EXIT_FAILED
    assert read_latch(dcctl.folder / "data").level == KillLevel.FLATTEN


def test_a_drill_latches_nothing_and_says_how_long_it_took(dcctl):
    (dcctl.folder / "data" / "state").mkdir(parents=True)
    assert dcctl("kill", "--drill", "--json") == 0
    told = json.loads(dcctl.out)
    assert told["latch_ms"] > 0
    assert "not" in told["execution"]["error"]
    assert dcctl("kill", "--drill") == 0
    assert "nothing was latched, cancelled or sent" in dcctl.out
    assert "no account is at a venue" in dcctl.out
    assert read_latch(dcctl.folder / "data").level == KillLevel.NONE
    assert list((dcctl.folder / "data" / "state").iterdir()) == []


REAL = '{real: {broker: kraken, key: "${K}", secret: "${S}"}}'


@pytest.fixture
def kept(dcctl, monkeypatch):
    """Settings that were in force once."""

    def keep(**changes):
        settings = load("demo", environment={f"DC__{k}": v for k, v in changes.items()})
        resolved = Resolved(generation=1, folders={}, settings=settings)
        SessionFolder(dcctl.folder / "data", 1).keep(resolved, Tables())
        return dcctl.folder / "data"

    return keep


@pytest.mark.parametrize(
    ("answer", "is_person", "live", "armed"),
    [
        ("trade with real money", True, "true", True),
        ("yes", True, "true", False),
        ("trade with real money", False, "true", False),
        ("trade with real money", True, "false", False),
    ],
)
def test_live_is_armed_by_a_person_who_types_it(
    dcctl, kept, monkeypatch, answer, is_person, live, armed
):
    data = kept(execution__accounts=REAL, execution__live=live)
    typed = io.StringIO(f"{answer}\n")
    monkeypatch.setattr(typed, "isatty", lambda: is_person, raising=False)
    monkeypatch.setattr("sys.stdin", typed)
    assert (dcctl("arm", "--live") == 0) is armed
    assert may_trade(data, latest_settings(data), "real") is armed
    if armed:
        assert "restart execution" in dcctl.out
        assert dcctl("arm", "--paper") == 0
        assert not may_trade(data, latest_settings(data), "real")


def test_yes_does_not_arm_live(dcctl, kept, monkeypatch):
    kept(execution__accounts=REAL, execution__live="true")
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert dcctl("arm", "--live", "--yes") == EXIT_FAILED
    assert "person" in dcctl.err


# ---- replay, backtest


@pytest.mark.parametrize("command", [("replay",), ("backtest", "--session")])
@pytest.mark.parametrize("word", ["nope", "-", "1.5", "٣", "9" * 5000])
def test_a_session_is_last_or_a_number(dcctl, command, word):
    assert dcctl(*command, word) == EXIT_USAGE
    assert "say last, or a number" in dcctl.err
    assert dcctl(*command, "17") == EXIT_FAILED
    assert "dcctl start" in dcctl.err


# ---- logs, doctor, version


def test_logs_of_what_there_is(dcctl):
    folder = dcctl.folder / "logs"
    assert dcctl("logs") == EXIT_FAILED
    assert "none yet" in dcctl.err
    line = '{"time":"2026-01-0%dT00:00:00.000Z","level":"%s","process":"%s","event":"%s"}\n'
    (folder / "a.jsonl").write_text(
        line % (1, "info", "a", "first")
        + "garbage\n[1]\n5\n{}\n"
        + line % (3, "error", "a", "third")
    )
    (folder / "b.jsonl").write_text(line % (2, "debug", "b", "second") + '{"time":5,"event":"x"}\n')
    assert dcctl("logs", "--json", "--level", "debug") == 0
    assert [json.loads(text)["event"] for text in dcctl.out.splitlines()] == [
        "first", "second", "third",
    ]  # fmt: skip
    assert dcctl("logs", "-n", "1") == 0
    assert "third" in dcctl.out
    assert "first" not in dcctl.out
    for name in ("nobody", "../logs/a", "/etc/passwd", "*", "[", ""):
        code = dcctl("logs", name)
        assert code == (EXIT_FAILED if name else 0), name


def test_version_names_what_it_stands_on(dcctl):
    assert dcctl("version", "--json") == 0
    found = json.loads(dcctl.out)
    assert re.fullmatch(r"\d+\.\d+\.\d+", found["data-controller"])
    assert dcctl("version") == 0
    assert "data-controller" in dcctl.out
