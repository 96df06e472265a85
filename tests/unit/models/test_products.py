"""A row's product with a matrix: right, and the same bits wherever the row stands."""

import numpy as np
import pytest

from models.blend import Blend
from models.products import affine
from models.samples import OUTPUTS
from tests.unit.models.markets import planted


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize(("width", "height"), [(62, 40), (40, 5), (6, 3), (9, 1)])
def test_it_is_the_product_and_a_rows_bits_are_its_own(kind, width, height):
    draw = np.random.default_rng(3)
    row, matrix = draw.normal(size=width).astype(kind), draw.normal(size=(width, height))
    offsets = draw.normal(size=height)
    seen = set()
    for count in (1, 2, 3, 7, 16, 33, 64):
        for place in range(count):
            rows = draw.normal(size=(count, width)).astype(kind)
            rows[place] = row
            found = affine(rows, matrix.astype(kind), offsets.astype(kind))
            np.testing.assert_allclose(found, rows @ matrix + offsets, rtol=1e-4, atol=1e-4)
            assert found.dtype == kind
            seen.add(found[place].tobytes())
    assert len(seen) == 1


def test_what_a_blend_says_of_a_row_does_not_hang_on_the_others():
    samples = planted(600, 2, "linear", 1)
    draw = np.random.default_rng(5)
    outputs = draw.dirichlet((1.0, 1.0, 1.0), size=(samples.count, 3))
    told = np.zeros((samples.count, 3, OUTPUTS), np.float32)
    told[:, :, :3] = outputs
    told[:, :, 3:] = draw.normal(size=(samples.count, 3, OUTPUTS - 3))
    blend = Blend()
    blend.fit(told, samples)
    whole = blend.predict(told)
    for first, last in ((0, 1), (5, 8), (7, 40), (100, 164)):
        assert blend.predict(told[first:last]).tobytes() == whole[first:last].tobytes()
