"""install and uninstall: the supervisor as a service of this machine."""

import os
from pathlib import Path

from config.loader import DEFAULT_PROFILE, ROOT
from processes.changes import load_with_changes
from processes.cli.screen import complain, say
from processes.operations.services import Machine, Wanted, service_of, this_machine
from processes.places import is_locked, lock_owner, resolve
from schemas.errors import OperatorError

LATER = {
    "launchd": "it starts with your login and ends with it; on a machine without a screen, switch "
    "automatic login on",
    "systemd": "it starts with your login and ends with your last logout; to have it always: "
    "loginctl enable-linger",
}


def install(
    profile: str, config: Path | None, *, dry_run: bool, machine: Machine | None = None
) -> None:
    """Make the service, load it and start it; or only show its file.

    Raises:
        ConfigError: its settings are wrong. OperatorError: an instance runs that it did not start,
            or the manager refuses.
    """
    service = service_of(machine or this_machine(), ROOT)
    settings = load_with_changes(profile or DEFAULT_PROFILE, config)
    paths = resolve(settings, ROOT)
    wanted = Wanted(
        root=ROOT,
        logs=paths.logs,
        profile=settings.profile,
        config=config.resolve() if config is not None else None,
    )
    if dry_run:
        say(f"# {service.path}")
        say(service.file(wanted).decode())
        return
    if is_locked(paths.run) and lock_owner(paths.run) != service.pid():
        raise OperatorError(
            "Data Controller runs here, and not as a service: dcctl stop, then dcctl install"
        )
    if mine := sorted(name for name in os.environ if name.startswith("DC__")):
        complain(
            f"the service does not get {', '.join(mine)} of this shell: put them into "
            "config/config.yml"
        )
    if not service.install(wanted):
        say(f"{service.name} is installed already, and runs")
        return
    say(f"{service.name} is installed ({service.path}) and starts now: dcctl status")
    say(LATER[service.manager])


def uninstall(*, machine: Machine | None = None) -> None:
    """End the service and remove its file; data, logs and settings stay."""
    service = service_of(machine or this_machine(), ROOT)
    if service.uninstall():
        say(f"{service.name} is stopped and removed; data, logs and settings stay as they are")
    else:
        say("no service is installed")


def service_line() -> str:
    """For `dcctl status`: asks nobody, so it costs nothing."""
    try:
        service = service_of(this_machine(), ROOT)
    except OperatorError:
        return "service: none"
    return f"service: {service.name if service.is_installed() else 'none; dcctl install makes one'}"
