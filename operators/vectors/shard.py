"""A shard of the index, open for search: its vectors and keys, and the codes that propose candidates."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import faiss
import numpy as np
import numpy.typing as npt

from operators.schemas import Vectors
from operators.segments import in_sorted
from operators.vectors.precision import in_float32

ROWS_AT_ONCE = 65_536
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Shard:
    """One piece of the corpus.

    Attributes:
        flat: the flat FAISS index that holds the vectors, mostly a memory map; row i is FAISS id i.
        doc_key: shape (rows,), int64.
        text_key: shape (rows,), int64.
        codes: the quantized FAISS index whose ids are the rows, or None where every vector is compared.
    """

    flat: Any
    doc_key: Ints
    text_key: Ints
    codes: Any | None = None

    @property
    def vectors(self) -> Vectors:
        """View the vectors, shape (rows, dimension), float16 or float32; valid as long as the shard is."""
        rows, dimension = self.flat.ntotal, self.flat.d
        size = rows * self.flat.code_size
        dtype: Any = np.float16 if self.flat.code_size == dimension * 2 else np.float32
        if not rows:
            return np.zeros((0, dimension), dtype)
        held: Any = faiss.rev_swig_ptr(self.flat.codes.data(), size)
        vectors: Any = held.view(dtype).reshape(rows, dimension)
        return cast("Vectors", vectors)

    def holds(self, doc_keys: Ints) -> npt.NDArray[np.bool_]:
        """Tell which of some documents are in this shard: bool of shape (n,)."""
        return in_sorted(doc_keys, self._sorted_keys)

    @cached_property
    def _sorted_keys(self) -> Ints:
        return np.sort(self.doc_key)

    @cached_property
    def longest(self) -> float:
        """The length of the longest vector."""
        lengths = [0.0]
        for start in range(0, len(self.doc_key), ROWS_AT_ONCE):
            block = in_float32(self.vectors[start : start + ROWS_AT_ONCE])
            lengths.append(float(np.sqrt(np.einsum("ij,ij->i", block, block).max())))
        return max(lengths)

    @property
    def inverted(self) -> Any | None:  # noqa: ANN401 - faiss is untyped
        """The inverted lists of the codes, or None where there are none."""
        return None if self.codes is None else faiss.try_extract_index_ivf(self.codes)


def open_shard(folder: Path) -> Shard:
    """Open a shard's files (vectors.faiss, keys.npy and, if quantized, codes.faiss) without reading them."""
    keys = np.load(folder / "keys.npy")
    codes = folder / "codes.faiss"
    return Shard(
        flat=_mapped(folder / "vectors.faiss"),
        doc_key=keys[0],
        text_key=keys[1],
        codes=_mapped(codes) if codes.exists() else None,
    )


def _mapped(file: Path) -> Any:  # noqa: ANN401 - faiss is untyped
    return faiss.read_index(str(file), faiss.IO_FLAG_MMAP_IFC)
