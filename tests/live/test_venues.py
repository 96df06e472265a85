"""Three venues in one instance: three collectors, three tapes, one set of features and
decisions."""

import json

import pytest

from tests.helpers import wait_until
from tests.live.evidence import Lake

pytestmark = [pytest.mark.live, pytest.mark.timeout(500)]

SYMBOLS = {
    "bitfinex": ["tBTCUSD", "tETHUSD"],
    "kraken": ["BTC/USD", "ETH/USD"],
    "gmo": ["BTC_JPY", "ETH_JPY"],
}
STREAMS = {"bitfinex": 4, "kraken": 4, "gmo": 3}


def test_three_venues_at_once_and_the_death_of_one_is_its_own(project):
    project.set(
        venues__kraken={"enabled": True, "url": "simulator", "symbols": SYMBOLS["kraken"]},
        venues__gmo={"enabled": True, "url": "simulator", "symbols": SYMBOLS["gmo"]},
        simulator__kraken_symbols=SYMBOLS["kraken"],
        simulator__gmo_symbols=SYMBOLS["gmo"],
    )
    project.dcctl("start")
    detail = {process.name: process.detail for process in project.status().processes}
    for venue, symbols in SYMBOLS.items():
        wanted = len(symbols) * STREAMS[venue]
        assert detail[f"collector.{venue}"] == f"{wanted} of {wanted} subscriptions"
    wait_until(lambda: predicted(project) == set(range(6)), 60)

    before = {process.name: process.pid for process in project.status().processes}
    project.wait_back("collector.kraken", project.kill("collector.kraken"), 120)
    after = {process.name: process.pid for process in project.status().processes}
    changed = {name for name, pid in after.items() if pid != before[name]}
    assert changed == {"collector.kraken"}
    project.wait_slots("tape.kraken", 500)
    project.dcctl("stop")
    project.assert_clean()

    for venue, symbols in SYMBOLS.items():
        lake = Lake(project.data, venue)
        assert lake.check_sequences() > 200
        assert {row["symbol"] for row in lake.rows if row["symbol"]} == set(symbols)
        reasons = {gap["detail"]["reason"] for gap in lake.gaps()}
        assert reasons == ({"collector_restart"} if venue == "kraken" else set())
    kraken = Lake(project.data, "kraken").gaps()
    assert len(kraken) == len(SYMBOLS["kraken"]) * STREAMS["kraken"]


def predicted(project) -> set[int]:
    """Instruments of the newest predictions."""
    lines = project.dcctl("tap", "predictions", "-n", "60", "--oldest", "--json").splitlines()
    return {json.loads(line)["instrument"] for line in lines[-60:]}
