"""Times of account events: the kernel's reading, without the kernel."""

import subprocess
import sys
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import DecodeError
from tests.helpers import ROOT
from venues.names import time_ns
from venues.times import account_time_ns

VALID = st.builds(
    lambda moment, fraction: f"{moment:%Y-%m-%dT%H:%M:%S}".rjust(19, "0") + fraction + "Z",
    st.datetimes(datetime(1970, 1, 1), datetime(2261, 12, 31)),
    st.one_of(st.just(""), st.from_regex(r"\.[0-9]{1,9}", fullmatch=True)),
)  # fmt: skip


def outcome(read, text):
    try:
        return read(text)
    except DecodeError as error:
        return str(error)


@given(VALID)
def test_every_time_is_read_to_the_digit(text):
    assert account_time_ns(text) == time_ns(text) >= 0


@given(VALID, st.integers(0, 30), st.sampled_from("0129-:.TZtz+ x"))
def test_whatever_is_nearly_a_time_is_judged_alike(text, place, letter):
    spoilt = text[:place] + letter + text[place + 1 :]
    assert outcome(account_time_ns, spoilt) == outcome(time_ns, spoilt)


@pytest.mark.parametrize(
    "text",
    ["", "Z", None, 7, "2026-02-30T00:00:00Z", "1969-12-31T23:59:59Z", "2262-01-01T00:00:00Z",
     "2026-01-01T00:00:60Z", "2026-01-01T24:00:00Z", "2026-01-01T00:00:00.Z",
     "2026-01-01T00:00:00.1234567890Z", "2026-01-01T00:00:00+00:00",
     "\u0662026-01-01T00:00:00Z", "2026-01-01T00:00:00Z\n"],
)  # fmt: skip
def test_what_is_none_is_refused(text):
    with pytest.raises(DecodeError, match="is no time"):
        account_time_ns(text)
    assert outcome(time_ns, text) == outcome(account_time_ns, text)


def test_no_kernel_is_loaded_for_it():
    code = "import sys, venues.times; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
