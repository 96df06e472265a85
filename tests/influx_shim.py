"""InfluxDB 2's write interface over a real influxd of version 1, with faults on request.

influxd 1.6 keeps, parses and answers queries; what version 2 does differently is here: the path,
the token, the shape of errors, and in strict mode that a batch with a malformed line is refused
whole. Bodies may be gzipped. The buckets interface stands on nothing: version 1 has none, so it is
a strict stub that refuses what version 2 would refuse, and makes the databases behind it.
"""

import contextlib
import gzip
import json
import re
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.planted import plant
from tests.servers import InfluxServer, influx_server

TOKEN = plant("influx-token")
ORG = "dc"
ORG_ID = "00000000000000aa"
PRECISIONS = {"ns": "n", "us": "u", "ms": "ms", "s": "s"}
BUCKETS = ("rt-fast", "agg-30s", "logs")

_NAME = r"(?:[^,= \n\\\"]|\\.)+"
_VALUE = r"(?:[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[-+]?\d+i|true|false|\"(?:[^\"\\]|\\.)*\")"
LINE = re.compile(
    rf"({_NAME})((?:,{_NAME}={_NAME})*) ({_NAME}={_VALUE}(?:,{_NAME}={_VALUE})*) (-?\d{{1,19}})"
)


def malformed(body: bytes) -> list[str]:
    """Lines that are no line protocol."""
    lines = body.decode().split("\n")
    return [line for line in lines if line.strip() and LINE.fullmatch(line) is None]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed is no error of the server."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Shim:
    """The server; `fault` and the limits may be changed while it runs."""

    def __init__(self, upstream: InfluxServer) -> None:
        self.upstream = upstream
        self.strict = False
        self.token = TOKEN
        self.body_max = 50_000_000
        self.statuses: list[tuple[int, dict[str, str]]] = []
        """Answers to give instead, one a request."""
        self.always: int = 0
        """A status to give to every write."""
        self.broken = False
        """Close the connection in the middle of an answer."""
        self.hang = threading.Event()
        self.hang.set()
        self.requests: list[tuple[int, str, int]] = []
        """(status, bucket, lines) of every write."""
        self.retentions: dict[str, int] = {}
        """Of the stub's buckets, in seconds."""
        shim = self

        class Handler(_Handler):
            server_shim = shim

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def url(self) -> str:
        """As `influx.url` takes it."""
        return f"http://127.0.0.1:{self.port}"

    def settings(self, **more: Any) -> dict[str, Any]:
        """Of the section influx, as quick as tests want it."""
        return {
            "enabled": True, "url": self.url, "token": "${DC_TEST_TOKEN}", "flush_ms": 20,
            "poll_ms": 5, "timeout_s": 1.0, "backoff_first_s": 0.02, "backoff_longest_s": 0.2,
            "hold_s": 0.1, "replay_lines_per_s": 10_000_000, **more,
        }  # fmt: skip

    def close(self) -> None:
        self.hang.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def rows(self, bucket: str, measurement: str) -> list[dict[str, Any]]:
        """All points of a measurement, read back by InfluxQL."""
        found = json.loads(self.upstream.ask(f'SELECT * FROM "{measurement}"', bucket))
        series = found["results"][0].get("series", [])
        assert len(series) <= 1
        return [
            dict(zip(one["columns"], values, strict=True))
            for one in series
            for values in one["values"]
        ]

    def make_databases(self) -> None:
        days = {"rt-fast": 7, "agg-30s": 30, "logs": 90}
        for name, kept in days.items():
            said = self.upstream.ask(
                f'CREATE DATABASE "{name}" WITH DURATION {kept}d REPLICATION 1 NAME autogen'
            )
            assert b"error" not in said, said


class _Handler(BaseHTTPRequestHandler):
    server_shim: Shim
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: object) -> None:
        """Tests say what they need to."""

    def answer(self, status: int, body: Any = None, headers: dict[str, str] | None = None) -> None:
        content = b"" if body is None else json.dumps(body).encode()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            if content:
                self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    def body(self) -> bytes:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        zipped = self.headers.get("Content-Encoding") == "gzip"
        return gzip.decompress(content) if zipped else content

    def allowed(self) -> bool:
        if self.headers.get("Authorization") == f"Token {self.server_shim.token}":
            return True
        self.answer(401, {"code": "unauthorized", "message": "unauthorized access"})
        return False

    def do_GET(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        if url.path == "/ping":
            self.answer(204, headers={"X-Influxdb-Version": "shim"})
        elif url.path == "/api/v2/orgs" and self.allowed():
            known = query.get("org") == ORG
            self.answer(200, {"orgs": [{"id": ORG_ID, "name": ORG}] if known else []})
        elif url.path == "/api/v2/buckets" and self.allowed():
            named = [name for name in self.server_shim.retentions if name == query.get("name")]
            self.answer(200, {"buckets": [self.bucket(name) for name in named]})

    def bucket(self, name: str) -> dict[str, Any]:
        rule = {"type": "expire", "everySeconds": self.server_shim.retentions[name]}
        return {
            "id": f"{list(self.server_shim.retentions).index(name):016x}", "orgID": ORG_ID,
            "name": name, "retentionRules": [rule],
        }  # fmt: skip

    def do_PATCH(self) -> None:
        told = json.loads(self.body())
        if self.allowed():
            self.server_shim.retentions[told["name"]] = _seconds(told)
            self.answer(200, self.bucket(told["name"]))

    def do_POST(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        content = self.body()
        if not self.allowed():
            self.server_shim.requests.append((401, "", 0))
            return
        if url.path == "/api/v2/buckets":
            self.create(json.loads(content))
        elif url.path == "/api/v2/write":
            self.write(dict(urllib.parse.parse_qsl(url.query)), content)
        else:
            self.answer(404, {"code": "not found", "message": "no such path"})

    def create(self, told: dict[str, Any]) -> None:
        shim = self.server_shim
        if told.get("orgID") != ORG_ID or not told.get("name"):
            self.answer(400, {"code": "invalid", "message": "orgID and name are wanted"})
        elif told["name"] in shim.retentions:
            message = f"bucket with name {told['name']} already exists"
            self.answer(422, {"code": "conflict", "message": message})
        else:
            shim.retentions[told["name"]] = _seconds(told)
            self.answer(201, self.bucket(told["name"]))

    def write(self, query: dict[str, str], content: bytes) -> None:
        shim = self.server_shim
        shim.hang.wait(30)
        status, told, headers = self.decide(query, content)
        shim.requests.append((status, query["bucket"], content.count(b"\n") + 1))
        if shim.broken:
            self.wfile.write(b"HTTP/1.")
            self.close_connection = True
        elif status == 0:
            self.close_connection = True  # as when the server dies under a request
        else:
            self.answer(status, told, headers)

    def decide(
        self, query: dict[str, str], content: bytes
    ) -> tuple[int, Any, dict[str, str] | None]:
        shim = self.server_shim
        if shim.statuses:
            status, headers = shim.statuses.pop(0)
            return status, {"code": "made up", "message": f"asked for {status}"}, headers
        if shim.always:
            return shim.always, {"code": "made up", "message": f"asked for {shim.always}"}, None
        if len(content) > shim.body_max:
            return 413, {"code": "request too large", "message": "too large"}, None
        if query["org"] != ORG:
            return 404, {"code": "not found", "message": "organization not found"}, None
        wrong = malformed(content) if shim.strict else []
        if wrong:
            return 400, {"code": "invalid", "message": f"unable to parse '{wrong[0]}'"}, None
        return self.forward(query, content)

    def forward(
        self, query: dict[str, str], content: bytes
    ) -> tuple[int, Any, dict[str, str] | None]:
        shim = self.server_shim
        told = urllib.parse.urlencode(
            {"db": query["bucket"], "precision": PRECISIONS[query["precision"]]}
        )
        request = urllib.request.Request(f"{shim.upstream.address}/write?{told}", content)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, None, None
        except urllib.error.HTTPError as error:
            message = json.loads(error.read()).get("error", "")
            if error.code == 404:
                return 404, {"code": "not found", "message": message}, None
            if "field type conflict" in message or "beyond retention" in message:
                return 422, {"code": "unprocessable entity", "message": message}, None
            return error.code, {"code": "invalid", "message": message}, None
        except OSError:
            return 0, None, None


def _seconds(told: dict[str, Any]) -> int:
    (rule,) = told["retentionRules"]
    assert rule["type"] == "expire"
    return int(rule["everySeconds"])


@contextmanager
def influx_shim() -> Iterator[Shim]:
    """A running server with the three databases."""
    with influx_server() as upstream:
        shim = Shim(upstream)
        try:
            shim.make_databases()
            yield shim
        finally:
            shim.close()
