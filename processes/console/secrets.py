"""Who may come in: the API's token, a browser's session, and codes that open one once.

The token is made at the first start, in a file that only its owner may read. A session is not kept
anywhere: it is a time and its signature by the token, so a browser stays logged in when the console
is started anew, and a new token ends every session. A code is made by `dcctl console`, over the bus
(whose sockets only this user can open), lives a minute and opens one session.
"""

import hashlib
import hmac
import os
import secrets
import stat
from pathlib import Path
from typing import Final

from processes.files import write_whole
from processes.places import ROOT
from schemas.errors import OperatorError
from schemas.settings import ConsoleSettings

TOKEN_BYTES: Final = 32
CODE_S: Final = 60.0
CODES_MAX: Final = 16


def token_path(settings: ConsoleSettings, data: Path) -> Path:
    """Where the token is kept."""
    return ROOT / settings.token_file if settings.token_file else data / "state" / "console.token"


def open_token(path: Path) -> str:
    """The token; made if there is none.

    Raises:
        OperatorError: others may read the file, or it holds none.
    """
    if not path.exists():
        write_whole(path, f"{secrets.token_urlsafe(TOKEN_BYTES)}\n".encode(), 0o600)
    found = path.stat()
    if found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise OperatorError(f"others than you may read {path}: chmod 600 {path}")
    token = path.read_text(encoding="ascii", errors="replace").strip()
    if len(token) < TOKEN_BYTES:
        raise OperatorError(f"{path} holds no token; remove it and a new one is made: rm {path}")
    return token


class Doorman:
    """Tells who is let in. `now_s` is wall-clock time, since sessions outlive the machine's."""

    def __init__(self, token: str, session_days: float) -> None:
        self._token = token.encode()
        self._session_s = session_days * 86_400
        self._codes: dict[str, float] = {}

    def knows_token(self, text: str) -> bool:
        """Whether it is the token, in the same time whatever it is."""
        return hmac.compare_digest(text.encode(), self._token)

    def make_code(self, now_s: float) -> str:
        """A code that opens one session within CODE_S."""
        self._codes = {code: end for code, end in self._codes.items() if end > now_s}
        while len(self._codes) >= CODES_MAX:
            del self._codes[next(iter(self._codes))]
        code = secrets.token_urlsafe(24)
        self._codes[code] = now_s + CODE_S
        return code

    def take_code(self, code: str, now_s: float) -> bool:
        """Whether a code is good; it is not any more afterwards."""
        return self._codes.pop(code, 0.0) > now_s

    def open_session(self, now_s: float) -> str:
        """What a browser keeps."""
        body = f"{int(now_s + self._session_s)}.{secrets.token_hex(4)}"
        return f"{body}.{self._sign(body)}"

    def session(self, text: str, now_s: float) -> str:
        """A short name of a session that is good; empty otherwise."""
        body, _, signature = text.rpartition(".")
        if not body or not hmac.compare_digest(signature.encode(), self._sign(body).encode()):
            return ""
        end, _, name = body.partition(".")
        return name if float(end) > now_s else ""

    def _sign(self, body: str) -> str:
        return hmac.new(self._token, body.encode(), hashlib.sha256).hexdigest()
