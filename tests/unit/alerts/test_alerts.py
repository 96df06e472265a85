"""The child itself: it looks, tells real servers, remembers over its death, and harms nobody."""

import contextlib
import json
import os
import signal
import threading
import time

import msgspec
import psutil
import pytest

from processes.alerts.book import Memory
from processes.bus import Bus, request
from processes.cli.alerting import acknowledge, send_tests, show_alerts
from processes.places import lock
from schemas.control import Word
from schemas.errors import OperatorError
from schemas.messages import AccountAlarmed, KillSwitchStatus, ProcessStatus, Status
from tests.helpers import python, wait_until
from tests.instances import bare_instance
from tests.planted import Search, plant
from tests.unit.alerts.receivers import Web, hanging, serving


class Supervisor(threading.Thread):
    """What a supervisor says on its bus, as the test has it; it has no children."""

    def __init__(self, run):
        super().__init__()
        self.states = {"features": "ready"}
        self.level = "none"
        self.facts = []
        self._run_folder = run
        self._over = threading.Event()
        self.bus = Bus(run, "supervisor")
        self.bus.on_command("status", lambda _: msgspec.to_builtins(self.status()))

    def status(self):
        processes = [
            ProcessStatus(name=name, pid=1, state=state, restarts=0, uptime_s=1.0, rss_bytes=1,
                          heartbeat_age_ms=1.0, detail="boom")
            for name, state in self.states.items()
        ]  # fmt: skip
        return Status(
            state="running", profile="demo", mode="paper", rung="mlx",
            kill_switch=KillSwitchStatus(level=self.level, latched_by="a test", since="now"),
            processes=processes, rings=[], latency_us={}, endpoints={},
        )  # fmt: skip

    def run(self):
        while not self._over.is_set():
            self.bus.commands.poll(10)
            self.bus.serve_commands()
            while self.facts:
                self.bus.publish(self.facts.pop())
        self.bus.close()

    def end(self):
        self._over.set()
        self.join()


class House:
    """An instance with an alerts child and a supervisor to ask."""

    def __init__(self, instance, *, begun):
        self.instance = instance
        self.memory = instance.open()
        self.run = instance.paths.run
        self.supervisor = Supervisor(self.run)
        self.supervisor.start()
        self.kept = instance.paths.data / "state" / "alerts.json"
        self.child = None
        if begun:
            self.begin()

    def begin(self):
        arguments = ("--run", str(self.run), "--name", "alerts")
        self.child = python("-m", "processes.alerts.main", *arguments)

    def said(self):
        return self.memory.control.row(self.memory.control.find("alerts")).text

    def log(self):
        path = self.instance.paths.logs / "alerts.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def listed(self):
        return request(self.run, "alerts", "list")

    def wait(self, condition, what=""):
        def holds():
            assert self.child.poll() is None, (self.child.communicate(), self.log())
            return condition()

        wait_until(holds, 30, what)

    def end(self):
        self.child.terminate()
        assert self.child.wait(20) == 0, self.child.communicate()
        self.child.communicate()

    def kill(self):
        self.child.kill()
        self.child.communicate()

    def close(self):
        if self.child is not None and self.child.poll() is None:
            self.kill()
        self.supervisor.end()


@pytest.fixture
def web():
    with serving(Web()) as one:
        yield one


@pytest.fixture
def house(web):
    made = []

    def begin(*, begun=True, **alerts):
        wanted = {
            "label": "demo", "check_s": 0.1, "disk_low_bytes": 0, "mute": ["memory_low"],
            "backoff_first_s": 0.1, "channels": {"hook": {"url": f"json://{web.where}/hook"}},
        }  # fmt: skip
        instance = context.enter_context(bare_instance(alerts={**wanted, **alerts}))
        instance.put_in_force()
        made.append(House(instance, begun=begun))
        return made[-1]

    with contextlib.ExitStack() as context:
        yield begin
        for one in made:
            one.close()


def test_it_tells_what_is_wrong_once_over_its_own_death_and_when_it_is_over(house, web):
    mine = house(heartbeat={"url": f"http://{web.where}/ping", "every_s": 0.1})
    mine.wait(lambda: web.asked.count("/ping") > 1, "the heart beats")
    mine.supervisor.states["features"] = "failed"
    mine.wait(lambda: web.posted, "it is told")
    (posted,) = web.posted
    beats = web.asked.count("/ping")
    assert posted["title"] == "[critical] demo: process_failed.features"
    assert "To do: dcctl logs features" in posted["message"]
    mine.wait(lambda: mine.said() == "1 alerts, 1 critical")
    (told,) = mine.listed()["alerts"]
    assert told["name"] == "process_failed.features"
    # The channel's answer is written down a moment after the channel has it.
    mine.wait(lambda: mine.listed()["alerts"][0]["told"] == ["hook"], "that it was told")
    assert "alert" in [line["event"] for line in mine.log()]

    mine.kill()
    mine.begin()
    mine.supervisor.level = "pause"
    mine.wait(lambda: len(web.posted) > 1, "the next one is told")
    assert [t.split()[-1] for t in web.titles()] == ["process_failed.features", "kill_switch"]
    mine.end()
    kept = msgspec.json.decode(mine.kept.read_bytes(), type=Memory)
    assert set(kept.alerts) == {"process_failed.features", "kill_switch"}
    # While something critical lasts the heart stands still; one beat may have been under way.
    assert web.asked.count("/ping") <= beats + 1


def test_a_channel_that_hangs_and_one_that_refuses_keep_no_other_from_being_told(house, web):
    secret = plant("hanging-channel")
    with hanging() as where, serving(Web()) as refusing:
        refusing.code = 401
        channels = {
            "hanging": {"url": "${DC_TEST_HANGING}", "timeout_s": 0.5},
            "refusing": {"url": f"json://{refusing.where}/"},
            "hook": {"url": f"json://{web.where}/hook"},
        }
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DC_TEST_HANGING", f"json://user:{secret}@{where}/{secret}")
            mine = house(channels=channels)
        mine.supervisor.level = "pause"
        mine.wait(lambda: "channel_failing" in " ".join(web.titles()), "the third says so")
        assert "[critical] demo: kill_switch" in web.titles()
        mine.wait(lambda: mine.listed()["channels"][0]["failures"] > 1)
        states = {one["name"]: one["reason"] for one in mine.listed()["channels"]}
        assert states["hanging"] == "it took longer than timeout_s"
        assert states["refusing"] == "it answered with error 401"
        rows = mine.memory.control
        beats = rows.row(rows.find("alerts")).beats
        mine.wait(lambda: rows.row(rows.find("alerts")).beats > beats, "and it goes on")
        couriers = psutil.Process(mine.child.pid).children()
        mine.end()
        assert not [one for one in couriers if one.is_running() and one.status() != "zombie"]
        search = Search({"the secret": secret})
        assert search.in_folder(mine.instance.folder) == []
        assert search.in_text("list", json.dumps(states)) == []


ORPHANS = """
import os, subprocess, sys
guard, ours = os.pipe()
child = subprocess.Popen([sys.executable, "-m", "processes.alerts.main", *sys.argv[1:],
                          "--guard", str(guard)], pass_fds=[guard])
print(child.pid, flush=True)
sys.stdin.read()
"""


def test_the_death_of_the_supervisor_is_the_last_thing_it_says(house, web):
    mine = house(begun=False)
    parent = python(
        "-c", ORPHANS, "--run", str(mine.run), "--name", "alerts", stdin=-1
    )  # fmt: skip
    child = psutil.Process(int(parent.stdout.readline()))
    rows = mine.memory.control
    index = rows.find("alerts")
    wait_until(lambda: rows.row(index).owner >> 40 == child.pid and rows.row(index).state == 2, 20)
    os.kill(parent.pid, signal.SIGKILL)
    parent.communicate()
    wait_until(lambda: web.posted, 10, "it is told")
    assert web.titles() == ["[critical] demo: supervisor_gone"]
    wait_until(lambda: not child.is_running() or child.status() == "zombie", 10, "it ends")


def test_commands_show_acknowledge_and_try(house, web, monkeypatch, capsys):
    mine = house()
    for name in ("run", "data", "logs"):
        monkeypatch.setenv(f"DC__paths__{name}", str(getattr(mine.instance.paths, name)))
    with lock(mine.run):
        mine.supervisor.level = "flatten"
        mine.wait(lambda: web.posted)
        mine.wait(lambda: mine.listed()["alerts"][0]["told"])
        show_alerts(as_json=False)
        shown = capsys.readouterr().out
        assert "critical kill_switch" in shown
        assert "to do: dcctl status says who pulled it" in shown
        acknowledge("kill_switch", as_json=True)
        assert json.loads(capsys.readouterr().out) == {"name": "kill_switch"}
        assert mine.listed()["alerts"][0]["acknowledged"]
        with pytest.raises(OperatorError, match="no alert moon lasts; there are: kill_switch"):
            acknowledge("moon", as_json=False)
        send_tests("", "", None, as_json=True)
        assert json.loads(capsys.readouterr().out) == {"hook": "taken"}
        assert web.titles()[-1] == "demo: test"
        web.code = 500
        with pytest.raises(OperatorError, match="not every channel"):
            send_tests("hook", "", None, as_json=False)
        assert capsys.readouterr().out == "hook: it answered with error 500\n"
        with pytest.raises(OperatorError, match="no channel moon; there are: hook"):
            send_tests("moon", "", None, as_json=False)
    web.code = 200
    _hears_the_bus(mine, web)
    _looks_away_while_all_stops(mine)
    mine.end()


def _hears_the_bus(mine, web):
    alarm = AccountAlarmed(account="a", code="vanished", text="7: gone", time_ns=time.time_ns())
    mine.supervisor.facts.append(alarm)
    mine.wait(lambda: web.titles()[-1] == "[critical] demo: vanished.a")


def _looks_away_while_all_stops(mine):
    mine.memory.control.set(Word.DRAINING, 1)
    # A look that was under way when the word was set may still see what comes next.
    under_way = time.monotonic() + 0.3
    mine.wait(lambda: time.monotonic() > under_way)
    mine.supervisor.states["features"] = "failed"
    looks = time.monotonic() + 0.3
    mine.wait(lambda: time.monotonic() > looks)
    assert [one["name"] for one in mine.listed()["alerts"]] == ["kill_switch", "vanished.a"]


def test_a_channel_is_tried_where_nothing_runs(web, monkeypatch, capsys, tmp_path):
    for name in ("run", "data", "logs"):
        monkeypatch.setenv(f"DC__paths__{name}", str(tmp_path / name))
    monkeypatch.setenv("DC__alerts__channels", json.dumps({"a": {"url": f"json://{web.where}/"}}))
    send_tests("a", "", None, as_json=False)
    assert capsys.readouterr().out == "a: taken\n"
    assert web.titles() == ["not running: test"]
    monkeypatch.delenv("DC__alerts__channels")
    with pytest.raises(OperatorError, match=r"alerts\.channels names none"):
        send_tests("", "", None, as_json=False)
