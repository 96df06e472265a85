"""console: the address of the page, and a browser that opens it."""

import os
import sys
import webbrowser

from processes.bus import request
from processes.cli.screen import say, say_json
from processes.operations.instance import running_paths
from processes.places import read_settings
from schemas.errors import OperatorError

PROCESS = "console"
START_S = 15.0
"""It may just be starting."""


def show_console(*, no_browser: bool, as_json: bool) -> None:
    """Print the address, which opens the page once within a minute; open it where that can be.

    Raises:
        OperatorError: the console is switched off, or does not answer.
    """
    paths = running_paths()
    if not read_settings(paths.run)[0].console.enabled:
        raise OperatorError("console.enabled is false: set it to true, then stop and start")
    told = request(paths.run, PROCESS, "login", timeout_s=START_S)
    if as_json:
        say_json(told)
        return
    say(f"{told['url']}\n(good once, within a minute; afterwards {told['address']})")
    say(f"the API's token is in {told['token_file']}; its calls: {told['address']}/docs")
    if not no_browser and sys.stdout.isatty() and _has_display():
        webbrowser.open(told["url"])


def _has_display() -> bool:
    return sys.platform == "darwin" or any(
        os.environ.get(n) for n in ("DISPLAY", "WAYLAND_DISPLAY")
    )
