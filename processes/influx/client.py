"""The server over influxdb-client: writes of bytes, a ping, and the three buckets.

The only module that imports the client (40 MB). What can fail: no server,
a wrong token, a token file that others may read. The token is read anew for every client and stands
in no log, message or file of ours.
"""

import os
import stat
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec
import urllib3
from influxdb_client.client.exceptions import InfluxDBError
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.domain.bucket_retention_rules import BucketRetentionRules
from influxdb_client.rest import ApiException

from processes.influx.shipment import Answer
from processes.places import ROOT
from schemas.errors import OperatorError
from schemas.settings import BucketSettings, InfluxSettings

DAY_S = 86_400
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_RETENTION: Any = BucketRetentionRules


def read_token(settings: InfluxSettings, environment: Mapping[str, str] = os.environ) -> str:
    """The token, from the environment or its file.

    Raises:
        OperatorError: it is not there, or others may read it.
    """
    if settings.token:
        name = settings.token[2:-1]
        if not environment.get(name):
            raise OperatorError(f"influx.token: the environment has no {name}; export {name}=...")
        return environment[name]
    path = ROOT / settings.token_file
    if not settings.token_file or not path.is_file():
        raise OperatorError(
            f"influx.token_file = {settings.token_file!r}: there is no such file; write the token "
            "into one of mode 0600 and name it"
        )
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise OperatorError(f"{path} may be read by others: chmod 600 {path}")
    token = path.read_text(encoding="utf-8").strip()
    if not token:
        raise OperatorError(f"{path} is empty: write the token into it")
    return token


def _client(settings: InfluxSettings, token: str) -> Any:

    timeout = (int(settings.connect_timeout_s * 1e3), int(settings.timeout_s * 1e3))
    remote = urlsplit(settings.url).hostname not in LOOPBACK
    return InfluxDBClient(
        url=settings.url, token=token, org=settings.org, timeout=timeout, enable_gzip=remote
    )


class Writer:
    """Sends bodies; a client is made when one is needed and again after a refusal."""

    def __init__(self, settings: InfluxSettings) -> None:
        self._settings = settings
        self._client: Any = None
        self._api: Any = None

    def write(self, bucket: str, body: bytes) -> Answer:
        """One request, and what came of it; never raises for anything that a server can do."""
        try:
            if self._client is None:
                self._client = _client(self._settings, read_token(self._settings))
                self._api = self._client.write_api(write_options=SYNCHRONOUS)
            self._api.write(bucket=bucket, record=body, write_precision="ns")
        except OperatorError as error:
            return Answer(401, str(error))
        except ApiException as error:
            answer = answer_of(error.status or 0, error.body, error.headers)
            if answer.status in {401, 403}:
                self.close()  # the next one reads the token again
            return answer
        except (urllib3.exceptions.HTTPError, OSError) as error:
            return Answer(0, _reason(error))
        return Answer(204)

    def close(self) -> None:
        """Give the connections up."""
        if self._client is not None:
            self._api.close()
            self._client.close()
            self._client = None


def answer_of(status: int, body: str | None, headers: Mapping[str, str] | None) -> Answer:
    """What an answer says: the message of its JSON, or its text; and how long to wait."""
    text = (body or "").strip()
    try:
        told = msgspec.json.decode(text)
        if isinstance(told, dict):
            text = str(told.get("message") or told.get("error") or text)
    except msgspec.DecodeError:
        pass
    asked = {name.lower(): value for name, value in (headers or {}).items()}.get("retry-after", "")
    try:
        wait_s = max(float(asked), 0.0)
    except ValueError:
        wait_s = 0.0  # absent, or a date; our own waits do
    return Answer(status, text[:500] or f"HTTP {status}", wait_s)


def _reason(error: Exception) -> str:
    """The words of a connection's innermost error, without the objects in them."""
    cause: BaseException = error
    while True:
        inside = [getattr(cause, "reason", None), *cause.args]
        deeper = next((one for one in inside if isinstance(one, BaseException)), None)
        if deeper is None or deeper is cause:
            break
        cause = deeper
    return f"{type(cause).__name__}: {str(cause).rsplit(': ', maxsplit=1)[-1]}"[:200]


def ping(settings: InfluxSettings) -> str:
    """The server's version, or nothing if it does not answer."""
    client = _client(settings, "")
    try:
        return client.version() or "unknown"
    except (ApiException, urllib3.exceptions.HTTPError, OSError):
        return ""
    finally:
        client.close()


def ensure_buckets(settings: InfluxSettings, wanted: tuple[BucketSettings, ...]) -> dict[str, str]:
    """Make the buckets that are missing, and mend the retention of those that differ.

    Returns:
        By name: created, changed, or as it was.

    Raises:
        OperatorError: the server does not answer or does not allow it.
    """
    client = _client(settings, read_token(settings))
    found = {}
    try:
        api = client.buckets_api()
        for bucket in wanted:
            rule = _RETENTION(type="expire", every_seconds=bucket.days * DAY_S)
            there = _find_bucket(api, bucket.name, settings.org)
            if there is None:
                api.create_bucket(bucket_name=bucket.name, retention_rules=rule, org=settings.org)
                found[bucket.name] = "created"
            elif [one.every_seconds for one in there.retention_rules] != [rule.every_seconds]:
                there.retention_rules = [rule]
                api.update_bucket(bucket=there)
                found[bucket.name] = "changed"
            else:
                found[bucket.name] = "as it was"
    except InfluxDBError as error:
        raise OperatorError(
            f"{settings.url} refused it: {error.message}; the token must be allowed to read and "
            f"write the buckets of the organisation {settings.org}"
        ) from None
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise OperatorError(
            f"no InfluxDB answers at {settings.url} ({_reason(error)}); start it: docker compose "
            "-f deploy/compose.yaml up -d"
        ) from None
    finally:
        client.close()
    return found


def _find_bucket(api: Any, name: str, org: str) -> Any:
    """The bucket of this name, or None: some versions answer 404, others an empty list."""
    try:
        buckets = api.find_buckets(name=name, org=org).buckets
    except ApiException as error:
        if error.status == 404:
            return None
        raise
    return buckets[0] if buckets else None
