"""A digest tells checkpoints apart by what is in their files, and a model that is not there is refused."""

import json
import shutil
from pathlib import Path

import pytest

from operators.errors import InputError
from operators.vectors.encoder import EncoderConfig
from operators.vectors.model_files import model_folder, weights_digest
from operators.vectors.model_load import keep_model, load_model
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


def test_what_a_linked_folder_holds_is_part_of_the_digest(tmp_path: Path) -> None:
    digests = []
    for content in ("first", "second"):
        model = small_model(tmp_path / content)
        weights = small_model(tmp_path / f"weights of {content}")
        (weights / "model.safetensors").write_bytes(content.encode())
        (model / "0_Transformer").symlink_to(weights, target_is_directory=True)
        digests.append(weights_digest(model))
    assert digests[0] != digests[1]
    copy = shutil.copytree(tmp_path / "first", tmp_path / "copy")  # copies what the links lead to
    assert not (copy / "0_Transformer").is_symlink()
    assert weights_digest(copy) == digests[0]


def test_links_that_lead_back_end(tmp_path: Path) -> None:
    plain, looping = small_model(tmp_path / "a"), small_model(tmp_path / "b")
    (looping / "again").symlink_to(looping, target_is_directory=True)
    (looping / "1_Pooling" / "up").symlink_to("..", target_is_directory=True)
    (looping / "itself").symlink_to("itself")
    (looping / "nowhere").symlink_to("not/there")
    assert weights_digest(looping) == weights_digest(plain)


def adapter(folder: Path, base: str | Path) -> Path:
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(b"small")
    settings = {"base_model_name_or_path": str(base), "peft_type": "LORA"}
    (folder / "adapter_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder


@pytest.mark.parametrize("inner", ["", "0_Transformer", "query_0_Transformer"])
def test_the_base_of_an_adapter_is_part_of_the_digest(inner: str, tmp_path: Path) -> None:
    base = small_model(tmp_path / "base")
    model = small_model(tmp_path / "model")
    adapter(model / "adapter", base)
    if not inner:
        model = model / "adapter"
    else:
        (model / "adapter").rename(model / inner)
    before = weights_digest(model)
    assert weights_digest(model) == before
    (base / "model.safetensors").write_bytes(b"other weights")
    assert weights_digest(model) != before


def test_an_adapter_of_an_adapter_has_the_base_of_both(tmp_path: Path) -> None:
    base = small_model(tmp_path / "base")
    model = adapter(tmp_path / "second", adapter(tmp_path / "first", base))
    before = weights_digest(model)
    (base / "config.json").write_text('{"more": 1}')
    assert weights_digest(model) != before


def test_a_base_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"base_model_name_or_path.*no folder at /not/here"):
        weights_digest(adapter(tmp_path / "lost", "/not/here"))
    with pytest.raises(InputError, match=r"as its base model"):
        weights_digest(adapter(tmp_path / "itself", tmp_path / "itself"))
    adapter(tmp_path / "damaged", "x")
    for content in ("{", "{}", "[]", '{"base_model_name_or_path": null}'):
        (tmp_path / "damaged" / "adapter_config.json").write_text(content, encoding="utf-8")
        with pytest.raises(InputError, match=r"base_model_name_or_path"):
            weights_digest(tmp_path / "damaged")


def test_other_files_on_a_worker_are_refused(static_model: Path, minilm: Path, tmp_path: Path) -> None:
    config = EncoderConfig(model=str(save_static_model(minilm, tmp_path / "static", seed=1)))
    load_model(config, "cpu", weights_digest(tmp_path / "static"))
    with pytest.raises(InputError, match=r"encoder\.model: the files in .*static on .* are not those"):
        load_model(config, "cpu", weights_digest(static_model))


def test_a_model_that_was_kept_is_given_once_and_only_for_the_same_weights_and_settings(static_model: Path) -> None:
    config, weights = EncoderConfig(model=str(static_model)), weights_digest(static_model)
    model = load_model(config, "cpu", weights)
    keep_model(config, "cpu", weights, model)
    assert load_model(config.model_copy(update={"dtype": "float16"}), "cpu", weights) is not model
    assert load_model(config, "cpu") is not model
    assert load_model(config.model_copy(update={"query_prompt": "q: "}), "cpu", weights) is model
    assert load_model(config, "cpu", weights) is not model
