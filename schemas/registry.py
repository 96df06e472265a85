"""The registry: what a running instance has made, written before it is made.

`run/registry.json` lets children and taps find segments by name (macOS cannot list shared memory),
and lets the next start take over or remove what a killed supervisor left.
"""

from typing import Literal

from msgspec import Struct

SegmentKind = Literal["control", "counters", "ring", "readers"]


class SegmentEntry(Struct, frozen=True, kw_only=True):
    """One segment. `ring` names the ring that a ring or its readers' page belongs to."""

    name: str
    kind: SegmentKind
    size: int
    ring: str = ""
    layout: int = 0
    slot_bytes: int = 0
    capacity: int = 0


class ChildEntry(Struct, frozen=True, kw_only=True):
    """One child and the row it has in the control block and the counters."""

    name: str
    row: int


class Registry(Struct, frozen=True, kw_only=True):
    """All that an instance owns."""

    instance: str
    session: int
    """Number of the rings' generation; it names the recording that is being made."""
    supervisor: int
    """Identity of the supervisor that owns it."""
    clock_offset_ns: int
    segments: list[SegmentEntry]
    children: list[ChildEntry]

    def ring_names(self) -> list[str]:
        """Names of all rings."""
        return [entry.ring for entry in self.segments if entry.kind == "ring"]

    def find(self, kind: SegmentKind, ring: str = "") -> SegmentEntry | None:
        """The segment of a kind, and of a ring where there are several."""
        for entry in self.segments:
            if entry.kind == kind and entry.ring == ring:
                return entry
        return None
