"""A shard of the index, open for search: its vectors and keys, and the codes that propose candidates."""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import faiss
import numpy as np
import numpy.typing as npt

from operators.schemas import Vectors
from operators.segments import in_sorted
from operators.vectors.geometry import AS_THEY_ARE, InnerProduct

Ints = npt.NDArray[np.int64]

# Linux reads no more at one request than the read-ahead of the disk: 128 KiB to some MiB.
READ_AHEAD_BYTES = 1 << 20


@dataclass(frozen=True)
class Shard:
    """One piece of the corpus.

    Attributes:
        flat: the flat FAISS index that holds the vectors, mostly a memory map; row i is FAISS id i.
        doc_key: shape (rows,), int64.
        text_key: shape (rows,), int64.
        lengths: how long the vectors are, and how far rounding to bfloat16 moves them, as `lengths_of` returns it:
            float32 of shape (2, rows).
        codes: the quantized FAISS index whose ids are the rows, or None where every vector is compared.
        geometry: what score an inner product with one of the vectors stands for.
    """

    flat: Any
    doc_key: Ints
    text_key: Ints
    lengths: npt.NDArray[np.float32]
    codes: Any | None = None
    geometry: InnerProduct = AS_THEY_ARE

    @property
    def vectors(self) -> Vectors:
        """View the vectors, shape (rows, dimension), float16 or float32; valid as long as the shard is."""
        return vectors_of(self.flat)

    def holds(self, doc_keys: Ints) -> npt.NDArray[np.bool_]:
        """Tell which of some documents are in this shard: bool of shape (n,)."""
        return in_sorted(doc_keys, self._ascending)

    @cached_property
    def _ascending(self) -> Ints:
        return np.sort(self.doc_key)

    @property
    def inverted(self) -> Any | None:  # noqa: ANN401 - faiss is untyped
        """The inverted lists of the codes, or None where there are none."""
        return None if self.codes is None else faiss.try_extract_index_ivf(self.codes)


def vectors_of(flat: Any) -> Vectors:  # noqa: ANN401 - faiss is untyped
    """View the vectors of a flat index, shape (rows, dimension), float16 or float32; valid as long as the index is."""
    rows, dimension = flat.ntotal, flat.d
    dtype: Any = np.float16 if flat.code_size == dimension * 2 else np.float32
    if not rows:
        return np.zeros((0, dimension), dtype)
    held: Any = faiss.rev_swig_ptr(flat.codes.data(), rows * flat.code_size)
    vectors: Any = held.view(dtype).reshape(rows, dimension)
    return cast("Vectors", vectors)


def open_shard(folder: Path, geometry: InnerProduct = AS_THEY_ARE) -> Shard:
    """Open a shard's files (vectors.faiss, keys.npy, lengths.npy, and codes.faiss if there is one); maps the large."""
    keys = np.load(folder / "keys.npy")
    codes = folder / "codes.faiss"
    return Shard(
        flat=_mapped(folder / "vectors.faiss"),
        doc_key=keys[0],
        text_key=keys[1],
        lengths=np.load(folder / "lengths.npy"),
        codes=_mapped(codes) if codes.exists() else None,
        geometry=geometry,
    )


def read_ahead(folder: Path) -> None:
    """Have the system read a shard's large files now, one after the other, where it can.

    Codes propose rows all over a shard; page by page, a slow disk takes many times as long.
    """
    for file in (folder / "codes.faiss", folder / "vectors.faiss"):
        if file.exists() and hasattr(os, "posix_fadvise"):
            with file.open("rb") as opened:
                for offset in range(0, file.stat().st_size, READ_AHEAD_BYTES):
                    os.posix_fadvise(opened.fileno(), offset, READ_AHEAD_BYTES, os.POSIX_FADV_WILLNEED)


def _mapped(file: Path) -> Any:  # noqa: ANN401 - faiss is untyped
    return faiss.read_index(str(file), faiss.IO_FLAG_MMAP_IFC)
