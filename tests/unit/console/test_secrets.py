"""The token's file, codes that are good once, and sessions."""

import stat

import pytest

from processes.console.secrets import CODE_S, CODES_MAX, Doorman, open_token, token_path
from schemas.errors import OperatorError
from schemas.settings import ConsoleSettings
from tests.helpers import ROOT


def test_a_token_is_made_once_for_its_owner_alone(tmp_path):
    path = tmp_path / "state" / "console.token"
    token = open_token(path)
    assert len(token) >= 43
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert open_token(path) == token
    assert open_token(tmp_path / "other") != token


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_a_token_that_others_may_read_is_refused(tmp_path, mode):
    path = tmp_path / "token"
    open_token(path)
    path.chmod(mode)
    with pytest.raises(OperatorError, match="chmod 600"):
        open_token(path)


def test_a_file_without_a_token_is_refused(tmp_path):
    path = tmp_path / "token"
    path.write_text("short\n")
    path.chmod(0o600)
    with pytest.raises(OperatorError, match="holds no token"):
        open_token(path)


def test_where_the_token_is(tmp_path):
    assert token_path(ConsoleSettings(), tmp_path) == tmp_path / "state" / "console.token"
    assert token_path(ConsoleSettings(token_file="x/y"), tmp_path) == ROOT / "x" / "y"


def test_a_code_is_good_once_and_for_a_minute():
    doorman = Doorman("t" * 43, 1.0)
    code = doorman.make_code(100.0)
    assert not doorman.take_code("", 100.0)
    assert not doorman.take_code(code + "x", 100.0)
    assert doorman.take_code(code, 100.0 + CODE_S - 1)
    assert not doorman.take_code(code, 100.0)
    late = doorman.make_code(100.0)
    assert not doorman.take_code(late, 100.0 + CODE_S)


def test_codes_are_bounded_and_the_newest_counts():
    doorman = Doorman("t" * 43, 1.0)
    codes = [doorman.make_code(0.0) for _ in range(CODES_MAX + 5)]
    assert len(doorman._codes) == CODES_MAX
    assert not doorman.take_code(codes[0], 1.0)
    assert doorman.take_code(codes[-1], 1.0)


def test_a_session_survives_a_new_life_and_not_a_new_token():
    session = Doorman("t" * 43, 2.0).open_session(1000.0)
    assert Doorman("t" * 43, 2.0).session(session, 1000.0)
    assert Doorman("t" * 43, 2.0).session(session, 1000.0 + 2 * 86_400) == ""
    assert Doorman("s" * 43, 2.0).session(session, 1000.0) == ""
