"""What trainings are tried on."""

import pytest

from models.families import FAMILIES
from tests.unit.training.lakes import write_rows
from tests.unit.training.markets import ClosedForm, knowable


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    """Rows of which one column knows the coming second."""
    folder = tmp_path_factory.mktemp("lake")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(FAMILIES, ClosedForm.family, ClosedForm)
        write_rows(folder, knowable())
        yield folder
