"""Load a sentence-transformers model, ready to encode, or say in one line why it cannot be."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from operators.errors import InputError
from operators.vectors.encoder import EncoderConfig, Side, resolve
from operators.vectors.model_failures import failure
from operators.vectors.model_files import model_folder, weights_digest

GET_IT_AGAIN = "Get the model's files again, or take another model."
# Loaded to be tried, and kept for the encoding that follows in the same process: (what was loaded, the model).
_kept: list[tuple[tuple[str, ...], Any]] = []


def load_model(config: EncoderConfig, device: str | None = None, weights: str | None = None) -> Any:  # noqa: ANN401 - the library is untyped here
    """Load the sentence-transformers model of the configuration onto a device, ready to encode.

    The weights of its linear layers are kept in `dtype`: that saves casting them for every batch. Weights that are not
    in the files, which the library would draw at random, are NaN: what depends on them is noticed.

    Args:
        config: the encoder.
        device: where it encodes; a GPU where there is one by default.
        weights: the digest that the model's files must have here; None to take them as they are.

    Raises:
        InputError: the model cannot be loaded, is not the one of the digest, or cannot cut texts where `max_seq_length`
            is set.
        TransientError: too little memory, or a storage or network that failed.
    """
    device = device or default_device()
    key = _key(config, device, weights)
    kept = [_kept.pop()[1] for held, _ in list(_kept) if held == key]
    if kept:
        return kept[0]
    named = config.key("model")
    folder = model_folder(str(config.model), config.revision, named)
    if weights is not None and weights_digest(folder, config.trust_remote_code, named) != weights:
        raise InputError(
            f"{named}: the files in {folder} on {socket.gethostname()} are not those that this command began with. "
            f"Copy the same model to every node and leave it as it is; pin `{config.key('revision')}` of a hub id."
        )
    model = _load(config, folder, device)
    _cut(config, model)
    model.missing_weights = _mark_missing_weights(model)
    _cast(config, model)
    return model.eval()


def keep_model(config: EncoderConfig, device: str, weights: str, model: Any) -> None:  # noqa: ANN401 - the library is untyped here
    """Keep a loaded model for the next `load_model` of the same weights, settings and device in this process."""
    _kept[:] = [(_key(config, device, weights), model)]


def input_module(model: Any, side: Side) -> Any:  # noqa: ANN401 - the library is untyped here
    """Return the module that reads the texts of a side: of a router that of the side's route, else the first."""
    first = model[0]
    routes = getattr(first, "sub_modules", None)
    return first if routes is None else routes[route_of(model, side)][0]


def route_of(model: Any, side: Side) -> str | None:  # noqa: ANN401 - the library is untyped here
    """Return the route that texts of a side take through a model, or None where it has no routes."""
    find = getattr(model[0], "_resolve_route", None)
    return None if find is None else str(find(task=side, modality="text"))


def default_device() -> str:
    """Return the device to encode on: a GPU where there is one, else the CPU."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _key(config: EncoderConfig, device: str, weights: str | None) -> tuple[str, ...]:
    beside = {"model", "revision", "query_prompt", "document_prompt", "batch_tokens"}
    return str(weights), device, config.model_dump_json(exclude=beside)


def _load(config: EncoderConfig, folder: Path, device: str) -> Any:  # noqa: ANN401 - the library is untyped here
    import torch
    from sentence_transformers import SentenceTransformer

    what = f"{config.key('model')}: {config.model} cannot be loaded"
    try:
        with without_progress_bars():
            return SentenceTransformer(
                str(folder),
                device=device,
                trust_remote_code=config.trust_remote_code,
                model_kwargs={"dtype": torch.float32, "use_safetensors": True},
            )
    except BaseException as error:
        # What is damaged shows as any error of Python, of the tokenizers and of the file formats; a panic of those
        # that are written in Rust is no `Exception`.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        remedy = GET_IT_AGAIN
        if isinstance(error, ImportError):
            remedy = "Install the package on every machine that encodes."
        if "trust_remote_code" in str(error):
            remedy = f"It runs code of its own: set `{config.key('trust_remote_code')}` if you trust it."
        raise failure(error, what, remedy) from error


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """Keep transformers from showing bars while it reads or writes a model."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _cut(config: EncoderConfig, model: Any) -> None:  # noqa: ANN401 - the library is untyped here
    tokens, name, key = config.max_seq_length, config.model, config.key("max_seq_length")
    if tokens is None:
        return
    transformer = model.transformers_model
    positions = None if transformer is None else getattr(transformer.config, "max_position_embeddings", None)
    if isinstance(positions, int) and tokens > positions:
        raise InputError(f"{key}: {tokens} is more than the {positions} tokens that {name} can read.")
    try:
        for module in _input_modules(model):
            module.max_seq_length = tokens
    except AttributeError as error:  # static embeddings average all words
        raise InputError(f"{key}: {name} reads texts of any length; leave it out.") from error


def _input_modules(model: Any) -> list[Any]:  # noqa: ANN401 - the library is untyped here
    routes = getattr(model[0], "sub_modules", None)
    return [model[0]] if routes is None else [modules[0] for modules in routes.values()]


def _mark_missing_weights(model: Any) -> list[str]:  # noqa: ANN401 - the library is untyped here
    """Make NaN of the transformer weights that its files lack; return their names.

    transformers draws these at random and marks those that it read, of an adapter as of its base; where it marks none,
    nothing is known. Quantized weights are read in other ways.
    """
    import torch
    from transformers import PreTrainedModel

    missing: list[str] = []
    for at, module in model.named_modules():
        if not isinstance(module, PreTrainedModel):
            continue
        read = {name: getattr(one, "_is_hf_initialized", False) for name, one in module.named_parameters()}
        if not any(read.values()) or getattr(module, "is_quantized", False):
            continue
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                if not read[name] and parameter.is_floating_point():
                    parameter.fill_(torch.nan)
                    missing.append(f"{at}.{name}")
    return missing


def _cast(config: EncoderConfig, model: Any) -> None:  # noqa: ANN401 - the library is untyped here
    import torch

    dtype = getattr(torch, resolve(config, model.device.type).dtype)
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            module.to(dtype)
