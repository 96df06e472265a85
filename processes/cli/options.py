"""Options that commands of several nouns have, and have alike."""

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Profile = Annotated[
    str, typer.Option("--profile", "-p", help="A file of config/profiles/; demo if not given.")
]
IdleProfile = Annotated[
    str, typer.Option("--profile", "-p", help="Of an instance that is not running; demo if absent.")
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="A further YAML file, laid over the profile.")
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
