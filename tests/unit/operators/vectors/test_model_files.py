"""A digest tells checkpoints apart by what is in their files, and a model that is not there is refused."""

import shutil
from pathlib import Path

import pytest

from operators.errors import InputError
from operators.vectors.model_files import model_folder, weights_digest
from tests.conftest import save_static_model


def test_two_checkpoints_differ_and_a_copy_elsewhere_does_not(minilm: Path, static_model: Path, tmp_path: Path) -> None:
    other = save_static_model(minilm, tmp_path / "static", seed=1)  # the folder of both is called `static`
    copy = shutil.copytree(static_model, tmp_path / "under" / "another" / "name")
    assert weights_digest(static_model) != weights_digest(other)
    assert weights_digest(static_model) == weights_digest(copy)


def small_model(folder: Path) -> Path:
    (folder / "1_Pooling").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(bytes(range(256)) * 40)
    (folder / "config.json").write_text("{}")
    (folder / "1_Pooling" / "config.json").write_text('{"mode": "mean"}')
    return folder


@pytest.mark.parametrize("at", [0, 5000, 10239])
def test_one_changed_byte_of_the_weights_changes_the_digest(at: int, tmp_path: Path) -> None:
    model, changed = small_model(tmp_path / "a"), small_model(tmp_path / "b")
    weights = bytearray((changed / "model.safetensors").read_bytes())
    weights[at] ^= 1
    (changed / "model.safetensors").write_bytes(weights)
    assert weights_digest(model) != weights_digest(changed)


def test_another_pooling_changes_the_digest(tmp_path: Path) -> None:
    model, changed = small_model(tmp_path / "a"), small_model(tmp_path / "b")
    (changed / "1_Pooling" / "config.json").write_text('{"mode": "last"}')
    assert weights_digest(model) != weights_digest(changed)


def test_a_byte_that_moves_from_one_file_to_the_next_changes_the_digest(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    for folder, contents in ((first, (b"xy", b"z")), (second, (b"x", b"yz"))):
        folder.mkdir()
        for name, content in zip(("m1", "m2"), contents, strict=True):
            (folder / name).write_bytes(content)
    assert weights_digest(first) != weights_digest(second)


def test_what_no_vector_depends_on_does_not_change_the_digest(tmp_path: Path) -> None:
    model, described = small_model(tmp_path / "a"), small_model(tmp_path / "b")
    (described / "README.md").write_text("A model.")
    (described / ".cache").mkdir()
    (described / ".cache" / "download.lock").write_text("")
    assert weights_digest(model) == weights_digest(described)


def test_a_folder_is_its_own_model(static_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(static_model.parent)
    assert model_folder(static_model.name, None) == static_model.resolve()


@pytest.mark.parametrize("model", ["./not/here", "/not/here", "not/a/folder"])
def test_a_folder_that_is_not_there_is_refused(model: str) -> None:
    with pytest.raises(InputError, match=rf"encoder\.model: no folder at {model}"):
        model_folder(model, None)


@pytest.mark.parametrize("model", ["no-such-owner/no-such-model", "not a model"])
def test_a_name_that_the_hub_does_not_give_is_refused_with_the_way_out(model: str) -> None:
    with pytest.raises(InputError, match=rf"{model} is neither .*HF_HUB_OFFLINE"):
        model_folder(model, None)
