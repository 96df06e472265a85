"""Messages on the bus: facts that anyone may watch, commands with replies, and what status says.

Facts are published as two frames: topic `fact.<tag>` and a MessagePack body. A command is one
request on the receiver's control socket and gets exactly one `Reply` with the same id. Bulk data
never travels here: it stays in shared memory.
"""

from typing import Any

import msgspec
from msgspec import Struct


class ProcessChanged(Struct, frozen=True, tag="process"):
    """A child went from one state to another."""

    process: str
    state: str
    time_ns: int
    text: str = ""


class RungChanged(Struct, frozen=True, tag="rung"):
    """The model chain fell or rose."""

    rung: int
    time_ns: int
    text: str


class KillChanged(Struct, frozen=True, tag="kill"):
    """The kill switch moved."""

    level: int
    by: str
    time_ns: int


class StepChanged(Struct, frozen=True, tag="step"):
    """Trading fell, or climbed back: `full`, `positions_only`, `flat`."""

    step: str
    text: str
    time_ns: int


class TriggerFired(Struct, frozen=True, tag="trigger"):
    """Risk has found a reason to pull the kill switch; level 0 = only to tell."""

    code: str
    level: int
    text: str
    time_ns: int


class AccountAlarmed(Struct, frozen=True, tag="alarm"):
    """Something about an account that a person must look at; `schemas/trading.py` AccountAlarm."""

    account: str
    code: str
    text: str
    time_ns: int


class OrderChanged(Struct, frozen=True, tag="order"):
    """An order went from one state to another."""

    command_id: str
    instrument: int
    state: str
    time_ns: int
    filled: str = "0"
    text: str = ""


class PositionChanged(Struct, frozen=True, tag="position"):
    """A position or its profit changed. Amounts are decimal text."""

    instrument: int
    quantity: str
    average_price: str
    realized: str
    time_ns: int
    other_fees: dict[str, str] = {}
    """Paid in assets that are neither its base nor its quote: in no profit."""


class FeedChanged(Struct, frozen=True, tag="feed"):
    """A venue's connection or subscription changed."""

    venue: str
    what: str
    time_ns: int
    text: str = ""


class ConfigChanged(Struct, frozen=True, tag="config"):
    """A new configuration is in force."""

    generation: int
    time_ns: int
    keys: list[str]


class StorageStepChanged(Struct, frozen=True, tag="storage"):
    """Storage keeps less or more of a tape's books than before."""

    ring: str
    step: str
    """`full`, `sampled` or `tops`."""
    time_ns: int
    text: str = ""


Fact = (
    ProcessChanged
    | RungChanged
    | KillChanged
    | TriggerFired
    | AccountAlarmed
    | StepChanged
    | OrderChanged
    | PositionChanged
    | FeedChanged
    | ConfigChanged
    | StorageStepChanged
)


class Command(Struct, frozen=True):
    """A request to one process."""

    id: int
    name: str
    arguments: dict[str, Any] = {}


class Reply(Struct, frozen=True):
    """The answer to the command of the same id."""

    id: int
    ok: bool
    result: Any = None
    error: str = ""


class KillSwitchStatus(Struct, kw_only=True):
    """The kill switch as `dcctl status` shows it."""

    level: str
    latched_by: str = ""
    since: str = ""


class ProcessStatus(Struct, kw_only=True):
    """One child."""

    name: str
    pid: int
    state: str
    restarts: int
    uptime_s: float
    rss_bytes: int
    heartbeat_age_ms: float
    detail: str = ""


class ReaderStatus(Struct, kw_only=True):
    """One reader of a ring."""

    name: str
    position: int
    lag: int
    lost: int


class RingStatus(Struct, kw_only=True):
    """One ring."""

    name: str
    committed: int
    rate_per_s: float
    readers: list[ReaderStatus]


class LatencyStatus(Struct, kw_only=True):
    """A latency histogram in brief, in microseconds."""

    p50: float
    p99: float
    count: int


class Status(Struct, kw_only=True):
    """The whole of `dcctl status --json`."""

    state: str
    profile: str
    mode: str
    rung: str
    kill_switch: KillSwitchStatus
    processes: list[ProcessStatus]
    rings: list[RingStatus]
    latency_us: dict[str, LatencyStatus]
    endpoints: dict[str, str]


_encoder = msgspec.msgpack.Encoder()
_fact_decoder = msgspec.msgpack.Decoder(Fact)
_command_decoder = msgspec.msgpack.Decoder(Command)
_reply_decoder = msgspec.msgpack.Decoder(Reply)

encode = _encoder.encode
decode_fact = _fact_decoder.decode
decode_command = _command_decoder.decode
decode_reply = _reply_decoder.decode


def topic(fact: Fact) -> bytes:
    """The first frame of a published fact."""
    return b"fact." + str(fact.__struct_config__.tag).encode()
