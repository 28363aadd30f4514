"""A model's folder that is damaged is refused before anything is prepared, or the damage changes nothing."""

import json
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file, save_file

from operators.errors import LONGEST_MESSAGE, InputError
from pipelines.runtime.plan import describe
from pipelines.runtime.session import build
from tests.integration.conftest import Collection, configuration, run, write_collection
from tests.models import DOCUMENT, QUERY, base_of, copy_adapter, name_base, save_model

Damage = Callable[[Path, random.Random], None]


def delete(file: Path, chance: random.Random) -> None:
    del chance
    file.unlink()


def truncate(file: Path, chance: random.Random) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: chance.randrange(len(content))])


def empty(file: Path, chance: random.Random) -> None:
    del chance
    file.write_bytes(b"")


def flip_bytes(file: Path, chance: random.Random) -> None:
    content = bytearray(file.read_bytes())
    for _ in range(chance.choice([1, 4])):
        # Half of them near the start, where the headers of binary files are.
        content[chance.randrange(min(len(content), chance.choice([3000, len(content)])))] = chance.randrange(256)
    file.write_bytes(content)


def change_letters(file: Path, chance: random.Random) -> None:
    """Change bytes so that text stays text: what is read may still be well formed, and wrong."""
    content = bytearray(file.read_bytes())
    for _ in range(chance.choice([1, 3])):
        at = chance.randrange(min(len(content), chance.choice([3000, len(content)])))
        content[at] = ord(chance.choice("0123456789" if chr(content[at]).isdigit() else "abcxyz_/."))
    file.write_bytes(content)


def make_a_folder(file: Path, chance: random.Random) -> None:
    del chance
    file.unlink()
    file.mkdir()


def link_to_itself(file: Path, chance: random.Random) -> None:
    del chance
    file.unlink()
    file.symlink_to(file)


DAMAGES: Mapping[str, Damage] = {
    damage.__name__: damage
    for damage in (delete, truncate, empty, flip_bytes, change_letters, make_a_folder, link_to_itself)
}
SLOW = {"make_a_folder", "link_to_itself"}  # these show little more than a file that is deleted
FILES = (
    "config.json",
    "config_sentence_transformers.json",
    "model.safetensors",
    "modules.json",
    "sentence_bert_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "1_Pooling/config.json",
)
ADAPTER_FILES = (
    "adapter_config.json",
    "adapter_model.safetensors",
    "../model-bert/config.json",
    "../model-bert/model.safetensors",
)


@pytest.fixture(scope="module")
def adapter(minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = save_model("adapter", minilm, tmp_path_factory.mktemp("adapter") / "model")
    assert not (folder / "config.json").exists()
    assert all((folder / file).is_file() for file in ADAPTER_FILES)
    return folder


@pytest.fixture(scope="module")
def model(minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = save_model("prompt not pooled", minilm, tmp_path_factory.mktemp("whole") / "model")
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert files - {"README.md"} == set(FILES)
    return folder


@pytest.fixture(scope="module")
def few(collection: Collection, tmp_path_factory: pytest.TempPathFactory) -> Collection:
    documents = dict(list(collection.documents.items())[:24])
    queries = dict(list(collection.queries.items())[:6])
    judgements = {query: {f"d{n}": 1} for n, query in enumerate(queries)}
    return write_collection(tmp_path_factory.mktemp("few") / "beir", documents, queries, judgements)


def outcome(folder: Path, few: Collection, place: Path) -> str:
    """Mine with a model; return why it was refused, or "" where the scores are those of sentence-transformers."""
    encoder: dict[str, Any] = {"dtype": "float32", "vector_dtype": "float32"}
    try:
        run(configuration(place, few, folder, encoder=encoder, select={"range_max": 8, "num_negatives": 2}))
    except InputError as refusal:
        message = str(refusal)
        assert not place.exists()
        assert len(message) <= LONGEST_MESSAGE
        assert "\n" not in message
        return message
    from sentence_transformers import SentenceTransformer

    theirs = SentenceTransformer(str(folder), device="cpu")
    files = sorted((place / "dataset" / "triplet").glob("*.parquet"))
    mined = pa.concat_tables([pq.read_table(file) for file in files]).to_pylist()
    assert mined
    for text, score in (("positive", "positive_score"), ("negative", "negative_score")):
        asked = theirs.encode_query([row["query"] for row in mined])
        found = theirs.encode_document([row[text] for row in mined])
        expected = theirs.similarity_pairwise(asked, found).numpy()
        assert np.allclose([row[score] for row in mined], expected, atol=1e-4)
    return ""


@pytest.mark.parametrize("shape", ["prompt not pooled", "router, static queries", "cut to fewer dimensions", "adapter"])
def test_scores_are_those_of_sentence_transformers(shape: str, minilm: Path, few: Collection, tmp_path: Path) -> None:
    assert not outcome(save_model(shape, minilm, tmp_path / "model"), few, tmp_path / "run")
    report = json.loads((tmp_path / "run" / "report" / "report.json").read_text(encoding="utf-8"))
    plan = describe(build(configuration(tmp_path / "run", few, tmp_path / "model")))["prepare/model"]
    similarity = "cosine" if shape in {"prompt not pooled", "adapter"} else "dot"
    prompts = (
        {"query": "", "document": ""} if shape == "cut to fewer dimensions" else {"query": QUERY, "document": DOCUMENT}
    )
    assert report["encoder"]["similarity"] == similarity
    assert report["encoder"]["prompts"] == prompts
    assert plan["needs"].startswith(similarity)
    assert all(prompt in plan["needs"] for prompt in prompts.values())


@pytest.mark.parametrize(
    "damage",
    [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in DAMAGES],
)
@pytest.mark.parametrize("file", FILES)
def test_what_is_damaged_is_refused_or_changes_nothing(
    file: str, damage: str, model: Path, few: Collection, tmp_path: Path
) -> None:
    chance = random.Random(f"{file} {damage}")
    folder = Path(shutil.copytree(model, tmp_path / "model"))
    DAMAGES[damage](folder / file, chance)
    outcome(folder, few, tmp_path / "run")


@pytest.mark.parametrize("damage", [name for name in DAMAGES if name not in SLOW])
@pytest.mark.parametrize("file", ADAPTER_FILES)
def test_an_adapter_that_is_damaged_is_refused_or_the_damage_changes_nothing(
    file: str, damage: str, adapter: Path, few: Collection, tmp_path: Path
) -> None:
    folder = copy_adapter(adapter, tmp_path / "model")
    DAMAGES[damage](folder / file, random.Random(f"{file} {damage}"))
    outcome(folder, few, tmp_path / "run")


def test_an_adapter_whose_base_is_not_there_is_refused(adapter: Path, few: Collection, tmp_path: Path) -> None:
    folder = copy_adapter(adapter, tmp_path / "model")
    shutil.rmtree(base_of(folder))
    assert re.search(r"base_model_name_or_path.*no folder at .*model-bert", outcome(folder, few, tmp_path / "run"))
    name_base(folder, "no-such-owner/no-such-model")
    assert "no-such-model is neither" in outcome(folder, few, tmp_path / "run")


def test_another_base_or_adapter_is_encoded_again(adapter: Path, few: Collection, tmp_path: Path) -> None:
    folder, encoder = copy_adapter(adapter, tmp_path / "model"), {"dtype": "float32", "vector_dtype": "float32"}
    config = configuration(tmp_path / "run", few, folder, encoder=encoder)
    run(config, until="encode")
    assert run(config, until="encode")["stages"]["encode"]["reused"]
    for file in (base_of(folder) / "model.safetensors", folder / "adapter_model.safetensors"):
        weights = load_file(file)
        save_file({name: one * np.float32(1.5) for name, one in weights.items()}, file, {"format": "pt"})
        assert not run(config, until="encode")["stages"]["encode"]["reused"]
    assert len(list((tmp_path / "run" / "encode").glob("*/_manifest*.json"))) == 3
    assert not outcome(folder, few, tmp_path / "again")


def test_a_storage_that_fails_ends_with_1_and_nothing_is_thrown_away(
    model: Path, few: Collection, tmp_path: Path
) -> None:
    if not Path("/proc/self/mem").exists():
        pytest.skip("needs a file that fails when it is read")
    folder = Path(shutil.copytree(model, tmp_path / "model"))
    config = configuration(tmp_path / "run", few, folder)
    run(config, until="prepare")
    before = {path for path in (tmp_path / "run").rglob("*") if path.is_file()}
    (folder / "model.safetensors").rename(tmp_path / "weights")
    (folder / "model.safetensors").symlink_to("/proc/self/mem")  # reading its first page is an I/O error
    file = tmp_path / "config.yaml"
    file.write_text(config.model_dump_json(exclude_unset=True), encoding="utf-8")
    command = [sys.executable, "-m", "pipelines.cli", "mine", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "model.safetensors cannot be read" in done.stderr
    assert "This may pass" in done.stderr
    assert "Traceback" not in done.stderr
    assert before <= {path for path in (tmp_path / "run").rglob("*") if path.is_file()}
    (folder / "model.safetensors").unlink()
    (tmp_path / "weights").rename(folder / "model.safetensors")
    assert run(config)["stages"]["prepare"]["reused"]
