"""Most predictions come to nothing: those are decided by a kernel, a drain at a time.

Of an instrument of which nothing is held, a prediction that the policy holds on changes nothing but
the instrument's mark, and depends on nothing that another prediction of its drain may change. Its
decision is written here, by the same rules and the same writer as any other. All the rest, each
prediction that may become an order and each one about a position, goes to the machine one by one,
in order.
"""

from math import inf
from typing import Final

import numpy as np
from numba import carray, njit

from processes.execution.effects import Effect
from processes.execution.journal import DRAIN, FLOATS, InputJournal, write_decision
from processes.execution.machine import Machine
from processes.execution.policy import INSTRUMENTS, RULES, learn_spread, weigh
from schemas.trading import Action
from shm.atomics import memory

_HOLD: Final = int(Action.HOLD)


@njit(cache=True, nogil=True)
def screen(
    drain: int, rules_address: int, held: int, count: int, first: int, time_ns: int,
    realized: float, open_address: int,
) -> int:  # fmt: skip
    """Write the decisions about predictions that come to nothing; how many others there are.

    Args:
        drain: the journal's table of a drain. held: address of (INSTRUMENTS) uint8, 1 where a
            position is. first: the first prediction's sequence as an input. realized: of the day.
        open_address: takes the places of the others.
    """
    t = carray(memory(drain), (4,), np.int64)
    whole = carray(memory(t[1]), (DRAIN, 8), np.int64)
    broken = carray(memory(t[2]), (DRAIN, FLOATS), np.float64)
    has = carray(memory(held), (INSTRUMENTS,), np.uint8)
    places = carray(memory(open_address), (DRAIN,), np.int64)
    rules = carray(memory(rules_address), (1,), RULES)[0]
    outputs = 4 + 5 * rules.model
    others = 0
    for index in range(count):
        if has[whole[index, 0]] == 0:
            action, reason, confidence, move, cost, value = weigh(
                rules_address, whole[index, 0], whole[index, 1], whole[index, 2],
                whole[index, 4], broken[index, 0], broken[index, 1], broken[index, 2],
                broken[index, FLOATS - 1], broken[index, outputs], broken[index, outputs + 2],
                broken[index, outputs + 3], 0, 0, time_ns,
            )  # fmt: skip
            if action == _HOLD:
                write_decision(
                    drain, index, time_ns, first + index, 0, 0, action, reason, rules.strategy,
                    confidence, move, cost, value, 0.0, 0.0, 0.0, realized, 0.0,
                    rules.horizon_s,
                )  # fmt: skip
                continue
        places[others] = index
        others += 1
    return others


@njit(cache=True, nogil=True)
def mark(drain: int, count: int, quotes_address: int, rules_address: int) -> None:
    """Take the drain's reference prices for marks, and learn its spreads, in order."""
    t = carray(memory(drain), (4,), np.int64)
    whole = carray(memory(t[1]), (DRAIN, 8), np.int64)
    broken = carray(memory(t[2]), (DRAIN, FLOATS), np.float64)
    quotes = carray(memory(quotes_address), (INSTRUMENTS,), np.float64)
    for index in range(count):
        if 0.0 < broken[index, 0] < inf:
            quotes[whole[index, 0]] = broken[index, 0]
        learn_spread(rules_address, whole[index, 0], broken[index, 1])


class Screen:
    """Between the journal's drain and the machine."""

    def __init__(self, journal: InputJournal, machine: Machine) -> None:
        self._journal = journal
        self._machine = machine
        self._held = np.zeros(INSTRUMENTS, np.uint8)
        self._held_address = int(self._held.ctypes.data)
        self._places = np.zeros(DRAIN, np.int64)
        self._places_address = int(self._places.ctypes.data)

    def compile(self) -> None:
        """Run the compiled parts once, so that the first real prediction is not late."""
        self.others(0, 0, 0)
        self.marks(0)

    def decide(self, address: int, count: int, time_ns: int) -> list[Effect]:
        """Commit a drain of prediction slots as inputs, then a decision about each; the effects."""
        journal = self._journal
        first = journal.take(address, count, time_ns)
        effects: list[Effect] = []
        for index in self.others(count, first, time_ns):
            decision, wanted = self._machine.on_prediction(
                journal.prediction(index), time_ns, first + index
            )
            journal.decide(decision, time_ns, first + index)
            effects += wanted
        self.marks(count)
        if count:
            self._machine.see_rung(journal.best_rung(count), time_ns)
        journal.commit(count)
        return effects

    def others(self, count: int, first: int, time_ns: int) -> list[int]:
        """Decide what comes to nothing; the places of what is left for the machine, in order."""
        book = self._machine.book
        positions = book.held()
        self._held[positions] = 1
        found = screen(
            self._journal.drain, self._machine.rules_address, self._held_address, count, first,
            time_ns, float(book.realized_today), self._places_address,
        )  # fmt: skip
        self._held[positions] = 0
        return self._places[:found].tolist() if found else []

    def marks(self, count: int) -> None:
        """After the drain: every instrument's mark is that of its last prediction."""
        machine = self._machine
        mark(self._journal.drain, count, machine.book.quotes_address, machine.rules_address)
