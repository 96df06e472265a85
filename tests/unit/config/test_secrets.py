"""Where secrets are found, and that no error shows one."""

import sys

import pytest

from config.secrets import read_secret
from schemas.errors import ConfigError

PLANTED = "planted-5f3a91"


def test_from_the_environment():
    assert read_secret("k", "${A_KEY}", {"A_KEY": PLANTED}) == PLANTED


def test_from_a_file_that_nobody_else_may_read(tmp_path):
    path = tmp_path / "secret"
    path.write_text(f"{PLANTED}\nsomething else\n")
    path.chmod(0o600)
    assert read_secret("k", f"file:{path}") == PLANTED
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600") as caught:
        read_secret("k", f"file:{path}")
    assert PLANTED not in str(caught.value)


def test_from_a_program():
    assert read_secret("k", f"command:{sys.executable} -c 'print(\"{PLANTED}\")'") == PLANTED


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("${NOT_THERE}", "export"),
        ("file:/not/there", "cannot be read"),
        ("command:false", "ended with 1"),
        ("command:/not/there", "FileNotFoundError"),
        ("command:true", "nothing that could be"),
        ("", "name where it is"),
    ],
)
def test_what_is_not_there_says_what_to_do(reference, words):
    with pytest.raises(ConfigError, match=words) as caught:
        read_secret("execution.accounts.a.key", reference, {})
    assert "execution.accounts.a.key" in str(caught.value)


def test_what_a_failing_program_said_is_not_shown():
    program = f"{sys.executable} -c 'import sys; print(\"{PLANTED}\"); sys.exit(3)'"
    with pytest.raises(ConfigError) as caught:
        read_secret("k", f'command:sh -c "{program.replace(PLANTED, "x")}"')
    assert "ended with" in str(caught.value)


@pytest.mark.skipif(sys.platform == "darwin", reason="there is a Keychain here")
def test_there_is_no_keychain_elsewhere():
    with pytest.raises(ConfigError, match="macOS"):
        read_secret("k", "keychain:service")
