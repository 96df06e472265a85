"""Looking for files where others remove folders at the same time."""

import os
import shutil

import pytest

from processes.files import walk
from processes.lake_places import day_folders
from processes.storage.lake import salvage
from tests.planted import Search


@pytest.fixture
def vanishing(tmp_path, monkeypatch):
    """Three days, of which the second is removed when somebody is about to look into it."""
    for day in ("dt=1", "dt=2", "dt=3"):
        (tmp_path / "lake" / day).mkdir(parents=True)
        (tmp_path / "lake" / day / "rows.arrow").write_bytes(b"rows")
    gone = tmp_path / "lake" / "dt=2"
    scandir = os.scandir

    def remove_first(path):
        if not isinstance(path, int) and os.fspath(path) == os.fspath(gone):
            shutil.rmtree(gone, ignore_errors=True)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", remove_first)
    return tmp_path / "lake"


def test_a_folder_that_vanishes_is_passed_over(vanishing):
    found = sorted(folder / name for folder, _, files in walk(vanishing) for name in files)
    assert found == [vanishing / day / "rows.arrow" for day in ("dt=1", "dt=3")]


@pytest.mark.parametrize("look", [day_folders, salvage, Search().in_folder])
def test_who_lists_days_salvages_or_searches_goes_on(vanishing, look):
    assert len(look(vanishing)) in {0, 2, 3}
    assert not (vanishing / "dt=2").exists()
