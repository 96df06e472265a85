"""Where a lake is kept besides its own machine: a URI as `lake.store` and `--lake` take it.

    s3://bucket/folder?region=eu-central-1&endpoint_override=minio.lan:9000&scheme=http
    gs://bucket/folder
    file:///mnt/nas/lake

Credentials never stand in it: the environment has them (AWS_ACCESS_KEY_ID and
AWS_SECRET_ACCESS_KEY or AWS_PROFILE; GOOGLE_APPLICATION_CREDENTIALS).
"""

from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from msgspec import Struct

from schemas.errors import ConfigError

SCHEMES: Final = ("s3", "gs", "file")
OPTIONS: Final = {
    "s3": ("region", "endpoint_override", "scheme", "tls_ca_file_path", "force_virtual_addressing"),
    "gs": ("endpoint_override", "scheme"),
    "file": (),
}
"""What may stand behind the `?`, as pyarrow.fs names it."""


class StoreUri(Struct, frozen=True, kw_only=True):
    """A URI taken apart."""

    scheme: str
    base: str
    """Bucket and folder, or the absolute path of a folder; no slash at its end."""
    options: dict[str, str]

    @property
    def text(self) -> str:
        """What stands in messages, before a file's name."""
        return f"{self.scheme}://{self.base}"


def parse_store(key: str, text: str) -> StoreUri:
    """Take a URI apart.

    Args:
        key: the setting or option that it came from, for the error.

    Raises:
        ConfigError: it is none, or holds credentials. It is not quoted then: it may hold a secret.
    """
    parts = urlsplit(text)
    if parts.username is not None or parts.password is not None:
        raise ConfigError(
            f"{key}: no key may stand in the URI; the environment has it: AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        )
    if parts.scheme not in SCHEMES:
        raise ConfigError(
            f"{key}: must be like s3://bucket/folder, gs://bucket/folder or file:///mnt/nas/lake"
        )
    if parts.scheme == "file" and (parts.netloc or not parts.path.strip("/")):
        raise ConfigError(f"{key}: name a folder with three slashes, like file:///mnt/nas/lake")
    if parts.scheme != "file" and not parts.netloc:
        raise ConfigError(f"{key}: name a bucket, like {parts.scheme}://bucket/folder")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    allowed = OPTIONS[parts.scheme]
    for name in options:
        if name not in allowed:
            listed = ", ".join(allowed) or "nothing"
            raise ConfigError(
                f"{key}: {name}= is no option of {parts.scheme}://; allowed: {listed}"
            )
    if options.get("scheme", "https") not in {"http", "https"}:
        raise ConfigError(f"{key}: scheme= must be http or https")
    base = unquote(parts.netloc + parts.path).rstrip("/")
    return StoreUri(scheme=parts.scheme, base=base, options=options)
