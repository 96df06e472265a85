"""`launchctl` and `systemctl` for tests: programs on PATH that answer from a table, and strictly.

They stand where no manager is, or a real one must not be touched. Each call is a line of JSON in
`calls.jsonl`; a verb's answers are given in order, the last one for ever. A verb that the table
does not have ends with 64, and `verbs` fails on it.
"""

import json
import os
import stat
import sys
from pathlib import Path

PROGRAM = """\
#!{python} -IS
import json, os, sys
folder = {folder!r}
words = [os.path.basename(sys.argv[0]), *sys.argv[1:]]
with open(folder + "/calls.jsonl", "a") as log:
    log.write(json.dumps(words) + "\\n")
verb = next(word for word in words[1:] if not word.startswith("--"))
with open(folder + "/table.json") as file:
    answers = json.load(file)
if not answers.get(verb):
    sys.exit(64)
code, text = answers[verb].pop(0) if len(answers[verb]) > 1 else answers[verb][0]
with open(folder + "/table.json", "w") as file:
    json.dump(answers, file)
print(text)
sys.exit(code)
"""


class FakeManager:
    """The two programs in a folder that a test puts first on PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        for name in ("launchctl", "systemctl"):
            path = folder / name
            path.write_text(PROGRAM.format(python=sys.executable, folder=str(folder)))
            path.chmod(path.stat().st_mode | stat.S_IXUSR)
        self.table()

    @property
    def path(self) -> str:
        """PATH with them first."""
        return f"{self.folder}{os.pathsep}{os.environ['PATH']}"

    def table(self, **answers: list[tuple[int, str]]) -> None:
        """What each verb answers, `daemon_reload` for daemon-reload; and forget what was called."""
        told = {verb.replace("_", "-"): found for verb, found in answers.items()}
        (self.folder / "table.json").write_text(json.dumps(told))
        (self.folder / "calls.jsonl").write_text("")

    def calls(self) -> list[list[str]]:
        """Every call since then, program and arguments."""
        lines = (self.folder / "calls.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def verbs(self) -> list[str]:
        """The first word of each that is no option; what repeats is told once."""
        found = [next(w for w in call[1:] if not w.startswith("--")) for call in self.calls()]
        known = json.loads((self.folder / "table.json").read_text())
        assert set(found) <= set(known), f"strange calls: {set(found) - set(known)}"
        return [verb for at, verb in enumerate(found) if at == 0 or found[at - 1] != verb]
