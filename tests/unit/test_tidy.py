"""House rules that a program can check: nothing of one machine, a sentence at the head of each
file, files that fit in a head, and documents that speak of what there is."""

import ast
import io
import re
import subprocess
import tokenize
from pathlib import Path

import pytest

from config.loader import flatten, load
from processes.cli.__main__ import app
from schemas import metrics
from schemas.errors import DataControllerError
from schemas.settings import Settings
from schemas.trading import REASON_TEXT, Reason
from tests.helpers import ROOT

CODE_LINES_MAX = 450
LONGER: dict[str, str] = {}
"""Files that may be longer, each with its reason."""

# Put together here, so that this file does not hold what it looks for.
FOLDERS = ["/" + name + "/" for name in ("home", "root", "tmp", "Users", "work", "private")]
HOSTS = [".".join(parts) for parts in (("pypi", "org"), ("pythonhosted", "org"))]
INDEX = ["--" + name for name in ("index-url", "extra-index-url", "find-links", "trusted-host")]
MAY_NAME_INDEX = {"scripts/lock": "tells the resolver to leave the address out"}


def tree() -> list[Path]:
    """Every file that is kept, and those that will be: new ones that are not ignored."""
    told = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if told.returncode:
        pytest.skip("not a git tree")
    paths = [ROOT / name for name in told.stdout.splitlines()]
    return [path for path in paths if path.is_file()]


def texts() -> dict[str, str]:
    found = {}
    for path in tree():
        content = path.read_bytes()
        if b"\0" not in content:
            found[str(path.relative_to(ROOT))] = content.decode("utf-8")
    return found


def python_files() -> dict[str, str]:
    return {name: text for name, text in texts().items() if name.endswith(".py")}


def traces(name: str, text: str) -> list[str]:
    """Lines that hold a path of some machine's work folder, or a package index."""
    found = []
    words = [*FOLDERS, *HOSTS, *([] if name in MAY_NAME_INDEX else INDEX)]
    for number, line in enumerate(text.splitlines(), 1):
        for word in words:
            at = line.find(word)
            # A folder begins a path: data/home/ is none, and an address may go on with anything.
            begins = at == 0 or (at > 0 and not re.match(r"[\w.~}\-]", line[at - 1]))
            if at >= 0 and (begins or word not in FOLDERS):
                found.append(f"{name}:{number}: {line.strip()[:90]}")
    return found


def test_nothing_of_any_machine_is_in_the_tree():
    found = [trace for name, text in texts().items() for trace in traces(name, text)]
    assert not found, "\n".join(found)


def test_the_search_finds_what_it_should():
    for folder in FOLDERS:
        assert traces("a", f'path = "{folder}somebody/x"')
        assert traces("a", f"cd {folder}x")
        assert not traces("a", f"data{folder}x")
    for host in HOSTS:
        assert traces("a", f"https://files.{host}/x")
    assert traces("a", f"{INDEX[0]} x")
    assert not traces("scripts/lock", f"{INDEX[0]} x")


def test_the_lock_holds_no_address():
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert "://" not in text
    assert "--hash=sha256:" in text


def test_every_module_says_what_it_is():
    for name, text in python_files().items():
        if name.endswith("__init__.py") and not text.strip():
            assert name.startswith("tests/"), f"{name}: a package says what it is"
            continue
        words = ast.get_docstring(ast.parse(text))
        assert words, f"{name} has no docstring"
        assert len(words.split()) >= 3, f"{name}: {words}"


def code_lines(text: str) -> int:
    """Lines with code on them: no blank ones, comments or docstrings."""
    lines: set[int] = set()
    statement = True
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in {tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}:
            statement = True
        elif token.type in {tokenize.NL, tokenize.COMMENT, tokenize.ENDMARKER}:
            pass
        elif statement and token.type == tokenize.STRING:
            pass  # a docstring, of a module or of what stands before it
        else:
            statement = False
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines)


def test_code_lines_are_counted_as_said():
    text = '"""Doc\nstring."""\n\n# why\nx = 1  # here\ny = """two\nlines"""\n"""Of y."""\n'
    assert code_lines(text) == 3


def test_files_fit_in_a_head():
    long = {n: t for n, t in python_files().items() if t.count("\n") > CODE_LINES_MAX}
    sizes = {name: code_lines(text) for name, text in long.items()}
    found = {name: n for name, n in sizes.items() if n > CODE_LINES_MAX and name not in LONGER}
    assert not found, f"longer than {CODE_LINES_MAX} lines of code: {found}"
    for name in LONGER:
        assert sizes.get(name, 0) > CODE_LINES_MAX, f"{name} is short now; take it off the list"


def test_every_metric_says_what_it_is():
    for metric in metrics.TABLE:
        assert len(metric.help.split()) >= 2, metric
        assert re.fullmatch(r"[a-z]+", metric.unit), metric
        assert re.fullmatch(r"[a-z][a-z0-9_]+", metric.name), metric
        assert (metric.unit == "ns") == (metric.kind == "histogram"), metric
    assert len({metric.name for metric in metrics.TABLE}) == len(metrics.TABLE)


def test_metrics_have_places_of_their_own():
    taken: set[int] = set()
    for metric in metrics.TABLE:
        first = metrics._PLACES[metric.name]
        mine = set(range(first, first + metric.slots))
        assert not mine & taken, metric
        taken |= mine
    assert taken == set(range(metrics.SLOTS))


def commands() -> list[str]:
    registered = app.registered_commands
    return sorted(one.name or one.callback.__name__ for one in registered)


def test_the_operators_page_speaks_of_every_command_and_reason():
    page = ROOT / "docs" / "operations.md"
    if not page.exists():
        pytest.skip("docs/operations.md is not written yet")
    text = page.read_text(encoding="utf-8")
    missing = [name for name in commands() if not re.search(rf"dcctl {name}\b", text)]
    assert not missing, f"docs/operations.md does not speak of dcctl {', '.join(missing)}"


def test_documents_name_files_that_are_there():
    """A path in backticks with a folder of ours in front is there, or the page is out of date."""
    tops = {path.name for path in ROOT.iterdir() if path.is_dir()} - {"data", "run", "logs"}
    for name, text in texts().items():
        if not name.endswith(".md"):
            continue
        for path in re.findall(r"`([a-z_]+/[\w./-]+)`", text):
            if path.split("/")[0] in tops:
                assert (ROOT / path.rstrip("/")).exists(), f"{name} speaks of {path}"


def test_documents_name_settings_that_are_there():
    known = set(flatten(load("demo", environment={}))) | set(flatten(Settings()))
    sections = {key.split(".")[0] for key in known}
    for name, text in texts().items():
        if not name.endswith(".md"):
            continue
        for key in re.findall(r"`([a-z]+(?:\.[a-z_]+)+)`", text):
            if key.split(".")[0] in sections and not key.endswith((".py", ".yml", ".json", ".md")):
                wanted = key.rstrip(".*")
                assert any(one == wanted or one.startswith(f"{wanted}.") for one in known), (
                    f"{name} speaks of the setting {key}"
                )


def test_every_reason_has_words_and_every_error_a_sentence():
    assert set(REASON_TEXT) == set(Reason)
    assert len(set(REASON_TEXT.values())) == len(REASON_TEXT)
    for error in DataControllerError.__subclasses__():
        assert error.__doc__, error
