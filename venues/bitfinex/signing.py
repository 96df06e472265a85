"""Bitfinex's signatures: HMAC-SHA384, in hex (docs.bitfinex.com, "Authenticated Endpoints").

Nonces come from the caller: they must rise per key over REST and WebSocket alike. Secrets are never
kept, logged, or shown in errors.
"""

import hashlib
import hmac
from collections.abc import Mapping


def sign(secret: str, message: str) -> str:
    """The signature of a text."""
    return hmac.new(secret.encode(), message.encode(), hashlib.sha384).hexdigest()


def rest_headers(key: str, secret: str, path: str, nonce: int, body: bytes) -> Mapping[str, str]:
    """Headers of an authenticated call.

    Args:
        path: without a slash in front: `v2/auth/r/wallets`.
        body: the very bytes that are sent; `{}` where there is nothing to say.
    """
    message = f"/api/{path}{nonce}{body.decode()}"
    return {
        "bfx-nonce": str(nonce),
        "bfx-apikey": key,
        "bfx-signature": sign(secret, message),
        "Content-Type": "application/json",
    }


def auth_payload(nonce: int) -> str:
    """What the WebSocket's `auth` event signs and carries."""
    return f"AUTH{nonce}"
