"""Find a model's files and tell one set of weights from another."""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import xxhash

from operators.errors import InputError
from operators.vectors.model_failures import failure

# The same weights in other formats; only safetensors are read.
OTHER_WEIGHTS = ["pytorch_model*.bin", "tf_model.h5", "*.msgpack", "*.ot", "onnx/*", "openvino/*"]
# Of a PEFT adapter: names the model that it is added to.
ADAPTER = "adapter_config.json"
FILES_AT_MOST = 100_000


def model_folder(model: str, revision: str | None, key: str = "encoder.model") -> Path:
    """Return the folder of a model: the one given, or the local copy of a hub id, fetched where it is not there yet.

    Raises:
        InputError: neither a folder nor a model on the hub.
        TransientError: the hub cannot be reached, or a storage failed.
    """
    try:
        if Path(model).is_dir():
            return Path(model).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a name too long, a NUL
        raise failure(error, f"{key}: {model} cannot be opened", "Check the path.") from error
    if model.count("/") > 1 or model.startswith((".", "/", "~")):
        raise InputError(f"{key}: no folder at {model}. Correct the path, or name a model of the hub.")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model, revision=revision, ignore_patterns=OTHER_WEIGHTS))
    except Exception as error:  # of the hub's client, of its HTTP library, of the file system
        raise failure(
            error,
            f"{key}: {model} is neither a folder here nor a model that the hub gives",
            "Check the name, the network and HF_HUB_OFFLINE, or name a folder.",
        ) from error


def weights_digest(folder: Path) -> str:
    """Hash the content of all files of a model: two checkpoints never share it, whatever their path and their name.

    What links lead to is part of it, and the base model of a PEFT adapter.

    Raises:
        InputError: a file cannot be read, or there are more files than a model has.
        TransientError: the storage failed.
    """
    return _digest(folder, ())


def _digest(folder: Path, above: Sequence[Path]) -> str:
    digest = xxhash.xxh3_128()
    folder = folder.resolve()
    bases: list[str] = []
    for count, (name, file) in enumerate(_files(folder)):
        if count >= FILES_AT_MOST:
            raise InputError(f"encoder.model: {folder} has more than {FILES_AT_MOST:,} files. Name a model's folder.")
        try:
            digest.update(f"{name}\0{file.stat().st_size}\0".encode(errors="surrogateescape"))
            with file.open("rb") as stream:
                while block := stream.read(1 << 22):
                    digest.update(block)
            if file.name == ADAPTER and not any(part.startswith("checkpoint-") for part in Path(name).parts):
                bases.append(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise failure(error, f"encoder.model: {file} cannot be read", "Make it readable.") from error
    for base in bases:
        digest.update(b"base\0" + _digest(_base_folder(base, folder, [*above, folder]), [*above, folder]).encode())
    return digest.hexdigest()


def _base_folder(adapter: str, folder: Path, above: Sequence[Path]) -> Path:
    """Return the folder of the model that an adapter is added to, by the content of its configuration."""
    key = "base_model_name_or_path"
    try:
        name = json.loads(adapter)[key]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"encoder.model: {folder}: {ADAPTER} names no `{key}`. Get the adapter again.") from error
    if not isinstance(name, str) or not name:
        raise InputError(f"encoder.model: {folder}: `{key}` in {ADAPTER} is no name of a model. Get the adapter again.")
    base = model_folder(name, None, key=f"encoder.model: {folder}: `{key}` in {ADAPTER}").resolve()
    if base in above:
        raise InputError(f"encoder.model: {folder}: {ADAPTER} names itself, at {base}, as its base model. Mend it.")
    return base


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield (relative name, path) of a model's files, in the order of their names. Follows links, but no loop."""
    found = []
    above: dict[str, frozenset[str]] = {str(folder): frozenset({os.path.realpath(folder)})}

    def refuse(error: OSError) -> None:
        raise failure(error, f"encoder.model: {error.filename} cannot be read", "Make it readable.") from error

    for place, folders, names in os.walk(folder, followlinks=True, onerror=refuse):
        ancestors = above.pop(place)
        real = {name: os.path.realpath(Path(place, name)) for name in folders}
        folders[:] = [name for name in folders if real[name] not in ancestors]
        above.update({str(Path(place, name)): ancestors | {real[name]} for name in folders})
        found += [Path(place, name) for name in names]
        if len(found) > FILES_AT_MOST:
            break
    for file in sorted(found):
        name = file.relative_to(folder).as_posix()
        if not name.startswith(".") and file.suffix.lower() not in {".md", ".lock"} and file.is_file():
            yield name, file
