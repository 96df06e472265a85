"""The compose files: valid by the compose schema, pinned, on loopback only, and without secrets."""

import re
import subprocess
import sys
from typing import Any

import pytest
import yaml

from schemas.settings import HttpSettings, InfluxSettings
from tests.helpers import ROOT

DEPLOY = ROOT / "deploy"
FILES = sorted(DEPLOY.glob("compose*.yaml"))


def read(name: str) -> Any:
    return yaml.safe_load((DEPLOY / name).read_text(encoding="utf-8"))


def services() -> dict[str, Any]:
    return read("compose.yaml")["services"]


def check_schema(path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [
            sys.executable, "-m", "check_jsonschema",
            "--builtin-schema", "vendor.compose-spec", str(path),
        ],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_compose_schema_takes_it(path):
    done = check_schema(path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_schema_refuses_what_is_no_compose_file(tmp_path):
    path = tmp_path / "compose.yaml"
    path.write_text("services:\n  a: {image: x:1, restrat: always}\n")
    assert check_schema(path).returncode == 1


def test_every_image_is_one_exact_version_and_the_database_is_a_two():
    images = {name: service["image"] for name, service in services().items()}
    for name, image in images.items():
        assert re.fullmatch(r"[a-z/]+:v?\d+\.\d+\.\d+", image), name
    assert images["influxdb"] == images["backup"]
    assert images["influxdb"].startswith("influxdb:2.")


def test_every_port_is_on_loopback_and_everything_starts_again():
    for name, service in services().items():
        assert service["restart"] == "unless-stopped", name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        assert "healthcheck" in service or name == "backup", name
    assert services()["influxdb"]["ports"] == ["127.0.0.1:8086:8086"]
    assert services()["influxdb"]["healthcheck"]["test"] == ["CMD", "influx", "ping"]


def test_data_lies_in_named_volumes_and_backups_do_not():
    named = set(read("compose.yaml")["volumes"])
    mounts = [mount.split(":")[0] for mount in services()["influxdb"]["volumes"]]
    assert set(mounts) == {"influx-data", "influx-config"} <= named
    (backup,) = services()["backup"]["volumes"]
    assert backup.startswith("${BACKUP_FOLDER:-./backup}:")


def test_the_settings_that_stand_twice_are_the_same():
    environment = services()["influxdb"]["environment"]
    settings = InfluxSettings()
    assert environment["DOCKER_INFLUXDB_INIT_ORG"] == settings.org
    assert environment["DOCKER_INFLUXDB_INIT_BUCKET"] == settings.buckets.fast.name
    assert environment["DOCKER_INFLUXDB_INIT_RETENTION"] == f"{settings.buckets.fast.days * 24}h"
    assert settings.url == "http://127.0.0.1:8086"
    for name in ("prometheus.yml", "prometheus.linux.yml"):
        ((target,),) = [
            static["targets"]
            for job in read(name)["scrape_configs"]
            for static in job["static_configs"]
        ]
        assert target.endswith(f":{HttpSettings().port}")


def test_every_file_that_is_mounted_is_there():
    whole = [read(path.name) for path in FILES]
    mounts = [
        mount.split(":")[0]
        for one in whole
        for service in one["services"].values()
        for mount in service.get("volumes", [])
    ]
    mounts += [one["file"] for made in whole for one in made.get("configs", {}).values()]
    for mount in mounts:
        if mount.startswith("./"):
            assert (DEPLOY / mount).exists(), mount


def test_no_secret_stands_in_a_file_that_is_kept(tmp_path):
    done = subprocess.run(
        [str(DEPLOY / "secrets"), str(tmp_path)], capture_output=True, text=True, check=True
    )
    made = {path.name for path in tmp_path.iterdir()}
    wanted = {name for service in services().values() for name in service.get("env_file", [])} | {
        "influx.token",
        "postgres.env",
    }
    assert made == wanted
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in tmp_path.iterdir())
    token = (tmp_path / "influx.token").read_text().strip()
    assert re.fullmatch(r"[0-9a-f]{64}", token)
    assert token not in done.stdout
    assert f"DOCKER_INFLUXDB_INIT_ADMIN_TOKEN={token}\n" in (tmp_path / "influx.env").read_text()
    assert (tmp_path / "token.env").read_text() == f"INFLUX_TOKEN={token}\n"
    subprocess.run([str(DEPLOY / "secrets"), str(tmp_path)], check=True, capture_output=True)
    assert (tmp_path / "influx.token").read_text().strip() == token
    ignored = subprocess.run(
        ["git", "check-ignore", *[f"deploy/{name}" for name in wanted]],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if ignored.returncode == 128:
        pytest.skip("not a git tree")
    assert len(ignored.stdout.split()) == len(wanted)


def test_grafana_finds_its_sources_and_shows_nothing_that_is_not_there():
    told = read("grafana/provisioning/datasources/datasources.yml")
    sources = {one["uid"]: one for one in told["datasources"]}
    assert len(sources) == len(told["datasources"]) == 5
    environment = services()["grafana"]["environment"]
    for uid, one in sources.items():
        assert one["type"] == uid.split("-")[0]
        assert one["url"].removeprefix("$") in environment
        if one["type"] == "influxdb":
            (secret,) = one["secureJsonData"].values()
            assert secret.removeprefix("Token ") == "$INFLUX_TOKEN"
            wants_header = "httpHeaderValue1" in one["secureJsonData"]
            assert (one["jsonData"].get("httpHeaderName1") == "Authorization") == wants_header
