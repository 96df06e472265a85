"""GMO Coin's signature: hex HMAC-SHA256 of timestamp + method + path + body (api.coin.z.com/docs).

The path begins with `/v1`, never with `/private`, and has no query string. A GET has no body. PUT
and DELETE of `/v1/ws-auth` send one and are signed without it. There is no nonce; the timestamp
must be close to the venue's clock. Secrets are never kept, logged, or shown in errors.
"""

import hashlib
import hmac
from collections.abc import Mapping

PREFIX = "/private"
UNSIGNED_BODY = frozenset({"GET", "PUT", "DELETE"})


def sign(secret: str, timestamp_ms: int | str, method: str, path: str, body: bytes = b"") -> str:
    """The signature of a call.

    Args:
        path: of the request; `/private` in front and a query string behind are left out.
        body: the very bytes that are sent.
    """
    signed_path = path.partition("?")[0].removeprefix(PREFIX)
    signed_body = "" if method in UNSIGNED_BODY else body.decode()
    message = f"{timestamp_ms}{method}{signed_path}{signed_body}"
    return hmac.new(secret.encode(), message.encode(), hashlib.sha256).hexdigest()


def rest_headers(
    key: str, secret: str, timestamp_ms: int, method: str, path: str, body: bytes = b""
) -> Mapping[str, str]:
    """Headers of a private call."""
    return {
        "API-KEY": key,
        "API-TIMESTAMP": str(timestamp_ms),
        "API-SIGN": sign(secret, timestamp_ms, method, path, body),
        "Content-Type": "application/json",
    }
