"""The part of numba that this project uses, typed: a kernel keeps the signature it is written with."""

from collections.abc import Callable
from typing import Any, TypeVar, overload

_F = TypeVar("_F", bound=Callable[..., Any])

@overload
def njit(function: _F, /) -> _F: ...
@overload
def njit(
    *,
    cache: bool = ...,
    nogil: bool = ...,
    inline: str = ...,
    error_model: str = ...,
    boundscheck: bool = ...,
) -> Callable[[_F], _F]: ...
def carray(pointer: Any, shape: Any, dtype: Any = ...) -> Any: ...

types: Any
