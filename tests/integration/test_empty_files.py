"""Source files without rows: a run counts them, whatever the engine, and mines what the other files hold."""

import json
from pathlib import Path

import pytest

from operators.errors import InputError
from tests.integration.conftest import Collection, configuration, dataset, run


def _sources(folder: Path, collection: Collection, *, empty: bool) -> dict[str, dict[str, str]]:
    folder.mkdir()
    for name in ("corpus.jsonl", "queries.jsonl"):
        (folder / name).write_bytes((collection.folder / name).read_bytes())
    (folder / "judged.tsv").write_bytes((collection.folder / "qrels" / "train.tsv").read_bytes())
    if empty:
        (folder / "corpus-0.jsonl").touch()
        (folder / "corpus-z.csv.gz").touch()
        (folder / "judged-0.tsv").write_text("query-id\tcorpus-id\tscore\n")
    names = {"corpus": "corpus*", "queries": "queries*", "judgements": "judged*"}
    return {kind: {"path": f"{folder}/{name}"} for kind, name in names.items()}


def test_files_without_rows_are_counted(
    engine_in_time: str, collection: Collection, static_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mined = []
    for name in ("with", "without"):
        data = _sources(tmp_path / name, collection, empty=name == "with")
        folder = tmp_path / f"run-{name}"
        run(configuration(folder, None, static_model, data=data, engine={"name": engine_in_time}))
        mined.append(dataset(folder))
    assert mined[0].equals(mined[1])
    warned = [line for line in capsys.readouterr().err.splitlines() if "no rows" in line]
    report = json.loads((tmp_path / "run-with" / "report" / "report.json").read_text())["warnings"]
    of_corpus, of_judgements = (f"file://{tmp_path}/with/{name}" for name in ("corpus-0.jsonl", "judged-0.tsv"))
    for counted in (
        f"prepare/corpus: 2 source files have no rows ({of_corpus}, ...)",
        f"prepare/queries: 1 source file has no rows ({of_judgements})",
    ):
        assert [line for line in warned if line.endswith(f"warning: {counted}")]
        assert counted in report
    assert len(warned) == 2


def test_a_kind_without_any_row_is_refused_in_one_line(
    collection: Collection, static_model: Path, tmp_path: Path
) -> None:
    data = _sources(tmp_path / "sources", collection, empty=True)
    (tmp_path / "sources" / "corpus.jsonl").unlink()
    with pytest.raises(InputError, match=r"corpus-0\.jsonl: this file and 1 more have no rows"):
        run(configuration(tmp_path / "run", None, static_model, data=data))
    assert not (tmp_path / "run").exists()
