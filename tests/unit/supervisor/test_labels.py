"""Metrics that are split by a label: each value its own series, under its own name."""

import pytest

from processes.features import kernels
from processes.features.main import COUNTERS
from processes.supervisor.http import _family
from schemas import metrics
from schemas.features import CATALOGUE
from schemas.instruments import CHANNELS


@pytest.mark.parametrize(
    ("name", "label", "value"),
    [("column_faults", "feature", "rsi_14_1s"), ("drift_psi_milli", "feature", "history_s"),
     ("ingest_events", "channel", CHANNELS[-1])],
)  # fmt: skip
def test_a_series_has_the_name_of_its_place(name, label, value):
    page = [0] * metrics.SLOTS
    page[metrics.place(name, value)] = 3
    family = _family(metrics.BY_NAME[name], [("one", page)])
    told = [(sample.labels, sample.value) for sample in family.samples]
    assert told == [({"process": "one", label: value}, 3.0)]


def test_a_split_metric_has_a_place_for_each_value_and_no_more():
    assert metrics.BY_NAME["column_faults"].slots == len(CATALOGUE)
    first = metrics.place("column_faults", CATALOGUE[0].name)
    for column, feature in enumerate(CATALOGUE):
        assert metrics.place("column_faults", feature.name) == first + column
    with pytest.raises(AssertionError):
        metrics.place("column_faults")


def test_everything_that_the_kernels_count_is_told():
    told = set(COUNTERS.values())
    words = {
        word for name, word in vars(kernels).items()
        if name.startswith("W_") and kernels.W_REFUSED <= word < kernels.W_COLUMNS
    }  # fmt: skip
    assert told == words
    assert set(COUNTERS) <= set(metrics.BY_NAME)
