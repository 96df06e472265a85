"""Answers of Bitfinex's gateway find who waits for them, and nobody else."""

import asyncio

import pytest

from schemas.account import CommandAnswer
from schemas.errors import RateLimitedError, RefusedError, VenueError
from venues.bitfinex.account import FAILURE
from venues.bitfinex.answers import Answers
from venues.trading import NotSentError


def answer(command: str = "on-req", **terms) -> CommandAnswer:
    return CommandAnswer(venue="bitfinex", command=command, **{"accepted": True, **terms})


def outcomes(commands, *told) -> list:
    """What those who wait for (command, name) get."""

    async def story() -> list:
        answers = Answers()
        waiting = []
        contexts = []
        for command, name in commands:
            context = answers.awaited(command, [name])
            waiting += context.__enter__()
            contexts.append(context)
        for each in told:
            answers.take(each)
        found = [(one.exception() or one.result()) if one.done() else None for one in waiting]
        for context in contexts:
            context.__exit__(None, None, None)
        assert not answers._waiting
        return found

    return asyncio.run(story())


def test_each_gets_its_own():
    found = outcomes(
        [("on", "7"), ("on", "8"), ("oc", "100"), ("oc_multi", "")],
        answer(client_order_id="8", order_id="108"),
        answer("oc-req", client_order_id="7", order_id="100"),
        answer("oc_multi-req", client_order_id="7", order_id="107"),
        answer("ou-req", client_order_id="7", order_id="107"),
    )
    assert found == [None, "108", "100", "107"]


def test_an_answer_counts_once():
    first = answer(client_order_id="7", order_id="107")
    late = answer(client_order_id="7", accepted=False, text="no")
    assert outcomes([("on", "7")], first, late) == ["107"]


@pytest.mark.parametrize(
    ("terms", "kind"),
    [({"text": "Invalid order"}, RefusedError), ({"code": FAILURE}, VenueError),
     ({"code": "10001", "text": "ratelimit: error"}, RefusedError)],
)  # fmt: skip
def test_only_a_refusal_is_one(terms, kind):
    (error,) = outcomes([("on", "7")], answer(client_order_id="7", accepted=False, **terms))
    assert type(error) is kind


@pytest.mark.parametrize(
    ("text", "kind"), [("ratelimit: error", RateLimitedError), ("event: invalid", VenueError)]
)
def test_an_error_of_the_connection_leaves_all_in_doubt(text, kind):
    found = outcomes([("on", "7"), ("oc", "1")], answer("", accepted=False, text=text))
    assert [type(error) for error in found] == [kind, kind]


def test_nothing_waits_twice():
    async def story() -> None:
        answers = Answers()
        with answers.awaited("oc_multi", [""]):
            with pytest.raises(NotSentError), answers.awaited("oc_multi", [""]):
                pass
            with pytest.raises(NotSentError), answers.awaited("on", ["1", "1"]):
                pass
        with answers.awaited("oc_multi", [""]) as (waiting,):
            answers.fail(lambda: ConnectionError("lost"))
            with pytest.raises(ConnectionError):
                await waiting

    asyncio.run(story())
