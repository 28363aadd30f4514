"""Find a model's files and tell one set of weights from another."""

from pathlib import Path

import xxhash

from operators.errors import InputError

# The same weights in other formats; only safetensors are read.
OTHER_WEIGHTS = ["pytorch_model*.bin", "tf_model.h5", "*.msgpack", "*.ot", "onnx/*", "openvino/*"]


def model_folder(model: str, revision: str | None) -> Path:
    """Return the folder of a model: the one given, or the local copy of a hub id, fetched where it is not there yet.

    Raises:
        InputError: neither a folder nor a model on the hub that can be reached.
    """
    if Path(model).is_dir():
        return Path(model).resolve()
    if model.count("/") > 1 or model.startswith((".", "/", "~")):
        raise InputError(f"encoder.model: no folder at {model}.")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(model, revision=revision, ignore_patterns=OTHER_WEIGHTS))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise InputError(
            f"encoder.model: {model} is neither a folder here nor a model that the hub gives ({error}). "
            f"Check the name, the network and HF_HUB_OFFLINE, or name a folder."
        ) from error


def weights_digest(folder: Path) -> str:
    """Hash the content of all files of a model: two checkpoints never share it, whatever their path and their name."""
    digest = xxhash.xxh3_128()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = file.relative_to(folder).as_posix()
        if name.startswith(".") or file.suffix.lower() in {".md", ".lock"}:
            continue
        digest.update(f"{name}\0{file.stat().st_size}\0".encode())
        with file.open("rb") as stream:
            while block := stream.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()
