"""Try a model on a few texts, before the long work: what is damaged shows here, in one line."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from operators.errors import InputError, TransientError
from operators.schemas import Vectors
from operators.vectors.encode import Encode, token_rows
from operators.vectors.encoder import EncoderConfig, Side
from operators.vectors.model_failures import failure
from operators.vectors.model_load import GET_IT_AGAIN, input_module, route_of

# In several scripts: a tokenizer that knows no word of any is damaged. Of several lengths, so that they pad.
TEXTS = ("What makes a negative hard?", "It looks relevant, and is not: 12 of 345.", "什么是负样本?", "ماذا", "да", "")
LONGEST_TOKENS = 2048


def try_model(config: EncoderConfig, sides: Sequence[Side], model: Any) -> dict[str, Any]:  # noqa: ANN401 - the library is untyped here
    """Encode a few texts of each side, one of them as long as the model reads; return what was used.

    Args:
        config: the encoder, with nothing left to `auto` or to the model.
        sides: those whose texts it will encode.
        model: as `load_model` gave it.

    Returns:
        `similarity`, `dtype`, `vector_dtype`, `dimension`, `max_seq_length` (null where texts are not cut), `prompts`
        and `routes` (side -> text, or null without routes).

    Raises:
        InputError: the model does not give finite vectors of one dimension for texts, or has weights that are not
            finite or are missing.
        TransientError: there is too little memory, or the device failed.
    """
    what = f"{config.key('model')}: {config.model}"
    shorter = f"Set `{config.key('max_seq_length')}` to what it can read."
    _check_weights(what, model)
    dimensions: dict[Side, int] = {}
    for side in sides:
        with _refusing(f"{what} cannot encode a {side}", GET_IT_AGAIN):
            module, encode = input_module(model, side), Encode(config, side, model)
            _check_tokens(what, module)
            vectors = encode.vectors(TEXTS)
        with _refusing(f"{what} cannot encode a {side} as long as it reads", shorter):
            encode.vectors([_long(module)])
        _check_finite(f"{what} encodes a {side}", encode.config.lifted(vectors, side), config, model.missing_weights)
        _check_shape(f"{what} encodes a {side}", vectors)
        dimensions[side] = vectors.shape[1]
    if len(set(dimensions.values())) > 1:
        raise InputError(f"{what} gives vectors of other lengths for queries and documents: {dimensions}.")
    longest = getattr(input_module(model, sides[0]), "max_seq_length", None)
    return {
        "similarity": config.similarity,
        "dtype": config.dtype,
        "vector_dtype": config.vector_dtype,
        "dimension": dimensions[sides[0]],
        "max_seq_length": longest if isinstance(longest, int) and longest < 1 << 30 else None,
        "prompts": {side: config.prompt(side) for side in sides},
        "routes": {side: route_of(model, side) for side in sides},
    }


@contextmanager
def _refusing(what: str, remedy: str) -> Iterator[None]:
    """Say in one line what a damaged model shows as: any error, or a panic of a library that is written in Rust."""
    try:
        yield
    except (InputError, TransientError):
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise failure(error, what, remedy) from error


def _long(module: Any) -> str:  # noqa: ANN401 - the library is untyped here
    """Return a text that is cut where the model cuts: behind its last position where its settings do not fit."""
    longest = getattr(module, "max_seq_length", None)
    return "word " * (min(longest, LONGEST_TOKENS) + 8 if isinstance(longest, int) else LONGEST_TOKENS)


def _first_of(names: Sequence[str]) -> str:
    return names[0] + (f" and {len(names) - 1:,} more" if len(names) > 1 else "")


def _check_weights(what: str, model: Any) -> None:  # noqa: ANN401 - the library is untyped here
    """Refuse weights that are not finite. Those that the files lack are NaN: a vector that depends on them is, too."""
    import torch

    missing = set(model.missing_weights)
    broken = [
        name
        for name, weights in model.named_parameters()
        if name not in missing and weights.is_floating_point() and not bool(torch.isfinite(weights).all())
    ]
    if broken:
        raise InputError(f"{what} has weights that are not finite ({_first_of(broken)}). {GET_IT_AGAIN}")


def _check_tokens(what: str, module: Any) -> None:  # noqa: ANN401 - the library is untyped here
    """Refuse a tokenizer whose words are more than the model has vectors for. Tokens that were added may be."""
    tokenizer: Any = getattr(module, "tokenizer", None)
    rows = token_rows(module)
    words = getattr(getattr(tokenizer, "backend_tokenizer", tokenizer), "get_vocab", None)
    if rows is None or words is None:
        return
    highest = max(words(with_added_tokens=False).values(), default=-1)
    if highest >= rows:
        raise InputError(
            f"{what} has vectors for {rows:,} tokens, and its tokenizer has a word of number {highest:,}: "
            f"they are not of one model. {GET_IT_AGAIN}"
        )
    if not hasattr(tokenizer, "all_special_ids"):  # of static embeddings: all texts have one vector then
        return
    found = tokenizer(list(TEXTS), add_special_tokens=False, return_attention_mask=False)["input_ids"]
    if not {one for ids in found for one in ids} - set(tokenizer.all_special_ids):
        raise InputError(f"{what} has a tokenizer that knows no word: its files are missing. {GET_IT_AGAIN}")


def _check_finite(what: str, vectors: Vectors, config: EncoderConfig, missing: Sequence[str]) -> None:
    if np.isfinite(vectors).all():
        return
    if missing:
        raise InputError(
            f"{what} with weights that its files lack ({_first_of(missing)}): sentence-transformers would draw them at "
            f"random. {GET_IT_AGAIN}"
        )
    raise InputError(
        f"{what} as a vector that is not finite. Set `{config.key('dtype')}: float32` (now {config.dtype}), and "
        f"`{config.key('vector_dtype')}: float32` (now {config.vector_dtype}) if its vectors are very long."
    )


def _check_shape(what: str, vectors: npt.NDArray[np.float32]) -> None:
    if vectors.ndim != 2 or not vectors.shape[1]:
        raise InputError(f"{what} as an array of shape {vectors.shape[1:]}, not as one vector. {GET_IT_AGAIN}")
    if (vectors == vectors[0]).all():
        raise InputError(f"{what} as the same vector whatever the text: its tokenizer knows no word. {GET_IT_AGAIN}")
