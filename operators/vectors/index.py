"""Choose, train and build the index: one trained quantizer, then one shard of vectors and codes after another."""

import math
import re
from typing import Annotated, Any, Literal

import faiss
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from operators.errors import InputError

Matrix = npt.NDArray[np.float32]

EXACT = "exact"
# Up to here an exact search of 10,000 queries takes about a minute and a half on two cores, and nothing is lost.
EXACT_ROWS = 1_000_000
# FAISS trains its coarse quantizer on up to 256 points a list and warns below 39.
TRAIN_ROWS_PER_LIST = 64


class IndexConfig(BaseModel):
    """How a corpus is searched.

    Attributes:
        factory: `exact`, any FAISS factory string (`IVF4096,PQ48`, `OPQ48,IVF4096,PQ48x4fs`, ...), or `auto`: exact
            up to a million documents, IVF with 8-bit codes above.
        shard_rows: how many documents a shard holds.
        train_rows: how many vectors, drawn over the whole corpus, train the quantizers; `auto` is 64 for each list.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    factory: str = "auto"
    shard_rows: int = Field(default=1_000_000, ge=1)
    train_rows: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"


class IndexChoice(BaseModel):
    """What `choose` decided: a factory string for FAISS, or `exact`, and why."""

    model_config = ConfigDict(frozen=True)

    factory: str
    train_rows: int
    why: str


def choose(config: IndexConfig, documents: int, dimension: int) -> IndexChoice:
    """Decide on the index of a corpus of so many documents.

    Raises:
        InputError: FAISS cannot make the index for this dimension, or there are too few documents to train it.
    """
    factory, why = config.factory, "as configured"
    if factory == "auto" and documents <= EXACT_ROWS:
        factory, why = EXACT, f"{documents} documents are few enough to compare every one (up to {EXACT_ROWS})"
    elif factory == "auto":
        lists = 2 ** round(math.log2(4 * math.sqrt(documents)))
        factory, why = f"IVF{lists},SQ8", f"{documents} documents: about 4 lists for each square root, 8-bit codes"
    if factory == EXACT:
        return IndexChoice(factory=EXACT, train_rows=0, why=why)
    check_enough(config, documents)
    _empty_index(factory, dimension)
    default = max(TRAIN_ROWS_PER_LIST * lists_in(factory), 65536)
    rows = default if config.train_rows == "auto" else config.train_rows
    return IndexChoice(factory=factory, train_rows=min(rows, documents), why=why)


def lists_in(factory: str) -> int:
    """Return how many inverted lists a factory string names, 0 for none."""
    match = re.search(r"IVF(\d+)", factory)
    return int(match.group(1)) if match else 0


def check_factory(factory: str) -> None:
    """Refuse a factory string that FAISS cannot read, whatever the dimension.

    Raises:
        InputError: with what FAISS says of it.
    """
    if factory not in {"auto", EXACT}:
        _empty_index(factory, 3840)  # divisible by every usual number of sub-quantizers


def check_enough(config: IndexConfig, documents: int) -> None:
    """Refuse what is too little to train the configured index on.

    Raises:
        InputError: fewer documents or `train_rows` than inverted lists, or than centroids of a sub-quantizer.
    """
    bits = re.search(r"PQ\d+(?:x(\d+))?", config.factory)
    needed = max(lists_in(config.factory), 2 ** int(bits.group(1) or 8) if bits else 1)
    if documents < needed:
        raise InputError(
            f"index: {config.factory} needs at least {needed} documents to train on, and there are {documents}. "
            f"Use `index: exact`, or fewer lists."
        )
    if config.train_rows != "auto" and config.train_rows < needed:
        raise InputError(
            f"index.train_rows: {config.factory} needs at least {needed} vectors to train on, not {config.train_rows}."
        )


def _empty_index(factory: str, dimension: int) -> Any:  # noqa: ANN401 - faiss is untyped
    try:
        return faiss.index_factory(dimension, factory, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        raise InputError(
            f"index: FAISS cannot make {factory!r} for vectors of {dimension} values ({_said(error)}). "
            f"Use auto, exact or another factory string."
        ) from error


def _said(error: RuntimeError) -> str:
    return (str(error).rpartition("Error: ")[2] or str(error)).strip()


def train(choice: IndexChoice, sample: Matrix) -> bytes:
    """Train an empty index on a float32 sample of shape (n, dimension); returns it serialised.

    Raises:
        InputError: FAISS cannot train on that sample.
    """
    index = _empty_index(choice.factory, sample.shape[1])
    try:
        index.train(np.ascontiguousarray(sample))
    except RuntimeError as error:  # such as residual quantizers, whose needs `choose` does not know
        raise InputError(
            f"index: FAISS cannot train {choice.factory!r} on {len(sample)} vectors ({_said(error)}). "
            f"Raise index.train_rows, or use auto, exact or another factory string."
        ) from error
    return bytes(faiss.serialize_index(index).tobytes())


def build(trained: bytes, vectors: Matrix) -> bytes:
    """Add vectors, float32 of shape (n, dimension), to a copy of the trained index; returns it serialised.

    FAISS ids are the rows of the shard.
    """
    index = faiss.deserialize_index(np.frombuffer(trained, dtype=np.uint8))
    index.add(np.ascontiguousarray(vectors))
    return bytes(faiss.serialize_index(index).tobytes())
