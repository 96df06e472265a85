"""Times and channel numbers of names, as both the compiled kernels and Python read them."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import DecodeError
from venues.names import channel_number, time_ns


@given(
    st.datetimes(datetime(1970, 1, 1), datetime(2261, 12, 31, 23, 59, 59)),
    st.integers(0, 9),
    st.integers(0, 10**9 - 1),
)
def test_times_are_exact_to_the_digit(moment, decimals, fraction):
    digits = f"{fraction:09}"[:decimals]
    seconds = int(moment.replace(microsecond=0, tzinfo=UTC).timestamp())
    text = f"{moment:%Y-%m-%dT%H:%M:%S}{'.' * (decimals > 0)}{digits}Z"
    assert time_ns(text) == seconds * 10**9 + int(digits.ljust(9, "0"))


def test_leap_days():
    assert time_ns("2024-02-29T00:00:00Z") == 1_709_164_800 * 10**9
    assert time_ns("2000-02-29T23:59:59.999Z") == 951_868_799_999 * 10**6
    assert time_ns("2100-03-01T00:00:00.000Z") == 4_107_542_400 * 10**9


@pytest.mark.parametrize(
    "text",
    [
        "", "2026-02-29T00:00:00Z", "2100-02-29T00:00:00Z", "2026-13-01T00:00:00Z",
        "2026-00-01T00:00:00Z", "2026-01-00T00:00:00Z", "2026-04-31T00:00:00Z",
        "2026-01-01 00:00:00Z", "2026-01-01t00:00:00Z", "2026-01-01T00:00:00z",
        "2026-01-01T24:00:00Z", "2026-01-01T00:60:00Z", "2026-01-01T00:00:60Z",
        "2026-01-01T00:00:00", "2026-01-01T00:00:00.Z", "2026-01-01T00:00:00.1234567890Z",
        "2026-01-01T00:00:00,1Z", "2026-01-01T00:00:00.1aZ", "2026-01-01T00:00:0aZ",
        "1969-12-31T23:59:59Z", "2262-01-01T00:00:00Z", "2026-01-01T00:00:00+00:00",
        " 2026-01-01T00:00:00Z", "2026-01-01T00:00:0\u0665Z", "\ud800", None, 5,
    ],
)  # fmt: skip
def test_what_is_no_time(text):
    with pytest.raises(DecodeError):
        time_ns(text)


def plain_number(channel: str, symbol: str, minutes: int) -> int:
    """FNV-1a in whole numbers without end, cut to 64 bits after each step."""
    value = 0xCBF29CE484222325
    for word in [*channel.encode(), ord(":"), *symbol.encode(), minutes + 256]:
        value = (value ^ word) * 0x100000001B3 % (1 << 64)
    return max(value % (1 << 62), 1)


@given(st.text("abcdefghijklmno", max_size=12), st.text(max_size=24), st.integers(0, 100_000))
def test_a_channel_number_is_the_hash_of_its_name(channel, symbol, minutes):
    assert channel_number(channel, symbol, minutes) == plain_number(channel, symbol, minutes)


def test_names_have_numbers_of_their_own():
    names = {
        (channel, f"{base}{quote}", minutes)
        for channel in ("book", "trade", "trades", "ticker", "ohlc", "level3", "orderbooks")
        for base in ("BTC", "ETH", "A", "B", "AB", *(f"S{n}" for n in range(300)))
        for quote in ("/USD", "/EUR", "/D", "", "_JPY")
        for minutes in (0, 1, 60)
    }
    numbers = {channel_number(*name) for name in names}
    assert len(numbers) == len(names)
    assert all(0 < number < 1 << 62 for number in numbers)
