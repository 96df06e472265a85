"""The benchmark of models asks every family, and networks on every way, for the same number."""

import numpy as np
import pytest

from benchmarks import models
from benchmarks.models import INSTRUMENTS, ONNX, ask_onnx, drawn, followers, made, measure
from benchmarks.peering import peer_processes
from models.families import FAMILIES
from models.network import Network
from models.tcn import Tcn


@pytest.mark.parametrize(
    "name", [name for name, family in FAMILIES.items() if issubclass(family, Network)]
)
def test_all_ways_through_a_network_come_to_the_same(name):
    rows = drawn(60, 3)
    ways = followers(made(FAMILIES[name], rows), 3)
    assert set(ways) == {name, f"{name}_mlx", f"{name}_window"}
    for first in range(0, rows.count, 3):
        at = slice(first, first + 3)
        cut = rows.values[at], rows.book[at], rows.price[at], rows.instrument[at]
        said = [way.step(*cut).copy() for way in ways.values()]
    for other in said[1:]:
        assert other == pytest.approx(said[0], abs=1e-3)


def test_every_family_has_its_figures(monkeypatch):
    monkeypatch.setattr(models, "WARM", 2)
    found = measure(quick=True)
    for name, family in FAMILIES.items():
        for instruments in INSTRUMENTS:
            assert found[f"model_{name}_{instruments}"].value > 0
        assert (f"model_{name}_learns" in found) == family.learns_online
    for instruments in INSTRUMENTS:
        whole, shipped = (
            found[f"model_{one}_{instruments}"] for one in ("lineup", "lineup_shipped")
        )
        assert whole.value > shipped.value > 0
    assert np.isfinite([peer.ratio for peer in found["model_tcn_8"].peers.values() if peer]).all()


def test_the_network_in_onnxruntime_says_the_same(tmp_path):
    network = made(Tcn, drawn(60, 3))
    with peer_processes({ONNX: ("network.py",)}) as (running, absent):
        if ONNX in absent:
            pytest.skip(f"onnxruntime is {absent[ONNX]}")
        taken, said = ask_onnx(running[ONNX], network, 3, 20, tmp_path)
    assert len(taken) == 20
    assert (taken > 0).all()
    wanted = network.predict(drawn(20 + models.WARM, 3))[-3:]
    assert said == pytest.approx(wanted, rel=1e-4, abs=1e-4)


def test_the_whole_line_up_speaks_in_the_benchmark():
    rows = drawn(60, 3)
    cuts = models.LineUpCuts([made(FAMILIES[name], rows) for name in models.LINE_UP], 3, 5)
    cuts.run()
    told = cuts._chain._memory.out[:3]
    assert np.isfinite(told["outputs"]).all()
