"""Real servers for tests: Redis, PostgreSQL, InfluxDB, Prometheus, S3. Each on a free port of
loopback, in a folder of its own, gone afterwards.

A server that is not installed skips the test by name; where `CI` is set it fails it, since there
every server is installed (`.ci/run`).
"""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import wait_until

NOBODY = 65534
_POSTGRES_FOLDERS = ("/usr/lib/postgresql/*/bin", "/opt/homebrew/opt/postgresql@*/bin")


def program(name: str, package: str, *folders: str) -> str:
    """The path of a server's program; skips the test without one, fails it in CI."""
    found = shutil.which(name)
    for pattern in folders:
        matches = sorted(Path("/").glob(f"{pattern.lstrip('/')}/{name}"))
        found = str(matches[-1]) if matches else found
    if found is None:
        missing = f"{name} is not installed (Debian: apt install {package})"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return found


def free_port() -> int:
    """A port of loopback that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def server_folder() -> Iterator[Path]:
    """A folder that an unprivileged user may enter as well, gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="dcs-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Server:
    """A server that can be killed and started again on its port, with what it has stored."""

    start_s = 20.0
    """Longest wait for it to be ready."""

    def __init__(
        self,
        command: Sequence[str],
        port: int,
        folder: Path,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.port = port
        self.folder = folder
        self._command = list(command)
        self._environment = environment
        self._log = folder / "server.log"
        self.process: subprocess.Popen[bytes] | None = None

    def ready(self) -> bool:
        """Whether it answers; of a plain server, whether it takes connections."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def start(self) -> None:
        """Start it, and return when it is ready."""
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command, stdout=log, stderr=log, env=self._environment
            )
        wait_until(self._ready_or_dead, self.start_s, what=f"{self._command[0]} to answer")

    def _ready_or_dead(self) -> bool:
        assert self.process is not None
        said = self._log.read_text(errors="replace")[-2000:]
        assert self.process.poll() is None, f"{self._command[0]} ended:\n{said}"
        return self.ready()

    def _end(self, number: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(number)
            self.process.wait(20)
            self.process = None

    def kill(self) -> None:
        """As a crash would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """In good order."""
        self._end(signal.SIGTERM)

    def freeze(self) -> None:
        """It takes connections and answers nothing, until `thaw`."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on after `freeze`."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)


class RedisServer(Server):
    """A Redis that keeps nothing."""

    @property
    def url(self) -> str:
        """As `bridge.url` takes it."""
        return f"redis://127.0.0.1:{self.port}/0"


@contextmanager
def redis_server(*options: str) -> Iterator[RedisServer]:
    """A running Redis."""
    path = program("redis-server", "redis-server")
    with server_folder() as folder:
        port = free_port()
        command = [
            path, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
            "--dir", str(folder), "--loglevel", "warning", *options,
        ]  # fmt: skip
        server = RedisServer(command, port, folder)
        server.start()
        try:
            yield server
        finally:
            server.kill()


class PostgresServer(Server):
    """A PostgreSQL of user `dc`, without passwords."""

    def url(self, database: str = "postgres") -> str:
        """As `ledger.url` takes it."""
        return f"postgresql://dc@127.0.0.1:{self.port}/{database}"

    def ready(self) -> bool:
        """It is ready when it takes a session, not only a connection."""
        import psycopg

        try:
            psycopg.connect(self.url(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def create(self, database: str) -> str:
        """A new, empty database; its URL."""
        import psycopg
        from psycopg import sql

        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
        return self.url(database)

    def stop(self) -> None:
        """Fast shutdown: sessions are ended."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """As a crash would; its own children see it and end."""
        self._end(signal.SIGQUIT)


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """A running PostgreSQL. It refuses to run as root, so root runs it as nobody."""
    initdb = program("initdb", "postgresql", *_POSTGRES_FOLDERS)
    postgres = program("postgres", "postgresql", *_POSTGRES_FOLDERS)
    with server_folder() as folder:
        plain: list[str] = []
        if os.getuid() == 0:
            os.chown(folder, NOBODY, NOBODY)
            plain = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
            plain += ["env", f"HOME={folder}", "LC_ALL=C.UTF-8"]
        data = str(folder / "data")
        made = subprocess.run(
            [*plain, initdb, "-D", data, "-U", "dc", "-A", "trust", "--no-sync", "-E", "UTF8"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert made.returncode == 0, made.stderr
        port = free_port()
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(folder),
            "fsync": "off",
            "full_page_writes": "off",
            "shared_buffers": "32MB",
            # In its own folder, so that a killed server leaves nothing in the machine's memory.
            "dynamic_shared_memory_type": "mmap",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        command = [*plain, postgres, "-D", data, "-p", str(port), *options]
        server = PostgresServer(command, port, folder)
        server.start()
        try:
            yield server
        finally:
            server.kill()


def _answers(url: str, status: int) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return int(answer.status) == status
    except (urllib.error.URLError, OSError):
        return False


class InfluxServer(Server):
    """An influxd of version 1, the one that Debian has: the storage and line parser of the
    tests."""

    @property
    def address(self) -> str:
        """Where its HTTP listens."""
        return f"http://127.0.0.1:{self.port}"

    def ready(self) -> bool:
        """It answers /ping."""
        return _answers(f"{self.address}/ping", 204)

    def ask(self, query: str, database: str = "") -> bytes:
        """An InfluxQL query's answer, JSON."""
        told = urllib.parse.urlencode({"q": query, "db": database, "epoch": "ns"}).encode()
        with urllib.request.urlopen(f"{self.address}/query", told, timeout=10) as answer:
            body: bytes = answer.read()
            return body


@contextmanager
def influx_server() -> Iterator[InfluxServer]:
    """A running influxd."""
    path = program("influxd", "influxdb")
    with server_folder() as folder:
        port, inner = free_port(), free_port()
        (folder / "influxdb.conf").write_text(
            f'reporting-disabled = true\nbind-address = "127.0.0.1:{inner}"\n'
            f'[meta]\ndir = "{folder}/meta"\n'
            f'[data]\ndir = "{folder}/data"\nwal-dir = "{folder}/wal"\nindex-version = "tsi1"\n'
            f'[http]\nbind-address = "127.0.0.1:{port}"\n[monitor]\nstore-enabled = false\n'
        )
        server = InfluxServer([path, "-config", str(folder / "influxdb.conf")], port, folder)
        server.start()
        try:
            yield server
        finally:
            with contextlib.suppress(ProcessLookupError):
                server.kill()


class PrometheusServer(Server):
    """A Prometheus that scrapes once a second."""

    @property
    def address(self) -> str:
        """Where its API listens."""
        return f"http://127.0.0.1:{self.port}"

    def ready(self) -> bool:
        """It takes queries."""
        return _answers(f"{self.address}/-/ready", 200)

    def ask(self, call: str, **arguments: str) -> Any:
        """What its API answers, the data of it."""
        told = urllib.parse.urlencode(arguments)
        try:
            with urllib.request.urlopen(f"{self.address}/api/v1/{call}?{told}", timeout=10) as got:
                return json.loads(got.read())["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{call} {arguments}: {error.read().decode()}") from None

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The rows of an expression, now."""
        rows: list[dict[str, Any]] = self.ask("query", query=expression)["result"]
        return rows


@contextmanager
def prometheus_server(target: str, rules: Path, interval_s: int = 1) -> Iterator[PrometheusServer]:
    """A running Prometheus that reads a target's /metrics (host:port) and works out these rules."""
    path = program("prometheus", "prometheus")
    with server_folder() as folder:
        port = free_port()
        text = re.sub(r"interval: \d+s", f"interval: {interval_s}s", rules.read_text())
        (folder / "rules.yml").write_text(text)
        (folder / "prometheus.yml").write_text(
            f"global: {{scrape_interval: {interval_s}s, evaluation_interval: {interval_s}s}}\n"
            "rule_files: [rules.yml]\n"
            "scrape_configs: [{job_name: data-controller, static_configs: "
            f"[{{targets: ['{target}']}}]}}]\n"
        )
        command = [
            path, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn",
        ]  # fmt: skip
        server = PrometheusServer(command, port, folder)
        server.start()
        try:
            yield server
        finally:
            server.kill()


S3RVER = "s3rver@3.7.1"
NODE_FOLDER = Path(tempfile.gettempdir()) / "dc-node"
"""Where `.ci/run` installs it."""
S3_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "S3RVER",
    "AWS_SECRET_ACCESS_KEY": "S3RVER",
    # As for any server older than 2025: it does not know checksums that follow the content.
    "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
    "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""What a client of it must have in its environment."""


class S3Server(Server):
    """An s3rver with one bucket, `lake`, that keeps its objects in files."""

    def uri(self, folder: str = "", bucket: str = "lake") -> str:
        """As `lake.store` takes it."""
        options = f"region=us-east-1&scheme=http&endpoint_override=127.0.0.1:{self.port}"
        return f"s3://{bucket}/{folder}?{options}"

    def object(self, name: str) -> Path:
        """The file in which it keeps an object's content."""
        return self.folder / "objects" / "lake" / f"{name}._S3rver_object"


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """A running s3rver; its clients need S3_ENVIRONMENT."""
    bin_folder = str(NODE_FOLDER / "node_modules" / ".bin")
    package = f"nodejs npm; npm install --prefix {NODE_FOLDER} {S3RVER}"
    path = program("s3rver", package, bin_folder)
    with server_folder() as folder:
        port = free_port()
        # The cipher of its tokens for long listings is one that newer nodes have only so.
        command = [
            program("node", "nodejs"), "--openssl-legacy-provider", path,
            "--directory", str(folder / "objects"), "--address", "127.0.0.1",
            "--port", str(port), "--no-vhost-buckets", "--silent", "--configure-bucket", "lake",
        ]  # fmt: skip
        server = S3Server(command, port, folder)
        server.start()
        try:
            yield server
        finally:
            server.kill()
