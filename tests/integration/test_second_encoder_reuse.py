"""The stages of a second encoder are done again where they have to be, and go on where they were killed."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.integration.conftest import (
    Collection,
    configuration,
    dataset,
    run,
    write_collection,
    write_configuration,
)
from tests.integration.test_restart import command, kill_within, units_of
from tests.integration.test_second_encoder import CODES, second


def done(config: Any) -> set[str]:  # noqa: ANN401 - a configuration
    """Mine; return the stages that did their work."""
    stages = run(config)["stages"]
    lines = {(name, side): one for name, of in stages.items() for side, one in of.get("sides", {"": of}).items()}
    return {f"{name}/{side}".rstrip("/") for (name, side), one in lines.items() if not one["reused"]}


def test_another_second_model_does_its_own_stages_again_and_no_other(
    collection: Collection, static_model: Path, second_model: Path, third_model: Path, tmp_path: Path
) -> None:
    def config(model: Path, **settings: Any) -> Any:  # noqa: ANN401
        proposers = [second(model, **settings), second(third_model, source="third")]
        return configuration(tmp_path / "run", collection, static_model, proposers=proposers, select={"range_max": 20})

    own = {f"search/{name}_second" for name in ("encode", "index", "propose")}
    behind = {"search/proposed", "select", "suspects", "export"}
    everything = done(config(second_model))
    assert own | behind | {"prepare/model", "prepare/model_second", "prepare/model_third", "encode"} <= everything
    copy = tmp_path / "models" / "copy"
    shutil.copytree(second_model, copy)
    assert not done(config(copy)), "the same weights under another name"
    assert done(config(second_model, limit=5)) == {"search/propose_second", *behind}
    assert done(config(third_model)) == {"prepare/model_second", *own, *behind}
    assert not done(config(second_model))
    assert done(config(second_model, query_prompt="other ")) == {"prepare/model_second", *own, *behind}
    other = configuration(
        tmp_path / "run", collection, third_model, proposers=config(second_model).proposers, select={"range_max": 20}
    )
    assert not done(other) & {*own, "search/propose_third", "search/encode_third"}, "the second is on its own"


def test_a_corpus_that_grew_encodes_and_indexes_only_what_is_new(
    collection: Collection, static_model: Path, second_model: Path, tmp_path: Path
) -> None:
    def grown(name: str, documents: int) -> Collection:
        kept = dict(list(collection.documents.items())[:documents])
        queries = dict(list(collection.queries.items())[:90])
        return write_collection(tmp_path / name, kept, queries, {one: collection.judgements[one] for one in queries})

    proposers = [second(second_model, index={"factory": "exact", "shard_rows": 128})]
    run(configuration(tmp_path / "run", grown("small", 320), static_model, proposers=proposers))
    large = grown("large", 500)
    sides = run(configuration(tmp_path / "run", large, static_model, proposers=proposers))["stages"]["search"]["sides"]
    encoded = sides["encode_second"]["rows"]
    assert encoded["corpus"] == {"rows_in": 500, "rows_out": 500, "rows_reused": 320}
    assert encoded["queries"] == {"rows_in": 90, "rows_out": 90, "rows_reused": 90}
    assert sides["index_second"]["rows_reused"] == 256  # the third shard was not full, and is now
    run(configuration(tmp_path / "anew", large, static_model, proposers=proposers))
    assert dataset(tmp_path / "run").equals(dataset(tmp_path / "anew"))


def test_a_run_killed_in_the_stages_of_the_second_encoder_goes_on(
    collection: Collection, static_model: Path, second_model: Path, tmp_path: Path
) -> None:
    options: dict[str, Any] = {
        "proposers": [second(second_model, index={"factory": CODES, "shard_rows": 256})],
        "data": {"partition_rows": 4},
    }
    run(configuration(tmp_path / "reference", collection, static_model, **options))
    config = write_configuration(tmp_path, configuration(tmp_path / "killed", collection, static_model, **options))
    committed: dict[Path, int] = {}
    for stage in ("search/encode_second", "search/propose_second"):
        process = subprocess.Popen(command(config, "local"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        assert kill_within(process, tmp_path / "killed", stage), f"the kill in {stage} came too late"
        committed.update(units_of(tmp_path / "killed", stage))
    run(configuration(tmp_path / "killed", collection, static_model, **options))
    assert dataset(tmp_path / "killed").equals(dataset(tmp_path / "reference"))
    assert not [path for path, at in committed.items() if path.exists() and path.stat().st_mtime_ns != at]
