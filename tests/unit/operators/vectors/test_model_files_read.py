"""The digest of a model covers the files that are read to encode with it, and no weights that are not."""

import ctypes
import json
import os
import shutil
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from operators.errors import InputError
from operators.vectors import model_files
from operators.vectors.encode import Encode
from operators.vectors.encoder import EncoderConfig
from operators.vectors.model_files import weights_digest
from operators.vectors.model_load import load_model
from tests.models import SHAPES, add_exports, base_of, save_model

IN_OPEN = 0x20
EVENT = struct.Struct("iIII")  # of inotify: the watch, what happened, a cookie, the length of the name that follows


@contextmanager
def opened_in(folders: list[Path]) -> Iterator[set[Path]]:
    """Collect the files below some folders that anything opens: libraries that are not written in Python, too."""
    system = ctypes.CDLL(None, use_errno=True)
    watch = system.inotify_init1(os.O_NONBLOCK)
    places = {
        system.inotify_add_watch(watch, os.fsencode(place), IN_OPEN): Path(place)
        for folder in folders
        for place, _, _ in os.walk(folder)
    }
    opened: set[Path] = set()
    yield opened
    events = bytearray()
    while (more := _read(watch)) is not None:
        events += more
    os.close(watch)
    while events:
        place, _, _, length = EVENT.unpack_from(events)
        opened.add(places[place] / os.fsdecode(bytes(events[EVENT.size : EVENT.size + length]).rstrip(b"\0")))
        del events[: EVENT.size + length]
    opened.intersection_update([path for path in opened if path.is_file()])


def _read(watch: int) -> bytes | None:
    try:
        return os.read(watch, 1 << 16)
    except BlockingIOError:
        return None


def encoded(folder: Path) -> Any:  # noqa: ANN401 - an array
    config = EncoderConfig(model=str(folder), dtype="float32")
    model = load_model(config, "cpu")
    return np.stack([Encode(config, side, model).vectors(["a hard negative", "12"]) for side in ("query", "document")])


def is_covered(model: Path, file: Path) -> bool:
    """Tell whether a change of one byte of a file changes the digest of the model."""
    before, content = weights_digest(model), file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]) if content else b"x")
    try:
        return weights_digest(model) != before
    except InputError:  # of an adapter, whose settings are read
        return True
    finally:
        file.write_bytes(content)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "inotify_init1"), reason="needs Linux to see what is opened")
@pytest.mark.parametrize("shape", SHAPES)
def test_the_digest_covers_what_is_read_and_no_weights_that_are_not(shape: str, minilm: Path, tmp_path: Path) -> None:
    model = save_model(shape, minilm, tmp_path / "model")
    folders = [model] if shape != "adapter" else [model, base_of(model)]
    plain, digest = encoded(model), weights_digest(model)
    added = [file for folder in folders for file in add_exports(folder)]
    with opened_in(folders) as opened:
        assert np.array_equal(encoded(model), plain)
    assert weights_digest(model) == digest
    assert opened.isdisjoint(added)
    assert {file for folder in folders for file in folder.rglob("*.safetensors")} < opened
    assert [file for file in opened if not is_covered(model, file)] == [model / "README.md"]  # kept for a new card
    assert not [file for file in added if is_covered(model, file)]


@pytest.mark.parametrize("of", ["", "1_Dense"])
def test_pickled_weights_count_where_they_are_what_is_read(of: str, minilm: Path, tmp_path: Path) -> None:
    model = save_model("cut to fewer dimensions", minilm, tmp_path / "model")
    weights = model / of / "model.safetensors"
    plain, tensors = encoded(model), load_file(weights)
    weights.unlink()
    digests = []
    for factor in (1, -1):
        torch.save({name: factor * one for name, one in tensors.items()}, weights.with_name("pytorch_model.bin"))
        assert np.array_equal(encoded(model), plain) == (factor == 1)
        digests.append(weights_digest(model))
    assert digests[0] != digests[1]
    shutil.copytree(model / of, model / "onnx")
    assert weights_digest(model) == digests[1]


def test_sharded_pickled_weights_do_not_count_beside_sharded_safetensors(tmp_path: Path) -> None:
    def digest(*names: str) -> str:
        shutil.rmtree(tmp_path / "model", ignore_errors=True)
        (tmp_path / "model").mkdir()
        for name in names:
            (tmp_path / "model" / name).write_bytes(name.encode())
        return weights_digest(tmp_path / "model")

    safe = ("model-00001-of-00001.safetensors", "model.safetensors.index.json")
    pickled = ("pytorch_model-00001-of-00001.bin", "pytorch_model.bin.index.json")
    assert digest(*safe, *pickled) == digest(*safe)
    assert digest(*safe) != digest(*safe[:1])
    assert digest(*pickled) != digest(*pickled[:1])


def test_a_module_in_a_folder_with_the_name_of_an_export_counts(minilm: Path, tmp_path: Path) -> None:
    model = save_model("plain", minilm, tmp_path / "model")
    plain = encoded(model)
    (model / "1_Pooling").rename(model / "onnx")
    modules = model / "modules.json"
    modules.write_text(modules.read_text(encoding="utf-8").replace("1_Pooling", "onnx"), encoding="utf-8")
    assert np.array_equal(encoded(model), plain)
    settings = model / "onnx" / "config.json"
    before, pooling = weights_digest(model), json.loads(settings.read_text(encoding="utf-8"))
    settings.write_text(json.dumps({**pooling, "pooling_mode": "cls"}), encoding="utf-8")
    assert not np.array_equal(encoded(model), plain)
    assert weights_digest(model) != before


def test_a_model_that_may_run_its_own_code_may_read_any_file(minilm: Path, tmp_path: Path) -> None:
    model = save_model("static", minilm, tmp_path / "model")
    before = weights_digest(model, trusted=True)
    add_exports(model)
    assert weights_digest(model, trusted=True) != before


def test_hidden_files_do_not_count_however_many_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_files, "FILES_AT_MOST", 3)
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    before = weights_digest(tmp_path)
    (tmp_path / ".git").mkdir()
    for number in range(5):
        (tmp_path / ".git" / str(number)).write_bytes(b"")
    assert weights_digest(tmp_path) == before
    (tmp_path / "data").mkdir()
    for number in range(5):
        (tmp_path / "data" / str(number)).write_bytes(b"")
    with pytest.raises(InputError, match="more than 3 files"):
        weights_digest(tmp_path)
