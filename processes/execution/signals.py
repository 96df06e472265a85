"""Signals of strategies elsewhere, as the bridge brings them: journaled, decided, answered for.

A signal reaches the machine at most once. Its id and the stream entry that brought it are in the
journal before anything is decided, and are read back from there after a restart: an entry that
comes again, because the answer or the bridge was lost, is answered for and not decided again. A
crash between journal and decision therefore costs the signal, never an order too many.
"""

from collections.abc import Callable
from typing import Any, Final

import msgspec
import numpy as np

from processes.execution.effects import Effect
from processes.execution.journal import InputJournal
from processes.execution.machine import Machine
from processes.execution.policy import Prediction
from schemas import decisions
from schemas.decisions import SlotKind
from schemas.errors import OperatorError
from schemas.predictions import spoken
from schemas.trading import ExternalSignal
from shm.ring import RingWriter

LOOK_BACK: Final = 4096
"""Slots in which the last prediction of an instrument is looked for: beyond them it is stale."""
_decode: Final = msgspec.msgpack.Decoder(ExternalSignal).decode


class SignalDesk:
    """Between the bus and the machine.

    Args:
        do: carries effects out.
    """

    def __init__(
        self,
        ring: RingWriter,
        journal: InputJournal,
        machine: Machine,
        now_ns: Callable[[], int],
        do: Callable[[list[Effect]], None],
    ) -> None:
        self.enabled = False
        self._ring = ring
        self._journal = journal
        self._machine = machine
        self._now_ns = now_ns
        self._do = do

    def restore(self) -> None:
        """Remember what an earlier life journaled."""
        recent = self._ring.recent(self._ring.capacity)
        for slot in recent[recent["kind"] == SlotKind.INPUT_SIGNAL]:
            message = slot["message"].tobytes()[: int(slot["message_length"])]
            self._machine.remember_signal(_decode(message))

    def take(self, arguments: dict[str, Any]) -> int:
        """The command `signals`: decide about each; how many were new.

        Raises:
            OperatorError: outside signals are not wanted. ValueError: these are none.
        """
        if not self.enabled:
            raise OperatorError("bridge.signals.enabled is false")
        signals = msgspec.convert(arguments["signals"], list[ExternalSignal])
        known, taken = self._machine.signals, 0
        for signal in signals:
            if known.get(signal.id) == signal.entry:
                continue  # it was journaled, and only the answer was lost
            taken += 1
            self._decide(signal)
        return taken

    def _decide(self, signal: ExternalSignal) -> None:
        now_ns = self._now_ns()
        market = last_market(self._ring.recent(LOOK_BACK), signal.instrument)
        sequence = self._journal.signal(signal, market, now_ns)
        decision, effects = self._machine.on_signal(signal, market, now_ns, sequence)
        self._journal.decide(decision, now_ns, sequence)
        self._journal.commit(1)
        self._do(effects)


def last_market(slots: np.ndarray, instrument: int) -> Prediction | None:
    """The last prediction about an instrument in these slots of the decisions ring."""
    mine = np.flatnonzero(
        (slots["kind"] == SlotKind.INPUT_PREDICTION) & (slots["instrument"] == instrument)
    )
    if not len(mine):
        return None
    slot = slots.view(decisions.INPUT_PREDICTION)[mine[-1]]
    return Prediction(
        instrument=instrument,
        rung=int(slot["rung"]),
        invalid=int(slot["invalid"]),
        cut=int(slot["cut"]),
        cut_ns=int(slot["time_ns"]),
        feature_sequence=int(slot["feature_sequence"]),
        prediction_sequence=int(slot["prediction_sequence"]),
        newest_recv_ns=int(slot["newest_recv_ns"]),
        reference_price=float(slot["reference_price"]),
        spread_bps=float(slot["spread_bps"]),
        volatility_bps=float(slot["volatility_bps"]),
        book_age_s=float(slot["book_age_s"]),
        outputs=spoken(slot),
        regime=float(slot["regime"]),
    )
