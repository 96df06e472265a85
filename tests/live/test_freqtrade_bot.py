"""The real bot as tests use it: it starts offline, rests and fills orders, and leaves nothing."""

import psutil
import pytest

from tests.freqtrade import config_of, freqtrade_bot
from tests.helpers import wait_until
from tests.kraken_stub import kraken_stub

pytestmark = pytest.mark.live


def test_a_bot_starts_offline_fills_when_the_market_comes_and_leaves_nothing():
    with kraken_stub() as venue, freqtrade_bot(venue.url) as bot:
        pid = bot.process.pid
        assert bot.ask("show_config")[1]["state"] == "paused"
        bot.ask("start", {})
        entry = {
            "pair": "ETH/USD", "side": "long", "price": 2900, "ordertype": "limit",
            "stakeamount": 500, "entry_tag": "first",
        }  # fmt: skip
        status, trade = bot.ask("forceenter", entry)
        assert (status, trade["enter_tag"], trade["amount"]) == (200, "first", 0.0)
        assert bot.ask("forceenter", entry)[0] == 502
        venue.prices["XETHZUSD"] -= 200
        wait_until(lambda: bot.status()[0]["amount"] > 0, what="the fill")
        bot.kill()
        bot.start()
        assert [one["enter_tag"] for one in bot.status()] == ["first"]
        bot.stop()
        folder = bot.folder
    assert not psutil.pid_exists(pid)
    assert not folder.exists()


def test_no_bot_of_a_test_may_have_a_venue_elsewhere():
    with pytest.raises(AssertionError, match="not on loopback"):
        config_of("https://api.kraken.com", 1)
