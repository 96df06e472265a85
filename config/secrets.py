"""Secrets by where they are found; see `schemas/brokers.py` for the four ways.

A secret is read once, kept in memory by who needs it, and stands in no text of ours: every error
here says where the secret should have been, never what was there.
"""

import os
import shlex
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import quote

from schemas.alerts import ELSEWHERE, VARIABLE
from schemas.errors import ConfigError

COMMAND_S: Final = 20.0
SECRET_BYTES_MAX: Final = 65_536


def read_secret(
    key: str,
    reference: str,
    environment: Mapping[str, str] = os.environ,
    platform: str = sys.platform,
) -> str:
    """The secret that a setting refers to.

    Args:
        key: the setting's name, for errors.

    Raises:
        ConfigError: it is not where the setting says; the text says what to do.
    """
    how, _, rest = reference.partition(":")
    if reference.startswith("${"):
        found = environment.get(reference[2:-1], "")
        if not found:
            raise ConfigError(f"{key} = {reference}: the variable is not set: export it")
        return found
    if how == "file":
        return _from_file(key, Path(rest).expanduser())
    if how == "keychain":
        if platform != "darwin":
            raise ConfigError(f"{key} = {reference}: the Keychain is on macOS alone")
        return _from_program(
            key, reference, ["security", "find-generic-password", "-w", "-s", rest]
        )
    if how == "command":
        return _from_program(key, reference, shlex.split(rest))
    raise ConfigError(f"{key}: name where it is: ${{NAME}}, file:, keychain: or command:")


def read_address(key: str, url: str, environment: Mapping[str, str] = os.environ) -> str:
    """An address of alerts with its secrets in it, each percent-encoded; not to be shown.

    Args:
        url: with `${NAME}` in it; or all of it as `read_secret` takes one.

    Raises:
        ConfigError: a secret is not where the setting says; the text says what to do.
    """
    if url.startswith(ELSEWHERE) or VARIABLE.fullmatch(url):
        return read_secret(key, url, environment)
    return VARIABLE.sub(lambda one: quote(read_secret(key, one[0], environment), safe=""), url)


def _from_file(key: str, path: Path) -> str:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise ConfigError(f"{key}: others may read {path}; type: chmod 600 {path}")
            content = file.read(SECRET_BYTES_MAX)
    except OSError as error:
        raise ConfigError(f"{key}: {path} cannot be read: {error.strerror}") from None
    return _first_line(key, str(path), content)


def _from_program(key: str, reference: str, command: list[str]) -> str:
    # Of the program's own words nothing is shown: they may hold the secret, or another.
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=COMMAND_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigError(f"{key} = {reference}: {type(error).__name__}") from None
    if done.returncode:
        raise ConfigError(f"{key} = {reference}: it ended with {done.returncode}")
    return _first_line(key, reference, done.stdout[:SECRET_BYTES_MAX])


def _first_line(key: str, where: str, content: bytes) -> str:
    lines = content.splitlines()
    try:
        text = lines[0].decode().strip() if lines else ""
    except UnicodeDecodeError:
        text = ""
    if not text:
        raise ConfigError(f"{key}: {where} holds nothing that could be a secret")
    return text
