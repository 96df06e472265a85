"""Values of frames that Python parses: numbers keep their wire text, and nothing is guessed."""

import json
from typing import Any

from schemas.account import plain_decimal
from schemas.errors import DecodeError


class NumberText(float):
    """A float that remembers how it was written."""

    text: str

    def __new__(cls, text: str) -> "NumberText":
        """From JSON's number text.

        Raises:
            DecodeError: too large for a double.
        """
        number = super().__new__(cls, text)
        number.text = text
        if number in {float("inf"), float("-inf")}:
            raise DecodeError(f"{text[:40]} is no finite number")
        return number


def _refuse_constant(text: str) -> None:
    raise DecodeError(f"{text} is no number")


def parse_exact(frame: bytes) -> Any:
    """A frame's JSON, every number a `NumberText`.

    Raises:
        ValueError: it is no JSON.
        DecodeError: a number that is none, or too large.
    """
    return json.loads(
        frame, parse_float=NumberText, parse_int=NumberText, parse_constant=_refuse_constant
    )


def as_number(value: Any) -> NumberText:
    """A parsed value that must be a number.

    Raises:
        DecodeError: it is something else.
    """
    if isinstance(value, NumberText):
        return value
    raise DecodeError(f"{value!r:.60} is no number")


def as_text(value: Any) -> str:
    """A parsed value that must be a text.

    Raises:
        DecodeError: it is something else.
    """
    if isinstance(value, str):
        return value
    raise DecodeError(f"{value!r:.60} is no text")


def number_or_nan(value: Any) -> float:
    """A parsed value that must be a number or null.

    Raises:
        DecodeError: it is something else.
    """
    return float("nan") if value is None else as_number(value)


def as_integer(value: Any) -> int:
    """A parsed value that must be a whole number of less than 2^62.

    Raises:
        DecodeError: it is something else.
    """
    number = as_number(value)
    if not number.is_integer() or abs(number) > 1 << 62:
        raise DecodeError(f"{number!r} is no integer")
    return int(number.text) if number.text.lstrip("-").isdigit() else int(number)


def decimal_text(value: Any) -> str:
    """A parsed value that must be a number as decimal text, every digit kept.

    Raises:
        DecodeError: it is something else, or larger or smaller than any amount of money.
    """
    return plain_decimal(as_number(value).text)


def decimal_or_empty(value: Any) -> str:
    """`decimal_text` of a number, nothing of null.

    Raises:
        DecodeError: as `decimal_text`.
    """
    return "" if value is None else decimal_text(value)
