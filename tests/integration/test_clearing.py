"""A run that is stopped while it removes what it needs no more leaves that to the next, which removes it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pipelines.runtime.storage.run_directory import StageFolder
from tests.integration.conftest import dataset, run
from tests.integration.vector_sources import vector_config, vector_sources


class Stopped(BaseException):
    """Stands for a kill."""


def left_in(folder: Path) -> set[str]:
    """The files of a run, without records of units: these tell how the work was cut."""
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    return {name for name in files if "/_units/" not in name and not name.startswith(("_lease", "report/"))}


def test_what_a_stopped_run_would_have_removed_is_removed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data: dict[str, Any] = vector_sources(tmp_path / "sources")
    run(vector_config(tmp_path / "whole", data))
    remove_all, left = StageFolder.remove_all, [-1]

    def stopping(folder: StageFolder, names: Sequence[str]) -> None:
        if names:
            left[0] -= 1
        if left[0] == 0:
            raise Stopped
        remove_all(folder, names)

    monkeypatch.setattr(StageFolder, "remove_all", stopping)
    stops = 0
    while True:
        stops, left[0] = stops + 1, stops + 1
        place = tmp_path / f"stopped-{stops}"
        try:
            run(vector_config(place, data))
        except Stopped:
            left[0] = -1
            run(vector_config(place, data))
            assert left_in(place) == left_in(tmp_path / "whole"), f"stopped at removal {stops}"
            assert dataset(place) == dataset(tmp_path / "whole")
        else:
            break
    assert stops > 5
