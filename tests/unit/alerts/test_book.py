"""The book: when something is an alert, and what each channel is told of it and when."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processes.alerts.book import (
    ALERTS_MAX,
    OVER_MAX,
    Book,
    Finding,
    Item,
    Kind,
    Memory,
    is_quiet,
)  # fmt: skip
from processes.alerts.messages import body_of, title_of, type_of
from schemas.alert_rules import BY_NAME
from schemas.alerts import AlertSettings, ChannelSettings

S = 10**9
MIDNIGHT = 1_800_057_600 * S
URL = "json://127.0.0.1"
KILLED = Finding("kill_switch", "level flatten")  # critical, lasts, at once
FAILED = Finding("process_failed", "gone", "features")
LEDGER = Finding("storage_behind", "step 1")  # warning, for 30 s
BROKEN = Finding("book_faults", "12 checksums", "collector.kraken")  # warning, passing


def channel(**more) -> ChannelSettings:
    return ChannelSettings(url=URL, **more)


class Desk:
    """A book, the time, and channels that take everything at once."""

    def __init__(self, memory=None, now_ns=MIDNIGHT, **more):
        self.settings = AlertSettings(**{"channels": {"phone": channel()}, **more})
        self.now_ns = now_ns
        self.book = Book(self.settings, memory or Memory(), now_ns)

    def go(self, seconds, *findings):
        """Time passes, and this is found; what each channel is told then."""
        self.now_ns += int(seconds * S)
        self.book.observe(findings, self.now_ns)
        return self.tell()

    def tell(self):
        told = []
        for name in self.settings.channels:
            while items := self.book.next_message(name, self.now_ns):
                told.append((name, [(one.kind.value, one.alert.name) for one in items]))
                self.book.taken(name, items, self.now_ns)
        return told


def one(kind, name, to="phone"):
    return [(to, [(kind, name)])]


def test_an_alert_is_told_once_while_it_lasts_and_once_when_it_is_over():
    desk = Desk(again_s=0)
    assert desk.go(0, KILLED) == one("begin", "kill_switch")
    for _ in range(50):
        assert desk.go(60, KILLED) == []
    assert desk.go(29) == []
    assert desk.go(1) == one("end", "kill_switch")
    assert desk.go(1) == []
    assert desk.go(1, KILLED) == one("begin", "kill_switch")


def test_what_flaps_is_one_alert():
    desk = Desk()
    desk.go(0, KILLED)
    for _ in range(20):
        assert desk.go(10) == []
        assert desk.go(10, KILLED) == []


def test_what_must_hold_for_a_while_is_no_alert_before_that():
    desk = Desk()
    assert desk.go(0, LEDGER) == []
    assert desk.go(29, LEDGER) == []
    assert desk.go(0.5) == []
    assert desk.go(1, LEDGER) == []
    assert desk.go(30, LEDGER) == one("begin", "storage_behind")


def test_of_what_happened_no_end_is_told():
    desk = Desk()
    assert desk.go(0, BROKEN) == one("begin", "book_faults.collector.kraken")
    assert desk.go(3600) == []
    assert desk.book.memory.over == []


def test_what_is_critical_is_repeated_until_it_is_acknowledged():
    desk = Desk(again_s=600)
    desk.go(0, KILLED)
    assert desk.go(599, KILLED) == []
    assert desk.go(1, KILLED) == one("again", "kill_switch")
    assert desk.book.ack("kill_switch", desk.now_ns)
    assert desk.go(6000, KILLED) == []
    assert not desk.book.ack("disk_low", desk.now_ns)


def test_without_an_acknowledgement_further_channels_are_told():
    channels = {"phone": channel(), "boss": channel(escalation=True, severity="info")}
    desk = Desk(channels=channels, escalate_s=300, again_s=0)
    assert desk.go(0, KILLED, BROKEN)[0][0] == "phone"
    assert desk.go(299, KILLED, BROKEN) == []
    assert desk.go(1, KILLED, BROKEN) == one("begin", "kill_switch", "boss")
    assert desk.go(30, BROKEN) == [*one("end", "kill_switch"), *one("end", "kill_switch", "boss")]


def test_an_acknowledgement_in_time_keeps_them_out_of_it():
    channels = {"phone": channel(), "boss": channel(escalation=True)}
    desk = Desk(channels=channels, escalate_s=300)
    desk.go(0, KILLED)
    desk.go(299, KILLED)
    desk.book.ack("kill_switch", desk.now_ns)
    assert desk.go(600, KILLED) == []
    assert desk.go(60) == one("end", "kill_switch")


def test_a_channel_hears_what_is_bad_enough_for_it():
    channels = {"log": channel(severity="info"), "phone": channel(severity="critical")}
    desk = Desk(channels=channels, severities={"book_faults": "info"})
    assert {name for name, _ in desk.go(0, BROKEN)} == {"log"}
    assert {name for name, _ in desk.go(0, BROKEN, FAILED)} == {"log", "phone"}


def test_in_quiet_hours_only_what_is_critical_passes_and_the_rest_comes_after():
    desk = Desk(channels={"phone": channel(quiet="22:00-06:00")}, again_s=0)
    assert desk.go(0, BROKEN) == []
    assert desk.go(0, BROKEN, KILLED) == one("begin", "kill_switch")
    assert desk.go(60, BROKEN) == one("end", "kill_switch")
    assert desk.go(60) == []  # the fault came and went in the night
    disk = Finding("archive_refused", "")
    assert desk.go(60, disk) == []
    assert desk.go(6 * 3600 - 200, disk) == []
    morning = desk.go(20, disk)
    assert morning == [
        *one("missed", "book_faults.collector.kraken"),
        *one("begin", "archive_refused"),
    ]


@pytest.mark.parametrize(
    ("hours", "minute", "quiet"),
    [
        ("", 0, False), ("22:00-06:00", 0, True), ("22:00-06:00", 359, True),
        ("22:00-06:00", 360, False), ("22:00-06:00", 1319, False), ("22:00-06:00", 1320, True),
        ("12:00-13:00", 720, True), ("12:00-13:00", 780, False), ("05:00-05:00", 300, False),
    ],
)  # fmt: skip
def test_quiet_hours(hours, minute, quiet):
    assert is_quiet(hours, MIDNIGHT + minute * 60 * S) is quiet


def many(count):
    return [Finding("process_failed", "gone", f"p{number}") for number in range(count)]


def test_the_last_message_of_an_hour_tells_all_the_rest():
    desk = Desk(channels={"phone": channel(per_hour=3)}, again_s=0)
    told = desk.go(0, *many(4))
    assert [len(items) for _, items in told] == [1, 1, 2]
    assert desk.go(60, *many(9)) == []
    assert desk.book.held(desk.now_ns) == {"phone": 5}
    assert desk.go(3000, *many(2)) == []
    ((_, summary),) = desk.go(541, *many(2))
    assert sorted({kind for kind, _ in summary}) == ["end", "missed"]
    assert len(summary) == 7  # of two the end is told, five came and went


def test_a_storm_is_one_message_that_says_how_many():
    desk = Desk()
    desk.book.observe(many(60), desk.now_ns)
    items = desk.book.next_message("phone", desk.now_ns)
    assert len(items) == 60
    assert title_of("demo", items) == "[critical] demo: 60 alerts, process_failed.p0"
    assert "and 40 more: dcctl alert list" in body_of(items)
    assert type_of(items) == "failure"


def test_a_channel_that_refuses_is_asked_less_and_less_and_owed_everything():
    desk = Desk(backoff_first_s=10, backoff_longest_s=60, again_s=0)
    desk.book.observe([KILLED], desk.now_ns)
    tries = []
    for second in range(300):
        now_ns = desk.now_ns + second * S
        if items := desk.book.next_message("phone", now_ns):
            assert [item.alert.name for item in items] == ["kill_switch"]
            desk.book.refused("phone", "error 500", now_ns)
            tries.append(second)
    assert tries == [0, 10, 30, 70, 130, 190, 250]
    assert desk.book.memory.channels["phone"].reason == "error 500"
    assert desk.go(400, KILLED) == one("begin", "kill_switch")
    assert desk.book.memory.channels["phone"].failures == 0


def test_what_ends_while_it_is_being_told_is_told_to_be_over():
    desk = Desk()
    desk.book.observe([KILLED], desk.now_ns)
    items = desk.book.next_message("phone", desk.now_ns)
    desk.book.observe([], desk.now_ns + 60 * S)
    desk.book.taken("phone", items, desk.now_ns + 61 * S)
    desk.now_ns += 61 * S
    assert desk.tell() == one("end", "kill_switch")


def test_what_was_told_is_not_told_again_after_a_restart():
    desk = Desk(again_s=0)
    desk.go(0, KILLED, FAILED)
    desk.book.ack("kill_switch", desk.now_ns)
    kept = msgspec.json.decode(msgspec.json.encode(desk.book.memory), type=Memory)
    again = Desk(kept, desk.now_ns + 3600 * S, again_s=0)
    assert again.go(1, KILLED) == []
    assert again.book.memory.alerts["kill_switch"].ack_ns
    assert again.go(30, KILLED) == one("end", "process_failed.features")


def test_a_channel_that_is_gone_from_the_settings_is_owed_nothing():
    desk = Desk(channels={"a": channel(per_hour=1), "b": channel()})
    desk.go(0, KILLED)
    desk.go(60)
    assert desk.book.memory.over
    assert Desk(desk.book.memory, desk.now_ns, channels={"b": channel()}).book.memory.over == []


def test_everything_has_a_bound():
    desk = Desk(channels={"phone": channel(per_hour=1)}, again_s=0)
    desk.go(0, *many(1))
    desk.go(1, *many(ALERTS_MAX + 50))
    assert len(desk.book.memory.alerts) == ALERTS_MAX
    assert desk.book.dropped == 50
    desk.go(60)
    desk.go(1, *[Finding("process_failed", "", f"q{n}") for n in range(ALERTS_MAX)])
    desk.go(60)
    assert len(desk.book.memory.over) == OVER_MAX


def test_a_muted_rule_is_no_alert():
    assert Desk(mute=("kill_switch",)).go(0, KILLED) == []


def test_a_message_says_what_is_wrong_since_when_and_what_to_type():
    desk = Desk()
    (item,) = desk.book.observe([FAILED], desk.now_ns)
    assert title_of("demo", [item]) == "[critical] demo: process_failed.features"
    assert body_of([item]).splitlines() == [
        "a process was given up: too many restarts: gone",
        "since 2027-01-16T00:00Z",
        "To do: dcctl logs features; mend the cause, then dcctl restart features",
        "dcctl alert ack process_failed.features ends its repeating",
    ]
    item.alert.end_ns = desk.now_ns + 90 * S
    over = [Item(Kind.END, item.alert)]
    assert title_of("demo", over) == "[critical] demo: over: process_failed.features"
    assert body_of(over).splitlines()[1] == "from 2027-01-16T00:00Z to 2027-01-16T00:01Z"
    assert type_of(over) == "success"


NAMES = ["kill_switch", "process_failed", "storage_behind", "book_faults", "drift"]
STEPS = st.lists(
    st.tuples(
        st.integers(1, 1500),
        st.sets(st.sampled_from(NAMES)),
        st.sampled_from(["none", "none", "ack", "restart", "refuse"]),
    ),
    min_size=1,
    max_size=60,
)


@settings(max_examples=120, deadline=None)
@given(
    steps=STEPS,
    per_hour=st.integers(1, 4),
    quiet=st.sampled_from(["", "22:00-06:00", "00:30-02:00"]),
    severity=st.sampled_from(["info", "warning", "critical"]),
    escalation=st.booleans(),
)
def test_whatever_happens_the_rules_of_telling_hold(steps, per_hour, quiet, severity, escalation):
    channels = {
        "first": channel(quiet=quiet, per_hour=per_hour, severity=severity),
        "further": channel(escalation=escalation, per_hour=100),
    }
    desk = Desk(channels=channels, escalate_s=900, again_s=1200)
    sent = {name: [] for name in channels}
    lasting_told = {name: {} for name in channels}
    for seconds, names, act in steps:
        desk.now_ns += seconds * S
        desk.book.observe([Finding(name, "x") for name in names], desk.now_ns)
        if act == "ack":
            for name in list(desk.book.memory.alerts):
                desk.book.ack(name, desk.now_ns)
        if act == "restart":
            kept = msgspec.json.decode(msgspec.json.encode(desk.book.memory), type=Memory)
            desk.book = Book(desk.settings, kept, desk.now_ns)
        for name, one_channel in channels.items():
            while items := desk.book.next_message(name, desk.now_ns):
                if act == "refuse":
                    desk.book.refused(name, "no", desk.now_ns)
                    break
                _check(desk, name, one_channel, items, lasting_told[name])
                desk.book.taken(name, items, desk.now_ns)
                sent[name].append(desk.now_ns)
            in_hour = [at for at in sent[name] if desk.now_ns - at < 3600 * S]
            assert len(in_hour) <= one_channel.per_hour
    # In the end, with nothing wrong and time enough, nobody is owed anything.
    for _ in range(60):
        desk.go(1800)
    assert desk.book.memory.alerts == {}
    assert desk.book.memory.over == []


def _check(desk, name, one_channel, items, told):
    """A message that is about to be taken, against what was told before."""
    for item in items:
        alert, key = item.alert, (item.alert.name, item.alert.begin_ns)
        critical = alert.severity == "critical"
        assert critical or not is_quiet(one_channel.quiet, desk.now_ns)
        assert ["info", "warning", "critical"].index(alert.severity) >= [
            "info", "warning", "critical",
        ].index(one_channel.severity)  # fmt: skip
        if one_channel.escalation:
            assert critical
            assert desk.now_ns - alert.begin_ns >= 900 * S
        match item.kind:
            case Kind.BEGIN:
                assert key not in told
                assert not alert.end_ns
                told[key] = desk.now_ns
            case Kind.AGAIN:
                assert critical
                assert not alert.ack_ns
                assert desk.now_ns - told[key] >= 1200 * S
                told[key] = desk.now_ns
            case Kind.END:
                assert alert.end_ns
                assert not BY_NAME[alert.rule].passing
                assert told.pop(key)
            case Kind.MISSED:
                assert alert.end_ns
                assert key not in told
