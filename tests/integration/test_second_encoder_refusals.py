"""A second encoder that cannot be used is refused before anything is written, in one line that names its section."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from operators.errors import InputError
from tests.integration.conftest import Collection, configuration, run
from tests.integration.test_second_encoder import SECOND, second


def refusal(tmp_path: Path, collection: Collection, static_model: Path, **settings: Any) -> str:  # noqa: ANN401
    config = configuration(tmp_path / "run", collection, static_model, proposers=[{**SECOND, **settings}])
    with pytest.raises(InputError) as error:
        run(config)
    assert not (tmp_path / "run").exists(), "nothing was written"
    return str(error.value)


def test_a_second_model_that_cannot_be_used_is_refused_before_anything_is_prepared(
    collection: Collection, static_model: Path, second_model: Path, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(second_model, damaged)
    weights = damaged / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-50])
    (tmp_path / "no model").mkdir()
    (tmp_path / "no model" / "notes.txt").write_text("no model", encoding="utf-8")
    said = {
        "/no/such/model": r"proposers\.second\.model: no folder at /no/such/model",
        str(damaged): r"proposers\.second\.model: .*damaged.* cannot be loaded",
        str(tmp_path / "no model"): r"proposers\.second\.model: .*no model.* cannot be loaded",
    }
    for model, wanted in said.items():
        line = refusal(tmp_path, collection, static_model, model=model)
        assert re.search(wanted, line), line
        assert "encoder." not in line


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"max_seq_length": 9}, r"^proposers\.second\.max_seq_length: .*leave it out"),
        ({"index": "IVF8,PQ7x4"}, r"^proposers\.second\.index: FAISS cannot make 'IVF8,PQ7x4'"),
        ({"index": "IVF900,SQ8"}, r"^proposers\.second\.index: IVF900,SQ8 needs at least 900 documents"),
        ({"index": "LSH"}, r"^proposers\.second\.index: 'LSH' is no factory string"),
    ],
)
def test_settings_that_do_not_fit_the_second_model_are_refused(
    collection: Collection,
    static_model: Path,
    second_model: Path,
    settings: dict[str, Any],
    said: str,
    tmp_path: Path,
) -> None:
    assert re.search(said, refusal(tmp_path, collection, static_model, model=str(second_model), **settings))


def test_a_configuration_without_a_second_model_or_its_texts_is_refused(
    collection: Collection, with_vectors: dict[str, Any], static_model: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValidationError, match=r"proposers\.0\n.*encoder: model: this key is missing"):
        configuration(tmp_path, collection, static_model, proposers=["encoder"])
    sections: dict[str, Any] = {"data": with_vectors, "proposers": [second(static_model)]}
    configuration(tmp_path, None, None, **sections)
    with pytest.raises(
        ValidationError, match=r"proposers\.second\.model encodes texts: data\.corpus comes with vectors"
    ):
        configuration(tmp_path, None, None, **sections, clean={"drop_empty": False})
    configuration(tmp_path, collection, static_model, clean={"drop_empty": False}, proposers=sections["proposers"])
