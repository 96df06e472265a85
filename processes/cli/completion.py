"""completion: what a shell must know to complete dcctl by TAB.

Typer answers a shell that asks; its own scripts for zsh and fish look for `dcctl` on PATH, where it
is not. So the scripts are ours and name this tree's `scripts/dcctl`, whatever folder one is in.
"""

import shlex
from typing import Final

from processes.cli.screen import say
from processes.places import ROOT
from schemas.errors import UsageError

ASKING: Final = "_DCCTL_COMPLETE"
"""The variable by which a shell asks; scripts/dcctl prepares nothing where it is set."""
RECIPES: Final = {
    "bash": """\
# In ~/.bashrc:  source <(PROGRAM completion bash)
_dcctl() {
    local IFS=$'\\n'
    COMPREPLY=($(COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD ASKING=complete_bash PROGRAM))
}
complete -o default -F _dcctl dcctl ./scripts/dcctl
""",
    "zsh": """\
# In ~/.zshrc, behind compinit:  source <(PROGRAM completion zsh)
_dcctl() {
    eval "$(_TYPER_COMPLETE_ARGS="${words[1,$CURRENT]}" ASKING=complete_zsh PROGRAM)"
}
compdef _dcctl dcctl ./scripts/dcctl
""",
    "fish": """\
# PROGRAM completion fish > ~/.config/fish/completions/dcctl.fish
function __dcctl
    env _TYPER_COMPLETE_FISH_ACTION=$argv[1] _TYPER_COMPLETE_ARGS=(commandline -cp) \\
        ASKING=complete_fish PROGRAM
end
complete --command dcctl --no-files --condition '__dcctl is-args' --arguments '(__dcctl get-args)'
""",
}
"""What each shell is told."""


def show_script(shell: str) -> None:
    """Print what a shell is told.

    Raises:
        UsageError: no such shell.
    """
    if shell not in RECIPES:
        raise UsageError(f"no completion for {shell}: type one of {', '.join(RECIPES)}")
    program = shlex.quote(str(ROOT / "scripts" / "dcctl"))
    say(RECIPES[shell].replace("PROGRAM", program).replace("ASKING", ASKING).rstrip())


def make_ready() -> None:
    """Have Typer know how shells ask, which it otherwise does for its own two options alone."""
    from typer.completion import get_completion_inspect_parameters

    get_completion_inspect_parameters()
