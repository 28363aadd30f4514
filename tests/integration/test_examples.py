"""The examples of CONTRIBUTING.md: each is one file, and together they mine."""

import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from operators.schemas import to_numpy
from pipelines.run import mine
from tests.integration.conftest import Collection, configuration

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "tests" / "examples"


def test_the_page_shows_what_the_files_hold() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    files = [file.read_text(encoding="utf-8") for file in EXAMPLES.glob("[a-z]*.py")]
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == len(files) == 5
    assert all(any(block in file for file in files) for block in blocks)


def test_together_they_mine(collection: Collection, static_model: Path, tmp_path: Path) -> None:
    config = configuration(
        tmp_path,
        collection,
        static_model,
        signals=["tests.examples.best_share:BestShare"],
        select={
            "filters": [{"filter": "tests.examples.long_tail:LongTail", "share": 0.9}],
            "draws": [{"strategy": "tests.examples.middle:Middle", "num_negatives": 2}],
        },
        export={"formats": ["tests.examples.ids:Ids", "triplet"]},
    )
    mined = mine(config, progress=False)
    negatives = mined.output("select", "negatives")
    assert mined.dropped["long_tail"] > 0
    assert (to_numpy(negatives, "score") >= to_numpy(negatives, "positive_score") * np.float32(0.9)).all()
    ids = mined.dataset("tests.examples.ids:Ids")
    assert ids.column_names == ["query_id", "positive_id", "negative_id"]
    assert len(ids) == len(mined.dataset("triplet")) == negatives.num_rows
    files = list((tmp_path / "dataset" / "Ids").glob("*.parquet"))
    assert sum(pq.read_metadata(file).num_rows for file in files) == len(ids)
    assert set(ids["negative_id"]) <= set(collection.documents)
