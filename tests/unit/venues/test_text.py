"""Numbers read by the kernel are Python's own, to the bit, or are left to the exact decoder."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from venues.text import read_integer, read_number


def read(text: str):
    letters = np.frombuffer(text.encode() + b",", np.uint8)
    return read_number(letters, 0, len(letters) - 1)


DIGITS = st.text("0123456789", min_size=1, max_size=20)


@given(
    sign=st.sampled_from(["", "-"]),
    whole=DIGITS,
    fraction=st.one_of(st.none(), DIGITS),
    exponent=st.one_of(st.none(), st.integers(-30, 30)),
)
@settings(max_examples=3000, deadline=None)
def test_a_number_is_rounded_as_python_rounds_it_or_refused(sign, whole, fraction, exponent):
    text = sign + whole
    text += f".{fraction}" if fraction is not None else ""
    text += f"e{exponent}" if exponent is not None else ""
    value, end, ok = read(text)
    if ok:
        assert json.loads(text) == value
        assert math.copysign(1, value) == math.copysign(1, float(text))
        assert end == len(text)
    else:
        assert len(whole + (fraction or "")) > 15 or abs(exponent or 0) > 0 or whole[0] == "0"


@pytest.mark.parametrize("text", ["0", "-0.5", "7e-7", "6.6e-7", "1e21", "86717", "0.00001"])
def test_the_wires_own_forms_are_read(text):
    assert read(text) == (float(text), len(text), True)


@pytest.mark.parametrize(
    "text", ["", "-", ".5", "1.", "01", "00", "1e", "1e+", "+1", "null", "NaN", "1e999", "1" * 19]
)
def test_what_is_no_plain_number_is_refused(text):
    assert not read(text)[2]


@given(st.integers(-(10**20), 10**20))
def test_integers(number):
    letters = np.frombuffer(f"{number}]".encode(), np.uint8)
    value, end, ok = read_integer(letters, 0, len(letters))
    assert ok == (len(str(abs(number))) <= 18)
    if ok:
        assert (value, end) == (number, len(letters) - 1)
