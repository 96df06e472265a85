"""The supervisor: one blocking loop over children, commands and samples.

It starts children in stages (readers before writers), stops them in order (orders first, storage
last), and leaves nothing behind: no process, no segment, no socket. Started by `dcctl start`;
launchd and systemd run it in the foreground, and are told how it is (`notify.py`).
"""

import os
import resource
import signal
import socket
from pathlib import Path
from typing import IO, Any, Final

import msgspec

from config.loader import ROOT, differences, effect_of
from processes.bus import Bus
from processes.changes import load_with_changes
from processes.clock import Clock, measure_offset_ns, monotonic_s, utc_text
from processes.files import write_whole
from processes.killswitch import pull
from processes.latch import read_latch
from processes.logs import open_log
from processes.places import CONFIG, SOCKET_SUFFIXES, Paths, Resolved, lock, resolve
from processes.rings import enabled_venues
from processes.sessions import SessionFolder, refuse_mixed
from processes.supervisor.awake import stay_awake
from processes.supervisor.child import Child, ChildSpec, State
from processes.supervisor.http import Endpoint
from processes.supervisor.memory import open_memory
from processes.supervisor.notify import Manager
from processes.supervisor.shutdown import Shutdown
from processes.supervisor.status import Observer
from processes.supervisor.tables import Allotment
from processes.wake import WakeWatch
from schemas.alerts import check_secrets
from schemas.brokers import FreqtradeAccount
from schemas.control import Mode, Word
from schemas.databases import with_secrets
from schemas.errors import ConfigError, OperatorError, ShutDownError
from schemas.messages import ConfigChanged, ProcessChanged
from schemas.settings import Settings
from schemas.trading import KillLevel

NAME: Final = "supervisor"
TURN_MS: Final = 20
BOT_NAME_MAX: Final = len("collector.bitfinex") - len("bot.")
"""Paths of sockets have room for the longest name of a process there was."""
FILES: Final = 8192
"""Open files a process may have."""
KILL_LEVELS: Final = {level.name.lower(): level for level in KillLevel if level}
CRITICAL: Final = frozenset({"storage", "execution", "inference", "features", "collector"})


def child_specs(settings: Settings) -> list[ChildSpec]:
    """The children of a configuration."""

    def spec(name: str, stage: int, stop_order: int, module: str = "") -> ChildSpec:
        path = f"processes.{module or name}.main"
        return ChildSpec(
            name=name, module=path, stage=stage, stop_order=stop_order,
            is_critical=(module or name) in CRITICAL,
        )  # fmt: skip

    specs = [spec("simulator", 0, 4)] if settings.simulator.enabled else []
    specs += [spec("influx", 0, 4)] if settings.influx.enabled else []
    specs += [spec("archive", 0, 4)] if settings.lake.store else []
    specs += [spec("retraining", 0, 4)] if settings.retraining.families else []
    specs += [spec("alerts", 0, 5)] if settings.alerts.channels else []
    if settings.bridge.enabled:
        specs.append(spec("bridge", 0, 5))
    specs += [
        spec("storage", 0, 5),
        spec("execution", 1, 0),
        spec("inference", 1, 1),
        spec("features", 1, 2),
    ]
    specs += [bot(name) for name in bots_of(settings)]
    specs += [spec(f"collector.{v}", 2, 3, "collector") for v in enabled_venues(settings)]
    console = settings.console
    specs += [spec("console", 3, 5)] if console.enabled and not console.outside else []
    return specs


def bots_of(settings: Settings) -> list[str]:
    """Accounts whose Freqtrade bot is started here.

    Raises:
        ConfigError: a name is too long for the sockets of a keeper.
    """
    accounts = settings.execution.accounts
    bots = [n for n, one in accounts.items() if isinstance(one, FreqtradeAccount) and one.command]
    for name in bots:
        if len(name) > BOT_NAME_MAX:
            raise ConfigError(
                f"execution.accounts.{name}.command: an account whose bot is started here has a "
                f"name of {BOT_NAME_MAX} letters at most"
            )
    return bots


def bot(account: str) -> ChildSpec:
    """A bot's keeper. It stops after execution, whose last orders it takes."""
    return ChildSpec(
        name=f"bot.{account}", module="processes.keeper.main", stage=1, stop_order=1,
        is_waited_for=False, ends_its_own=True,
    )  # fmt: skip


def outsiders(settings: Settings) -> list[str]:
    """Who has a place here and is started by somebody else."""
    console = settings.console
    return ["console"] if console.enabled and console.outside else []


class Supervisor:
    """One instance's supervisor."""

    def __init__(
        self, settings: Settings, paths: Paths, profile_file: Path | None, held: IO[str]
    ) -> None:
        self._held = held
        """The lock: it is ours while this file is open."""
        self._settings = settings
        self._paths = paths
        self._file = profile_file
        self._stopping = False
        self._reload_asked = False
        self._stop_reason = ""
        self._log = open_log(paths.logs, NAME, settings.log, Clock(measure_offset_ns()).now_ns)
        self._endpoint = Endpoint(settings.http.port)
        specs = child_specs(settings)
        names = [NAME, *(spec.name for spec in specs), *outsiders(settings)]
        self._memory = open_memory(settings, paths.run, paths.data, names, self._log)
        self._session = SessionFolder(paths.data, self._memory.registry.session)
        self._generation = self._session.generation_for(settings)
        self._put_in_force(settings)
        self._clock = Clock(self._memory.registry.clock_offset_ns)
        self._set_words()
        self._children = [
            Child(
                spec,
                self._memory.control.find(spec.name),
                self._memory.control,
                settings.supervisor,
                paths.run,
                paths.logs,
                self._log,
            )
            for spec in specs
        ]
        self._observer = Observer(
            self._memory, self._children, self._clock, paths.data, settings.profile
        )
        self._bus = Bus(paths.run, NAME)
        self._endpoint.begin(self._observer, self._children)
        self._observer.endpoints["http"] = self._endpoint.url
        self._wake = WakeWatch()
        self._awake = stay_awake(self._log)
        self._manager = Manager.of_environment(os.environ)
        self._shutdown = Shutdown(2 * settings.execution.timer_s + 0.5)
        for name in ("status", "stop", "restart", "reload", "kill", "ping"):
            self._bus.on_command(name, getattr(self, f"_on_{name}"))

    # ---- before the children

    def _put_in_force(self, settings: Settings) -> None:
        """Write settings and tables where all children read them, and where a replay will."""
        resolved = Resolved(
            generation=self._generation,
            folders={
                name: str(value) for name, value in msgspec.structs.asdict(self._paths).items()
            },
            settings=settings,
        )
        content = msgspec.json.format(msgspec.json.encode(resolved), indent=1)
        write_whole(self._paths.run / CONFIG, content)
        allotment = Allotment.load(self._paths.data)
        allotment.place_all(settings, self._paths.data)
        allotment.save(self._paths.data)
        self._session.keep(resolved, allotment.tables)

    def _set_words(self) -> None:
        control = self._memory.control
        latch = read_latch(self._paths.data)
        control.set(Word.DRAINING, 0)
        control.set(Word.MODE, Mode.PAPER)
        control.set(Word.SUPERVISOR_PID, os.getpid())
        control.set(Word.CONFIG_GENERATION, self._generation)
        control.set(Word.KILL_LEVEL, latch.level)
        control.set(Word.KILL_SINCE_NS, latch.since_ns)
        control.set(Word.KILL_ACKNOWLEDGED, KillLevel.NONE)
        if latch.level:
            level = KillLevel(latch.level).name.lower()
            self._log.warning("the kill switch is on", switch=level, by=latch.by)

    # ---- the loop

    def run(self) -> None:
        """Live until told to stop; then stop everything."""
        signal.signal(signal.SIGTERM, lambda *_: self._stop("SIGTERM"))
        signal.signal(signal.SIGINT, lambda *_: self._stop("interrupted"))
        signal.signal(signal.SIGHUP, lambda *_: self._ask_reload())
        self._log.info(
            "starting",
            session=self._memory.registry.session,
            profile=self._settings.profile,
            http=self._endpoint.url,
        )
        stage = 0
        while not self._stopping:
            stage = self._start_stage(stage)
            self._turn()
            if self._reload_asked:
                self._reload_asked = False
                self._reload_by_signal()
        self._stop_all()

    def _start_stage(self, stage: int) -> int:
        """Start the children of a stage; the next stage once all before it are ready."""
        mine = [child for child in self._children if child.spec.stage == stage]
        for child in mine:
            if child.state == State.STOPPED and child.restarts == 0 and not child.pid:
                child.start()
        settled = {State.READY, State.FAILED}
        if all(child.state in settled for child in mine if child.spec.is_waited_for) and mine:
            return stage + 1
        return stage

    def _turn(self) -> None:
        self._bus.commands.poll(TURN_MS)
        self._bus.serve_commands()
        self._watch_sleep()
        now_ns = self._clock.now_ns()
        for child in self._children:
            if child.tick(now_ns):
                state = ProcessChanged(
                    process=child.spec.name,
                    state=child.state.value,
                    time_ns=now_ns,
                    text=child.exit_text,
                )
                self._bus.publish(state)
        self._observer.sample()
        self._look_at_switch()
        fresh = all(child.is_fresh(now_ns) for child in self._children if child.spec.is_critical)
        self._manager.look(self._observer.state(), fresh=fresh)

    def _watch_sleep(self) -> None:
        """Nobody is killed for not having beaten while the machine slept, or all was stopped."""
        lost = self._wake.look()
        if not any(lost):
            return
        for child in self._children:
            child.forgive()
        if lost.asleep_s:
            self._log.warning(
                "the machine was asleep; the session's clock is behind by that",
                asleep_s=round(lost.asleep_s, 1),
            )
        else:
            self._log.warning("nothing ran for a while", stopped_s=round(lost.stopped_s, 1))

    def _look_at_switch(self) -> None:
        """The kill switch's level `shutdown` ends the instance, once nothing is open."""
        control = self._memory.control
        reason = self._shutdown.due(
            control.get(Word.KILL_LEVEL), control.get(Word.KILL_ACKNOWLEDGED),
            self._observer.still_open(), monotonic_s(),
        )  # fmt: skip
        if reason is not None:
            self._stop(reason)

    def _stop(self, reason: str) -> None:
        self._stop_reason = self._stop_reason or reason
        self._stopping = True

    def _stop_all(self) -> None:
        self._log.info("stopping", reason=self._stop_reason)
        self._manager.stopping()
        self._memory.control.set(Word.DRAINING, 1)
        for order in sorted({child.spec.stop_order for child in self._children}):
            mine = [child for child in self._children if child.spec.stop_order == order]
            for child in mine:
                child.stop()
            while any(child.state == State.DRAINING for child in mine):
                self._turn()
        self._endpoint.close()
        self._bus.close()
        self._memory.remove(self._paths.run)
        (self._paths.run / CONFIG).unlink(missing_ok=True)
        for leftover in self._paths.run.iterdir():
            if leftover.suffix in SOCKET_SUFFIXES:
                leftover.unlink()
        self._log.info("stopped")
        self._manager.close()
        if self._awake is not None:
            self._awake.terminate()
            self._awake.wait()
        self._held.close()

    # ---- commands

    def _on_ping(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"process": NAME, "pid": os.getpid()}

    def _on_status(self, _: dict[str, Any]) -> Any:
        return msgspec.to_builtins(self._observer.status())

    def _on_stop(self, _: dict[str, Any]) -> dict[str, Any]:
        self._stop("dcctl stop")
        return {
            "segments": [entry.name for entry in self._memory.registry.segments],
            "pids": [child.pid for child in self._children if child.pid],
        }

    def _on_restart(self, arguments: dict[str, Any]) -> list[str]:
        wanted = arguments.get("processes") or [child.spec.name for child in self._children]
        known = {child.spec.name: child for child in self._children}
        for name in wanted:
            if name not in known:
                raise OperatorError(f"no process {name}; there are {', '.join(known)}")
        for name in wanted:
            known[name].restart()
        return list(wanted)

    def _on_kill(self, arguments: dict[str, Any]) -> Any:
        name = str(arguments.get("level", "")).lower()
        if name not in KILL_LEVELS:
            raise OperatorError(f"no level {name!r}; there are {', '.join(KILL_LEVELS)}")
        level = KILL_LEVELS[name]
        by = str(arguments.get("by", "a command"))
        result = pull(self._memory.registry, self._paths, level, by, self._clock.now_ns())
        return msgspec.to_builtins(result)

    def _on_reload(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Load, validate, compare, classify; take all of it or nothing.

        With `trial`, the path of other changes than those that are kept: say what would come of it.
        """
        trial = arguments.get("trial")
        overlay = Path(str(trial)) if trial else None
        try:
            fresh = load_with_changes(self._settings.profile, self._file, overlay=overlay)
            fresh = with_ports(fresh, self._settings)
            refuse_mixed(self._paths.data, fresh)
        except ConfigError as error:
            raise OperatorError(f"nothing was changed: {error}") from None
        changed = differences(self._settings, fresh)
        refused = [key for key in changed if effect_of(key) is None]
        if refused:
            raise OperatorError(
                f"nothing was changed: {', '.join(refused)} can only change with a stop and start"
            )
        restarts = sorted({name for key in changed for name in effect_of(key) or ()})
        if changed and overlay is None:
            self._generation += 1
            self._settings = fresh
            self._put_in_force(fresh)
            self._memory.control.set(Word.CONFIG_GENERATION, self._generation)
            for child in self._children:
                child.obey(fresh.supervisor)
                if child.spec.name in restarts:
                    child.restart()
            keys = list(changed)
            self._log.info("settings changed", generation=self._generation, keys=keys)
            self._bus.publish(
                ConfigChanged(generation=self._generation, time_ns=self._clock.now_ns(), keys=keys)
            )
        return {
            "generation": self._generation,
            "changed": {key: [old, new] for key, (old, new) in changed.items()},
            "restarted": restarts,
        }

    def _ask_reload(self) -> None:
        self._reload_asked = True

    def _reload_by_signal(self) -> None:
        self._manager.reloading()
        try:
            self._on_reload({})
        except OperatorError as error:
            self._log.error("reload refused", reason=str(error))
        self._manager.reloaded()


def with_ports(settings: Settings, running: Settings | None = None) -> Settings:
    """Settings with the simulator's port filled in: the running one's, or a free one."""
    simulator = settings.simulator
    if not simulator.enabled or simulator.port:
        return settings
    if running is not None:
        port = running.simulator.port
    else:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
    return msgspec.structs.replace(
        settings, simulator=msgspec.structs.replace(simulator, port=port)
    )


def refuse_shut_down(data: Path) -> None:
    """An instance that the kill switch has shut down stays so until somebody arms it.

    Raises:
        ShutDownError: it is shut down.
    """
    latch = read_latch(data)
    if latch.level >= KillLevel.SHUTDOWN:
        raise ShutDownError(
            f"the kill switch stands at shutdown (by {latch.by}, {utc_text(latch.since_ns)}): "
            "dcctl arm releases it, then start again"
        )


def supervise(profile: str, file: Path | None) -> None:
    """Start an instance in this process and live with it to its end.

    Raises:
        ConfigError: nothing was started. OperatorError: it cannot run here and now.
    """
    settings = with_ports(load_with_changes(profile, file))
    for key, url in (("ledger.url", settings.ledger.url), ("history.url", settings.history.url)):
        with_secrets(key, url, os.environ)
    check_secrets(settings.alerts, os.environ)
    paths = resolve(settings, ROOT)
    refuse_shut_down(paths.data)
    held = lock(paths.run)
    allow_files()
    Supervisor(settings, paths, file, held).run()


def allow_files() -> None:
    """Raise the soft limit of open files, which children inherit; a Mac's login begins with 256."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
