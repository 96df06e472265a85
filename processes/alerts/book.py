"""Which alerts there are, and what each channel is to be told of them now: a pure state machine.

It is given the time and reads nothing, so that every case can be tried. What is to be told is never
queued: it follows from the alerts and from what each channel has been told already, so a channel
that is away for a week is owed what lasts, and one line for each that came and went. A message
counts as told once the channel has taken it; if the process dies in between, it is told twice
rather than not at all.

Bounds: ALERTS_MAX alerts that last, OVER_MAX that are over and still to be told; `dropped` counts.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final

from msgspec import Struct

from schemas.alert_rules import BY_NAME, SEVERITIES, Severity
from schemas.alerts import AlertSettings, ChannelSettings

ALERTS_MAX: Final = 200
OVER_MAX: Final = 200
SINGLES_MAX: Final = 4
"""More than this due at once come as one message."""
HOUR_NS: Final = 3600 * 10**9
SECOND_NS: Final = 10**9
RANKS: Final = {severity: rank for rank, severity in enumerate(SEVERITIES)}


class Finding(Struct, frozen=True):
    """A rule holds now, of one subject."""

    rule: str
    text: str
    subject: str = ""

    @property
    def name(self) -> str:
        """The alert's stable name."""
        return f"{self.rule}.{self.subject}" if self.subject else self.rule


class Kind(StrEnum):
    """Why something is told."""

    BEGIN = "begin"
    AGAIN = "again"
    END = "end"
    MISSED = "missed"
    """It came and went before it could be told."""


class Alert(Struct, kw_only=True):
    """One alert, from its begin to the last word about it."""

    name: str
    rule: str
    subject: str
    severity: Severity
    text: str
    begin_ns: int
    seen_ns: int
    """When its rule held last."""
    end_ns: int = 0
    ack_ns: int = 0
    told: dict[str, int] = {}
    """When each channel was told last that it lasts."""
    owes: list[str] = []
    """Of one that is over: channels that are still to be told so."""


class Item(Struct, frozen=True):
    """One line of a message."""

    kind: Kind
    alert: Alert


class Delivered(Struct, kw_only=True):
    """How a channel has taken messages so far."""

    sent_ns: list[int] = []
    """Those of the last hour."""
    failures: int = 0
    """Since it last took one."""
    retry_ns: int = 0
    reason: str = ""


class Memory(Struct, kw_only=True):
    """All of the state; it is kept over restarts."""

    alerts: dict[str, Alert] = {}
    over: list[Alert] = []
    channels: dict[str, Delivered] = {}


def rank(severity: Severity) -> int:
    """0 for the least."""
    return RANKS[severity]


def is_quiet(hours: str, now_ns: int) -> bool:
    """Whether a time of day is within hours like 22:00-07:00; their end is not."""
    if not hours:
        return False
    minute = now_ns // (60 * SECOND_NS) % 1440
    begin, end = (int(part[:2]) * 60 + int(part[3:]) for part in hours.split("-"))
    return begin <= minute < end if begin <= end else minute >= begin or minute < end


class Book:
    """The alerts of an instance.

    Args:
        memory: what an earlier life has kept.
    """

    def __init__(self, settings: AlertSettings, memory: Memory, now_ns: int) -> None:
        self.memory = memory
        self.dropped = 0
        self._settings = settings
        self._first_ns: dict[str, int] = {}
        for alert in memory.alerts.values():
            alert.seen_ns = now_ns  # nobody has looked meanwhile
        channels = settings.channels
        memory.channels = {name: memory.channels.get(name, Delivered()) for name in channels}
        for alert in memory.over:
            alert.owes = [name for name in alert.owes if name in channels]
        self._forget()

    # ---- what is there

    def observe(self, findings: Iterable[Finding], now_ns: int) -> list[Item]:
        """Take what all rules have found now; the alerts that begin and end by it."""
        found = {one.name: one for one in findings if one.rule not in self._settings.mute}
        begun = [self._begin(one, now_ns) for one in found.values() if self._begins(one, now_ns)]
        self._first_ns = {name: at for name, at in self._first_ns.items() if name in found}
        for name in found.keys() & self.memory.alerts.keys():
            alert = self.memory.alerts[name]
            alert.seen_ns, alert.text = now_ns, found[name].text
        ended = [a for n, a in self.memory.alerts.items() if n not in found and _is_over(a, now_ns)]
        for alert in ended:
            self._end(alert, now_ns)
        self._forget()
        return [Item(Kind.BEGIN, one) for one in begun] + [Item(Kind.END, one) for one in ended]

    def _begins(self, one: Finding, now_ns: int) -> bool:
        if one.name in self.memory.alerts:
            return False
        first_ns = self._first_ns.setdefault(one.name, now_ns)
        if now_ns - first_ns < BY_NAME[one.rule].for_s * SECOND_NS:
            return False
        if len(self.memory.alerts) >= ALERTS_MAX:
            self.dropped += 1
            return False
        return True

    def _begin(self, one: Finding, now_ns: int) -> Alert:
        severity = self._settings.severities.get(one.rule, BY_NAME[one.rule].severity)
        alert = Alert(
            name=one.name, rule=one.rule, subject=one.subject, severity=severity, text=one.text,
            begin_ns=now_ns, seen_ns=now_ns,
        )  # fmt: skip
        self.memory.alerts[one.name] = alert
        return alert

    def _end(self, alert: Alert, now_ns: int) -> None:
        del self.memory.alerts[alert.name]
        alert.end_ns = now_ns
        alert.owes = [
            name
            for name, channel in self._settings.channels.items()
            if self._concerns(channel, alert, now_ns)
            and not (name in alert.told and _is_silent(channel, alert))
        ]
        if len(self.memory.over) >= OVER_MAX:
            self.memory.over.pop(0)
            self.dropped += 1
        self.memory.over.append(alert)

    def _forget(self) -> None:
        self.memory.over = [alert for alert in self.memory.over if alert.owes]

    def ack(self, name: str, now_ns: int) -> bool:
        """Somebody has seen it: it is not repeated or escalated. False = no such alert lasts."""
        alert = self.memory.alerts.get(name)
        if alert is None:
            return False
        alert.ack_ns = alert.ack_ns or now_ns
        return True

    # ---- what is to be told

    def _concerns(self, channel: ChannelSettings, alert: Alert, now_ns: int) -> bool:
        """Whether a channel is one for this alert by now, whatever the hour."""
        if rank(alert.severity) < rank(channel.severity):
            return False
        if not channel.escalation:
            return True
        waited_ns = (alert.ack_ns or now_ns) - alert.begin_ns
        return alert.severity == "critical" and waited_ns >= self._settings.escalate_s * SECOND_NS

    def due(self, name: str, now_ns: int) -> list[Item]:
        """What a channel is owed and may be told at this hour, the worst first."""
        channel = self._settings.channels[name]
        items = [Item(_last_word(name, one), one) for one in self.memory.over if name in one.owes]
        for alert in self.memory.alerts.values():
            kind = self._word(name, channel, alert, now_ns)
            if kind is not None:
                items.append(Item(kind, alert))
        if is_quiet(channel.quiet, now_ns):
            items = [one for one in items if one.alert.severity == "critical"]
        return sorted(items, key=lambda one: (-rank(one.alert.severity), one.alert.begin_ns))

    def _word(self, name: str, channel: ChannelSettings, alert: Alert, now_ns: int) -> Kind | None:
        if name not in alert.told:
            return Kind.BEGIN if self._concerns(channel, alert, now_ns) else None
        again_ns = self._settings.again_s * SECOND_NS
        if alert.severity != "critical" or alert.ack_ns or not again_ns:
            return None
        return Kind.AGAIN if now_ns - alert.told[name] >= again_ns else None

    def next_message(self, name: str, now_ns: int) -> list[Item]:
        """What is to be sent to a channel now, as one message; empty = nothing, or it must wait."""
        delivered = self.memory.channels[name]
        if now_ns < delivered.retry_ns:
            return []
        delivered.sent_ns = [at for at in delivered.sent_ns if now_ns - at < HOUR_NS]
        room = self._settings.channels[name].per_hour - len(delivered.sent_ns)
        items = self.due(name, now_ns) if room > 0 else []
        # The last one of an hour, and one after a silence, tells all that is due.
        return items if room == 1 or len(items) > SINGLES_MAX else items[:1]

    def taken(self, name: str, items: Iterable[Item], now_ns: int) -> None:
        """A channel has taken a message."""
        for item in items:
            alert = item.alert
            if item.kind in {Kind.BEGIN, Kind.AGAIN}:
                alert.told[name] = now_ns
                if alert.end_ns and _is_silent(self._settings.channels[name], alert):
                    alert.owes = [one for one in alert.owes if one != name]
            else:
                alert.owes = [one for one in alert.owes if one != name]
        delivered = self.memory.channels[name]
        delivered.sent_ns.append(now_ns)
        delivered.failures, delivered.retry_ns, delivered.reason = 0, 0, ""
        self._forget()

    def refused(self, name: str, reason: str, now_ns: int) -> None:
        """A channel has not taken a message; it is asked again later and later."""
        delivered, settings = self.memory.channels[name], self._settings
        wait_s = settings.backoff_first_s * 2 ** min(delivered.failures, 30)
        delivered.failures += 1
        delivered.retry_ns = now_ns + int(min(wait_s, settings.backoff_longest_s) * SECOND_NS)
        delivered.reason = reason

    def held(self, now_ns: int) -> Mapping[str, int]:
        """By channel, what it is owed and has not been told."""
        return {name: len(self.due(name, now_ns)) for name in self.memory.channels}


def _is_over(alert: Alert, now_ns: int) -> bool:
    return now_ns - alert.seen_ns >= BY_NAME[alert.rule].clear_s * SECOND_NS


def _is_silent(channel: ChannelSettings, alert: Alert) -> bool:
    """Whether a channel that knows of an alert is not told of its end."""
    return not channel.ends or BY_NAME[alert.rule].passing


def _last_word(name: str, alert: Alert) -> Kind:
    return Kind.END if name in alert.told else Kind.MISSED
