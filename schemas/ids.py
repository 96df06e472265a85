"""Text ids in the two id words of a tape slot: packed reversibly, so that storage can show them.

A text of up to 20 characters of `0-9A-Za-z-_` is its length in the highest byte and six bits a
character below. So the high word of a text id is never 0, and that of a number always is.
"""

from typing import Final

import numpy as np

from schemas.errors import DecodeError

LONGEST: Final = 20
_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_"
_PLACES: Final = {letter: place for place, letter in enumerate(_ALPHABET)}
_LETTERS: Final = np.frombuffer(_ALPHABET.encode(), np.uint8)
_WORD: Final = (1 << 64) - 1


def pack_text_id(text: str) -> tuple[int, int]:
    """(low word, high word) of a text id.

    Raises:
        DecodeError: it is empty, too long, or has other characters.
    """
    if not 0 < len(text) <= LONGEST:
        raise DecodeError(f"an id of {len(text)} characters: {text[:40]!r}")
    value = len(text) << 120
    for index, letter in enumerate(text):
        place = _PLACES.get(letter)
        if place is None:
            raise DecodeError(f"{text!r} is no id")
        value |= place << 6 * index
    return value & _WORD, value >> 64


def unpack_text_id(low: int, high: int) -> str:
    """The text of an id, or the digits of one that is a number."""
    if high == 0:
        return str(low)
    value = high << 64 | low
    return "".join(_ALPHABET[value >> 6 * index & 63] for index in range(value >> 120))


def text_ids(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The texts of ids, shape (n,) str; empty for those that are numbers."""
    count = len(low)
    letters = np.zeros((count, LONGEST), np.uint8)
    lengths = high >> np.uint64(56)
    for index in range(LONGEST):
        bit = 6 * index
        if bit + 6 <= 64:
            places = low >> np.uint64(bit)
        elif bit < 64:
            places = low >> np.uint64(bit) | high << np.uint64(64 - bit)
        else:
            places = high >> np.uint64(bit - 64)
        found = _LETTERS[(places & np.uint64(63)).astype(np.int64)]
        letters[:, index] = np.where(index < lengths, found, 0)
    return letters.reshape(-1).view(f"S{LONGEST}").astype(str) if count else np.zeros(0, str)
