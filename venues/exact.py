"""JSON answers read exactly: numbers keep the wire's decimals and never pass through a float.

Rows are read by position and defensively: venues append fields and send null where they know
nothing. A place that is missing or of another kind is an `AnswerError` that names it.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final, TypeVar

import msgspec

from schemas.errors import AnswerError

T = TypeVar("T")
EXPONENT_MAX: Final = 40
"""Numbers beyond 10^±40 are refused: written out they would take any amount of memory."""
DEPTH_TEXT: Final = 120

_decoder = msgspec.json.Decoder(float_hook=Decimal)


def decode(body: bytes) -> Any:
    """A JSON value whose numbers are int or Decimal.

    Raises:
        AnswerError: it is not JSON.
    """
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, InvalidOperation, RecursionError) as error:
        shown = body[:DEPTH_TEXT].decode("utf-8", "replace")
        raise AnswerError(f"not JSON ({error}): {shown!r}") from None


def show(value: Any) -> str:
    """A value for an error's text, cut short."""
    text = repr(value)
    return text if len(text) <= DEPTH_TEXT else f"{text[:DEPTH_TEXT]}..."


def _at(row: Any, place: int | str) -> Any:
    if isinstance(place, int):
        return row[place] if isinstance(row, list) and place < len(row) else None
    return row.get(place) if isinstance(row, dict) else None


def _wrong(row: Any, place: int | str, wanted: str) -> AnswerError:
    return AnswerError(f"no {wanted} at {place!r} of {show(row)}")


def to_decimal(value: Any) -> Decimal | None:
    """A number, or the text of one, as Decimal; None if it is neither."""
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        return None
    try:
        number = Decimal(value)
    except InvalidOperation:
        return None
    fits = number.is_finite() and (not number or abs(number.adjusted()) <= EXPONENT_MAX)
    return number if fits else None


def number(row: Any, place: int | str) -> Decimal:
    """The number there."""
    found = to_decimal(_at(row, place))
    if found is None:
        raise _wrong(row, place, "number")
    return found


def number_or_none(row: Any, place: int | str) -> Decimal | None:
    """The number there; None where the venue gives none (absent, null or an empty text)."""
    found = _at(row, place)
    return None if found is None or found == "" else number(row, place)


def integer(row: Any, place: int | str) -> int:
    """The whole number there; venues write some of them as text or with `.0`."""
    found = to_decimal(_at(row, place))
    if found is None or found != found.to_integral_value():
        raise _wrong(row, place, "whole number")
    return int(found)


def integer_or_none(row: Any, place: int | str) -> int | None:
    """The whole number there; None where the venue gives none."""
    return None if _at(row, place) is None else integer(row, place)


def text(row: Any, place: int | str) -> str:
    """The text there."""
    found = _at(row, place)
    if not isinstance(found, str):
        raise _wrong(row, place, "text")
    return found


def text_or_empty(row: Any, place: int | str) -> str:
    """The text there; nothing where the venue gives none."""
    return "" if _at(row, place) is None else text(row, place)


def rows(value: Any) -> list[Any]:
    """A list, whatever is in it."""
    if not isinstance(value, list):
        raise AnswerError(f"not a list: {show(value)}")
    return value


def table(value: Any) -> dict[str, Any]:
    """An object, whatever is in it."""
    if not isinstance(value, dict):
        raise AnswerError(f"not an object: {show(value)}")
    return value


def each(make: Callable[[Any], T]) -> Callable[[Any], list[T]]:
    """Reads a list by reading what is in it."""
    return lambda value: [make(row) for row in rows(value)]


def each_named(make: Callable[[str, Any], T]) -> Callable[[Any], list[T]]:
    """Reads an object by reading each name with what stands under it."""
    return lambda value: [make(name, row) for name, row in table(value).items()]


def part(row: Any, place: int | str) -> Any:
    """Whatever stands there; None where there is nothing."""
    return _at(row, place)


def iso_ms(row: Any, place: int | str) -> int:
    """The ISO 8601 time there as milliseconds UTC."""
    try:
        moment = datetime.fromisoformat(text(row, place))
    except ValueError:
        raise _wrong(row, place, "time") from None
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return (moment - datetime.fromtimestamp(0, UTC)) // timedelta(milliseconds=1)


def plain(value: Decimal) -> str:
    """A number as decimal text without an exponent: 1E-8 is 0.00000001."""
    return format(value, "f")
