"""The servers that other tests are held against do what those tests rely on."""

import psycopg
import pytest
import redis

from tests.servers import influx_server, postgres_server, program, redis_server


def test_redis_forgets_at_a_crash_and_comes_back_on_its_port() -> None:
    with redis_server() as server:
        client = redis.Redis.from_url(server.url)
        client.set("a", "1")
        server.kill()
        server.start()
        assert client.get("a") is None
        client.close()


def test_postgres_keeps_what_was_committed_over_a_crash() -> None:
    with postgres_server() as server:
        url = server.create("one")
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE t (a int)")
            connection.execute("INSERT INTO t VALUES (1)")
        server.kill()
        server.start()
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT a FROM t").fetchall() == [(1,)]


def test_influx_answers_queries() -> None:
    with influx_server() as server:
        server.ask('CREATE DATABASE "agg-30s"')
        assert b"agg-30s" in server.ask("SHOW DATABASES")


def test_a_missing_server_skips_by_name_and_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="apt install nothing-of-the-kind"):
        program("no-such-server", "nothing-of-the-kind")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="apt install nothing-of-the-kind"):
        program("no-such-server", "nothing-of-the-kind")
