"""Nonces rise over lives, clocks that jump back, and crashes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processes.nonces import AHEAD, Nonces
from schemas.errors import OperatorError


@given(st.lists(st.tuples(st.booleans(), st.integers(-(10**12), 10**12)), max_size=60))
def test_they_rise_whatever_the_clock_does_and_whoever_dies(tmp_path_factory, steps):
    path = tmp_path_factory.mktemp("nonces") / "one"
    now = [1_760_000_000_000_000_000]
    nonces, last = Nonces(path, lambda: now[0]), 0
    for dies, jump in steps:
        now[0] += jump
        if dies:
            nonces = Nonces(path, lambda: now[0])
        given_ = nonces.next()
        assert given_ > last
        assert given_ < 9007199254740991, "a venue's numbers are JavaScript's"
        last = given_


def test_the_file_is_written_now_and_then_only(tmp_path, monkeypatch):
    path = tmp_path / "one"
    written = []
    monkeypatch.setattr("processes.nonces.write_whole", lambda _, content: written.append(content))
    nonces = Nonces(path, lambda: 10**18)
    for _ in range(1000):
        nonces.next()
    assert written == [f"{10**15 + AHEAD}\n".encode()]


def test_a_damaged_file_is_no_zero(tmp_path):
    path = tmp_path / "one"
    path.write_text("12x")
    with pytest.raises(OperatorError, match="damaged"):
        Nonces(path, lambda: 0)
