"""The sender's state machine and the taking apart of batches, without a server."""

import pytest
from hypothesis import given
from hypothesis import settings as given_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from processes.influx.link import RETRY_AFTER_MAX_S, Link, LinkState
from processes.influx.shipment import Answer, Meaning, meaning_of, ship


@pytest.mark.parametrize(
    ("statuses", "meaning"),
    [
        ((200, 204), Meaning.TAKEN),
        ((0, 408, 429, 500, 502, 503, 504, 599), Meaning.LATER),
        ((413,), Meaning.TOO_LARGE),
        ((400, 422), Meaning.WRONG_LINE),
        ((301, 401, 403, 404, 405, 415), Meaning.NOT_ALLOWED),
    ],
)
def test_what_a_status_means(statuses, meaning):
    assert {meaning_of(status) for status in statuses} == {meaning}


def test_waits_double_have_jitter_and_an_end():
    for share in (0.0, 1.0):
        link = Link(0.5, 30.0, 60.0, lambda share=share: share)
        now, waits = 100.0, []
        for _ in range(9):
            link.failed(now, "no")
            low, high = now, now + 100
            while high - low > 1e-6:  # the moment it may send again
                middle = (low + high) / 2
                state = link.state
                low, high = (low, middle) if link.may_send(middle) else (middle, high)
                link.state = state
            waits.append(round(high - now, 3))
            now = high
        assert waits == [w * (0.5 + share / 2) for w in (0.5, 1, 2, 4, 8, 16, 30, 30, 30)]


def test_a_server_that_names_a_time_is_left_alone_that_long_but_not_for_ever():
    link = Link(0.5, 30.0, 60.0, lambda: 0.5)
    link.failed(0.0, "busy", 90.0)
    assert not link.may_send(89.9)
    assert link.may_send(90.1)
    link.failed(1000.0, "busy", 1e9)
    assert link.may_send(1000.0 + RETRY_AFTER_MAX_S)


class LinkMachine(RuleBasedStateMachine):
    """Whatever happens in whatever order: the table at the head of link.py holds."""

    def __init__(self):
        super().__init__()
        self.now = 0.0
        self.link = Link(0.5, 30.0, 45.0, lambda: 0.7)
        self.blocked_until = 0.0
        self.sending = False

    @rule(seconds=st.floats(0, 40))
    def time_passes(self, seconds):
        self.now += seconds

    @rule()
    def ask(self):
        before = self.link.state
        may = self.link.may_send(self.now)
        if before in {LinkState.OK, LinkState.PROBING}:
            assert may
            assert self.link.state is before
        else:
            assert may == (self.now >= self.blocked_until)
            assert self.link.state is (LinkState.PROBING if may else before)
        self.sending = may

    @rule(asked=st.floats(0, 1000))
    def fails(self, asked):
        if self.sending:
            self.link.failed(self.now, "down", asked)
            assert self.link.state is LinkState.BACKOFF
            assert not self.link.may_send(self.now)
            self.blocked_until = self.link._until_s
            assert 0.25 <= self.blocked_until - self.now <= RETRY_AFTER_MAX_S
            self.sending = False

    @rule()
    def is_refused(self):
        if self.sending:
            self.link.not_allowed(self.now, "token")
            assert self.link.state is LinkState.HELD
            self.blocked_until = self.now + 45.0
            self.sending = False

    @rule()
    def is_taken(self):
        if self.sending:
            was_probing = self.link.state is LinkState.PROBING
            assert self.link.taken() == was_probing
            assert self.link.reason == ""

    @rule()
    def somebody_hurries(self):
        self.link.hurry()
        self.blocked_until = 0.0

    @invariant()
    def a_reason_stands_while_something_is_wrong(self):
        assert bool(self.link.reason) == (self.link.state is not LinkState.OK)


TestLinkMachine = LinkMachine.TestCase
TestLinkMachine.settings = given_settings(max_examples=80, stateful_step_count=40, deadline=None)


class Strict:
    """A server as version 2 is: a body with a bad line is refused whole."""

    def __init__(self, bad=(), body_max=1 << 30, partial=False):
        self.bad, self.body_max, self.partial = set(bad), body_max, partial
        self.stored: list[bytes] = []
        self.requests = 0

    def send(self, body: bytes) -> Answer:
        self.requests += 1
        if len(body) > self.body_max:
            return Answer(413, "too large")
        lines = body.split(b"\n")
        wrong = [line for line in lines if line in self.bad]
        if wrong and self.partial:
            self.stored += [line for line in lines if line not in self.bad]
        if wrong:
            return Answer(400, f"bad {wrong[0].decode()}")
        self.stored += lines
        return Answer(204)


@given(
    count=st.integers(1, 300), bad=st.sets(st.integers(0, 299), max_size=12),
    partial=st.booleans(),
)  # fmt: skip
@given_settings(max_examples=80)
def test_exactly_the_bad_lines_are_refused_and_all_others_stored(count, bad, partial):
    lines = [b"line %d" % number for number in range(count)]
    wrong = {line for number, line in enumerate(lines) if number in bad}
    server = Strict(wrong, partial=partial)
    shipped = ship(b"\n".join(lines), server.send, 10_000)
    assert shipped.meaning is Meaning.TAKEN
    assert {line for one in shipped.refused for line in one.lines} == {w.decode() for w in wrong}
    assert sum(len(one.lines) for one in shipped.refused) == len(wrong)
    assert set(server.stored) == set(lines) - wrong
    assert partial or len(server.stored) == len(set(server.stored))


def test_one_bad_line_of_five_thousand_costs_some_twenty_five_requests():
    lines = [b"line %d" % number for number in range(5000)]
    server = Strict([lines[3217]])
    shipped = ship(b"\n".join(lines), server.send, 256)
    assert [one.lines for one in shipped.refused] == [["line 3217"]]
    assert shipped.refused[0].message == "400: bad line 3217"
    assert len(server.stored) == 4999
    assert server.requests <= 27


def test_a_body_too_large_goes_in_halves_and_a_line_too_large_is_refused():
    lines = [b"x" * 100] * 64 + [b"y" * 3000]
    server = Strict(body_max=1000)
    shipped = ship(b"\n".join(lines), server.send, 256)
    assert [one.lines for one in shipped.refused] == [["y" * 3000]]
    assert server.stored == lines[:-1]


def test_requests_are_bounded_and_what_is_left_is_put_aside_whole():
    lines = [b"line %d" % number for number in range(1000)]
    server = Strict(lines)
    shipped = ship(b"\n".join(lines), server.send, 20)
    assert shipped.meaning is Meaning.TAKEN
    assert server.requests == 21
    told = [line.encode() for one in shipped.refused for line in one.lines]
    assert sorted(told) == sorted(lines)
    assert any("not taken apart further" in one.message for one in shipped.refused)


def test_a_server_that_goes_in_the_middle_leaves_the_batch_whole():
    lines = [b"line %d" % number for number in range(100)]
    server = Strict([lines[70]])

    def send(body: bytes) -> Answer:
        return Answer(503, "gone") if server.requests == 9 else server.send(body)

    shipped = ship(b"\n".join(lines), send, 256)
    assert (shipped.meaning, shipped.refused) == (Meaning.LATER, [])
    assert shipped.answer.message == "gone"
