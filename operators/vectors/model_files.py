"""Find a model's files and tell one set of weights from another."""

import json
import os
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import xxhash

from operators.errors import InputError, placed
from operators.vectors.model_failures import failure

# The same weights for other frameworks, which nothing here reads, and folders of exports for other runtimes.
OTHER_FRAMEWORKS = ("tf_model*.h5", "*.msgpack", "*.ot")
OTHER_RUNTIMES = ("onnx", "openvino")
# Pickled weights, and what is read instead where it is beside them. Static embeddings and the modules behind a
# transformer (`2_Dense/`) read `pytorch_model.bin` where there is no `model.safetensors`.
PICKLED = {
    "pytorch_model*.bin": ("model.safetensors",),
    "pytorch_model-*.bin": ("model.safetensors.index.json",),
    "pytorch_model.bin.index.json": ("model.safetensors", "model.safetensors.index.json"),
    "adapter_model.bin": ("adapter_model.safetensors",),
}
# Of a model of the hub these are not fetched.
OTHER_WEIGHTS = ["pytorch_model*.bin", *OTHER_FRAMEWORKS, *(f"{folder}/*" for folder in OTHER_RUNTIMES)]
# Where a model names the folders of its modules.
NAMING_FOLDERS = {"modules.json", "router_config.json"}
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


def weights_digest(folder: Path, trusted: bool = False, key: str = "encoder.model") -> str:
    """Hash the content of a model's files: two checkpoints never share it, whatever their path and their name.

    What links lead to is part of it, and the base model of a PEFT adapter. What no encoder reads is not: weights for
    other frameworks and runtimes (`onnx/`), and pickled ones with safetensors beside them.

    Args:
        folder: of the model.
        trusted: the model may run code of its own, which may read any file: all are part of it.
        key: that names the model, for messages.

    Raises:
        InputError: a file cannot be read, or there are more files than a model has.
        TransientError: the storage failed.
    """
    with placed(f"{key}: "):
        return _digest(folder, trusted, ())


def _digest(folder: Path, trusted: bool, above: Sequence[Path]) -> str:
    digest = xxhash.xxh3_128()
    folder = folder.resolve()
    bases: list[str] = []
    for name, file in _files(folder, trusted):
        try:
            digest.update(f"{name}\0{file.stat().st_size}\0".encode(errors="surrogateescape"))
            with file.open("rb") as stream:
                while block := stream.read(1 << 22):
                    digest.update(block)
            if file.name == ADAPTER and not any(part.startswith("checkpoint-") for part in Path(name).parts):
                bases.append(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise failure(error, f"{file} cannot be read", "Make it readable.") from error
    for base in bases:
        of_base = _digest(_base_folder(base, folder, [*above, folder]), trusted, [*above, folder])
        digest.update(b"base\0" + of_base.encode())
    return digest.hexdigest()


def _base_folder(adapter: str, folder: Path, above: Sequence[Path]) -> Path:
    """Return the folder of the model that an adapter is added to, by the content of its configuration."""
    key = "base_model_name_or_path"
    try:
        name = json.loads(adapter)[key]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{folder}: {ADAPTER} names no `{key}`. Get the adapter again.") from error
    if not isinstance(name, str) or not name:
        raise InputError(f"{folder}: `{key}` in {ADAPTER} is no name of a model. Get the adapter again.")
    base = model_folder(name, None, key=f"{folder}: `{key}` in {ADAPTER}").resolve()
    if base in above:
        raise InputError(f"{folder}: {ADAPTER} names itself, at {base}, as its base model. Mend it.")
    return base


def _files(folder: Path, trusted: bool) -> Iterator[tuple[str, Path]]:
    """Yield (relative name, path) of the files that are part of a model, in the order of their names."""
    files = [file for file in sorted(_found(folder)) if file.is_file() and file.suffix.lower() not in {".md", ".lock"}]
    exports = _exports(files)
    for file in files:
        path = file.relative_to(folder)
        if trusted or (exports.isdisjoint(path.parts[:-1]) and not _is_unread(file)):
            yield path.as_posix(), file


def _is_unread(file: Path) -> bool:
    """Tell whether a file has weights in a format that is not read there."""
    if any(fnmatchcase(file.name, pattern) for pattern in OTHER_FRAMEWORKS):
        return True
    instead = [name for pattern, names in PICKLED.items() if fnmatchcase(file.name, pattern) for name in names]
    return any(file.with_name(name).exists() for name in instead)


def _exports(files: Sequence[Path]) -> frozenset[str]:
    """Return the names of folders that are exports for other runtimes: not those that a model has a module in."""
    naming = [file for file in files if file.name in NAMING_FOLDERS]
    try:
        named = b"".join(file.read_bytes() for file in naming)
    except OSError as error:
        raise failure(error, f"{error.filename} cannot be read", "Make it readable.") from error
    return frozenset(name for name in OTHER_RUNTIMES if name.encode() not in named)


def _found(folder: Path) -> list[Path]:
    """Return the files in a folder and in those below it, except hidden ones at its top. Follows links, but no loop."""
    found: list[Path] = []
    above: dict[str, frozenset[str]] = {str(folder): frozenset({os.path.realpath(folder)})}

    def refuse(error: OSError) -> None:
        raise failure(error, f"{error.filename} cannot be read", "Make it readable.") from error

    for place, folders, names in os.walk(folder, followlinks=True, onerror=refuse):
        ancestors = above.pop(place)
        hidden = "." if place == str(folder) else "/"  # which starts no name
        real = {name: os.path.realpath(Path(place, name)) for name in folders if not name.startswith(hidden)}
        folders[:] = [name for name, path in real.items() if path not in ancestors]
        above.update({str(Path(place, name)): ancestors | {real[name]} for name in folders})
        found += [Path(place, name) for name in names if not name.startswith(hidden)]
        if len(found) > FILES_AT_MOST:
            raise InputError(f"{folder} has more than {FILES_AT_MOST:,} files. Name a model's folder.")
    return found
