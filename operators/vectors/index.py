"""Choose, train and build the index: one trained quantizer, then one shard of vectors and codes after another."""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import faiss
import numpy as np
from pydantic import BaseModel, ConfigDict, model_validator

from operators.errors import InputError
from operators.schemas import VectorDType, Vectors
from operators.settings import AtLeastOne, Settings
from operators.vectors.costs import COSTS
from operators.vectors.factory import EXACT, empty_index, lists_in, said
from operators.vectors.precision import in_float32

# FAISS trains its coarse quantizer on up to 256 points a list, warns below 39, and goes over them ten times.
TRAIN_ROWS_PER_LIST = 64
TRAIN_ROUNDS = 10


class IndexConfig(Settings):
    """How a corpus is searched.

    Attributes:
        factory: `exact`, any FAISS factory string (`IVF4096,PQ48`, `OPQ48,IVF4096,PQ48x4fs`, ...), or `auto`: exact
            where comparing every document with every query is little work or less than building an index, else IVF
            with 4-bit codes.
        shard_rows: how many documents a shard holds; `auto` is what a tenth of the memory budget does.
        train_rows: how many vectors, drawn over the whole corpus, train the quantizers; `auto` is 64 for each list.
    """

    factory: str = "auto"
    shard_rows: Literal["auto"] | AtLeastOne = "auto"
    train_rows: Literal["auto"] | AtLeastOne = "auto"

    @model_validator(mode="before")
    @classmethod
    def _a_string_is_a_factory(cls, value: object) -> object:
        return {"factory": value} if isinstance(value, str) else value


@dataclass(frozen=True)
class Task:
    """What an index is for.

    Attributes:
        documents: how many are searched.
        queries: how many are asked.
        dimension: of the vectors.
        shard_rows: how many documents a shard holds.
        device: on which exact search would run.
    """

    documents: int
    queries: int
    dimension: int
    shard_rows: int
    device: Literal["cpu", "cuda"] = "cpu"


class IndexChoice(BaseModel):
    """What `choose` decided: a factory string for FAISS, or `exact`, and why."""

    model_config = ConfigDict(frozen=True)

    factory: str
    train_rows: int
    why: str


def choose(config: IndexConfig, task: Task) -> IndexChoice:
    """Decide on the index of a corpus.

    Raises:
        InputError: FAISS cannot make the index for this dimension, or there are too few documents to train it.
    """
    factory, why = (config.factory, "as configured") if config.factory != "auto" else _automatic(task)
    if factory == EXACT:
        return IndexChoice(factory=EXACT, train_rows=0, why=why)
    check_enough(config, task.documents)
    empty_index(factory, task.dimension)
    default = max(TRAIN_ROWS_PER_LIST * lists_in(factory), 65536)
    rows = default if config.train_rows == "auto" else config.train_rows
    return IndexChoice(factory=factory, train_rows=min(rows, task.documents), why=why)


def _automatic(task: Task) -> tuple[str, str]:
    """Compare the work of an exact search with that of building an index; both are mostly matrix products."""
    pair = 2 * task.dimension
    exact = task.queries * task.documents * pair
    in_shard = min(task.documents, task.shard_rows)
    lists = 2 ** round(math.log2(2 * math.sqrt(in_shard)))  # a shard is searched by itself: its size counts
    building = lists * (TRAIN_ROWS_PER_LIST * lists * TRAIN_ROUNDS + task.documents) * pair
    asked = f"{task.queries:,} queries x {task.documents:,} documents"
    little = COSTS.little_flop(task.device)
    if exact <= little:
        return EXACT, f"{asked} are {exact:.1e} FLOP, little enough to compare all ({little:.0e})"
    if exact <= building:
        return EXACT, f"{asked} are {exact:.1e} FLOP, less than the {building:.1e} of building an index"
    codes = f"PQ{task.dimension // 2}x4fs" if task.dimension % 2 == 0 else "SQ8"
    factory = f"IVF{lists},{codes}"
    return factory, f"{asked} are {exact:.1e} FLOP, building {factory} takes {building:.1e} and saves most of them"


def check_dimension(config: IndexConfig, dimension: int) -> None:
    """Refuse an index that FAISS cannot make for vectors of this length.

    Raises:
        InputError: with what FAISS says of it.
    """
    if config.factory not in {"auto", EXACT}:
        empty_index(config.factory, dimension)


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


def train(choice: IndexChoice, sample: Vectors) -> bytes:
    """Train an empty index on a sample of shape (n, dimension); returns it serialised.

    Raises:
        InputError: FAISS cannot train on that sample.
    """
    index = empty_index(choice.factory, sample.shape[1])
    try:
        index.train(in_float32(sample))
    except RuntimeError as error:  # such as residual quantizers, whose needs `choose` does not know
        raise InputError(
            f"index: FAISS cannot train {choice.factory!r} on {len(sample)} vectors ({said(error)}). "
            f"Raise index.train_rows, or use auto, exact or another factory string."
        ) from error
    return bytes(faiss.serialize_index(index).tobytes())


def codes_from(trained: bytes) -> Any:  # noqa: ANN401 - faiss is untyped
    """Return a copy of the trained index, to which vectors can be added; FAISS ids are the rows of the shard."""
    return faiss.deserialize_index(np.frombuffer(trained, dtype=np.uint8))


def add(index: Any, block: Vectors) -> None:  # noqa: ANN401 - faiss is untyped
    """Add vectors of shape (n, dimension) to an index."""
    index.add(in_float32(block))


def begin_flat(dimension: int, dtype: VectorDType, rows: int) -> bytes:
    """Return the beginning of the file of a flat FAISS index of that precision: its `rows` vectors come behind it.

    So a shard is written without being held. FAISS ends the description of such an index with how many values follow,
    and the values are the vectors as they are.
    """
    index = empty_flat(dimension, dtype)
    index.ntotal = rows
    described = bytes(faiss.serialize_index(index).tobytes())
    values = rows * int(index.code_size) // (1 if dtype == "float16" else 4)  # of float16, FAISS counts bytes
    return described[:-8] + values.to_bytes(8, "little")


def empty_flat(dimension: int, dtype: VectorDType) -> Any:  # noqa: ANN401 - faiss is untyped
    """Return a flat FAISS index of that precision, which loses nothing of vectors."""
    if dtype == "float16":
        return faiss.IndexScalarQuantizer(dimension, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    return faiss.IndexFlatIP(dimension)


def save(index: Any, file: Path) -> None:  # noqa: ANN401 - faiss is untyped
    """Write an index to a file of FAISS."""
    faiss.write_index(index, str(file))
