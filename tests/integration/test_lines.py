"""The lines that a run prints of its stages."""

from pathlib import Path

import pytest

from tests.integration.conftest import run
from tests.integration.vector_sources import vector_config, vector_sources


def test_a_search_that_goes_no_deeper_is_one_line_and_one_that_does_says_how_deep(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = vector_sources(tmp_path / "sources")
    said = []
    for select in ({}, {}, {"max_positive_similarity": 0.0, "num_negatives": 20}):
        run(vector_config(tmp_path / "run", data, select=select), until="search")
        lines = capsys.readouterr().err.splitlines()
        said.append([line for line in lines if line.startswith("search/short")])
    (none,), (reused,), (first, *_, last) = said
    assert none.startswith("search/short: nothing to search deeper, ")
    assert reused == "search/short: nothing to search deeper, reused"
    queries = first.removeprefix("search/short: ").removesuffix(" queries, 80 deep")
    assert int(queries) > 1
    assert last.startswith(f"search/short: {queries} in, ")
