"""Kraken's REST signature (docs.kraken.com, "Authentication"):

    base64(HMAC-SHA512(base64decode(secret), path + SHA256(nonce + postdata)))

Nonces come from the caller: they must rise per key. Secrets are never kept, logged, or shown in
errors.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping

from schemas.errors import ConfigError


def sign(secret: str, path: str, nonce: int | str, postdata: str) -> str:
    """The signature of a call.

    Args:
        path: with `/0/private/...`.
        postdata: the very form that is sent; it contains the nonce.

    Raises:
        ConfigError: the secret is not base64.
    """
    try:
        key = base64.b64decode(secret, validate=True)
    except binascii.Error:
        raise ConfigError(
            "the secret of the Kraken key is not base64; copy it whole, as the venue shows it"
        ) from None
    digest = hashlib.sha256(f"{nonce}{postdata}".encode()).digest()
    mac = hmac.new(key, path.encode() + digest, hashlib.sha512)
    return base64.b64encode(mac.digest()).decode()


def rest_headers(
    key: str, secret: str, path: str, nonce: int | str, postdata: str
) -> Mapping[str, str]:
    """Headers of a private call."""
    return {
        "API-Key": key,
        "API-Sign": sign(secret, path, nonce, postdata),
        "Content-Type": "application/x-www-form-urlencoded",
    }
