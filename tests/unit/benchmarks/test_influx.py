"""The figures of InfluxDB count what they say; no time is judged."""

import numpy as np

from benchmarks import influx
from tests.influx_shim import malformed


def test_every_row_becomes_a_line_and_comes_back_from_disk(tmp_path):
    slots = influx.rows(3000)
    batches = influx.make(slots)
    assert sum(batch.lines for batch in batches) == 3000
    assert not malformed(b"\n".join(batch.body for batch in batches[:1]))
    assert influx._read(batches, tmp_path / "spool") > 0
    assert not (tmp_path / "spool").exists()


def test_the_client_s_points_have_the_same_fields_as_our_lines():
    slots = influx.rows(4)
    influx._points(slots)
    assert np.isfinite(slots["values"]).all()


def test_the_figures_that_there_are():
    found = influx.measure(quick=True)
    assert {"influx_lines_made", "influx_rows_aggregated", "influx_spool_write",
            "influx_spool_read"} <= set(found)  # fmt: skip
    assert all(figure.value > 0 and figure.unit.endswith("/s") for figure in found.values())
