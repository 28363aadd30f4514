"""What a run prints of each stage."""

from typing import Any

import pytest

from pipelines.runtime.pipeline import line_of

SIDES = {"corpus": {"rows_reused": 80}, "queries": {"rows_reused": 1000}}


@pytest.mark.parametrize(
    ("manifest", "ran", "reused"),
    [
        ({"dropped": {}}, "2,000 in, 1,900 out, 1.2 s", "2,000 in, 1,900 out, reused"),
        ({"dropped": {"a": 60, "b": 40}}, "2,000 in, 1,900 out, 100 dropped, 1.2 s", None),
        (
            {"dropped": {}, "rows_reused": 1800},
            "2,000 in, 1,900 out, 1,800 found, 1.2 s",
            "2,000 in, 1,900 out, reused",
        ),
        ({"dropped": {}, "rows_reused": 0}, "2,000 in, 1,900 out, 1.2 s", None),
        ({"dropped": {}, "rows": SIDES}, "2,000 in, 1,900 out, 1,080 found, 1.2 s", None),
        ({"line": "nothing to search deeper"}, "nothing to search deeper, 1.2 s", "nothing to search deeper, reused"),
    ],
)
def test_a_line_has_what_a_stage_did_and_what_it_found_done(
    manifest: dict[str, Any], ran: str, reused: str | None
) -> None:
    counts = {"rows_in": 2000, "rows_out": 1900, "seconds": 1.23}
    assert line_of("stage", {**counts, **manifest}, reused=False) == f"stage: {ran}"
    if reused is not None:
        assert line_of("stage", {**counts, **manifest}, reused=True) == f"stage: {reused}"
