"""Signatures of texts: how much two of them share is estimated from a few bytes of each.

The resemblance of two texts is the Jaccard similarity of their sets of shingles, that is of the pieces of a certain
length that they have (Broder, "On the resemblance and containment of documents", 1997). A MinHash signature is a few
bytes of each text, and as many of them are equal in two signatures as the texts resemble each other, on average.
"""

from collections.abc import Iterator
from unicodedata import normalize

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from rensa import RMinHash

from operators.keys import splitmix64

Bytes = npt.NDArray[np.uint8]

# Values of a signature: the standard error of an estimate is at most 1 / (2 sqrt(128)) = 0.044.
VALUES = 128
# Bytes of a shingle: one word of the processor; 8 letters of English, 4 of Russian, between 2 and 3 of Chinese.
WIDTH = 8
# A signature as a value of a column.
SIGNATURE = pa.list_(pa.uint8(), VALUES)
_SEED = 1
# The value of a signature of no shingles, in all its places.
_NONE = 255
# Two values that come of different shingles are equal all the same, in one byte of each.
_BY_CHANCE = np.float32(1 / 256)
# Texts whose shingles are in memory at a time, or one text: some 50 bytes for each.
_BYTES_AT_ONCE = 1 << 20


def signatures_of(texts: pa.ChunkedArray) -> Bytes:
    """Return the signatures of texts: uint8 of shape (n, VALUES).

    Texts are compared in Unicode NFC, without differences of case and of white space. Their shingles are all runs of
    WIDTH bytes in UTF-8, so texts without blanks need no segmenter; a shorter text is one shingle. The lowest byte of
    each value of a MinHash signature is kept (Li and König, "b-bit minwise hashing", WWW 2010). A text with nothing but
    white space has _NONE in all places.

    Args:
        texts: strings without nulls.
    """
    found = [_hashed(block) for block in _blocks(list(map(_normalized, texts.to_pylist())))]
    return np.concatenate([np.zeros((0, VALUES), np.uint8), *found])


def as_column(signatures: Bytes) -> pa.FixedSizeListArray:
    """Return signatures, shape (n, VALUES), as a column of type SIGNATURE."""
    return pa.FixedSizeListArray.from_arrays(pa.array(signatures.ravel()), VALUES)


def signatures_in(column: pa.ChunkedArray) -> Bytes:
    """Return a column of type SIGNATURE as uint8 of shape (n, VALUES)."""
    return np.asarray(column.combine_chunks().flatten().to_numpy()).reshape(-1, VALUES)


def is_blank(values: Bytes) -> npt.NDArray[np.bool_]:
    """Return which signatures, shape (n, VALUES), are of nothing but white space: bool of shape (n,)."""
    return np.asarray((values == _NONE).all(axis=1))


def estimates(one: Bytes, other: Bytes) -> npt.NDArray[np.float32]:
    """Return the estimated resemblance of each pair of signatures, both of shape (pairs, VALUES): float32 (pairs,)."""
    share = (one == other).sum(axis=1, dtype=np.uint8) / np.float32(VALUES)
    return np.asarray(np.maximum((share - _BY_CHANCE) / (1 - _BY_CHANCE), 0), dtype=np.float32)


def _normalized(text: str) -> bytes:
    # Before and after: a letter in lower case may join with the marks that follow it.
    return " ".join(normalize("NFC", normalize("NFC", text).casefold()).split()).encode()


def _blocks(texts: list[bytes]) -> Iterator[list[bytes]]:
    """Yield consecutive texts, of at most _BYTES_AT_ONCE together, or one."""
    ends = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)))
    first = 0
    while first < len(texts):
        before = int(ends[first - 1]) if first else 0
        end = max(int(np.searchsorted(ends, before + _BYTES_AT_ONCE, side="right")), first + 1)
        yield texts[first:end]
        first = end


def _hashed(texts: list[bytes]) -> Bytes:
    """Return the signatures of some texts: uint8 of shape (n, VALUES)."""
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    # Zeros after each text: a text that is shorter than a shingle is one with them.
    data = np.frombuffer((b"\0" * WIDTH).join([*texts, b""]), np.uint8)
    counts = np.where(lengths > 0, np.maximum(lengths - WIDTH + 1, 1), 0)
    offsets = np.append(0, np.cumsum(counts))
    starts = np.cumsum(lengths + WIDTH) - (lengths + WIDTH)
    at = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], counts)
    every = np.ndarray((max(len(data) - WIDTH + 1, 0),), "<i8", data, strides=(1,))
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(
        splitmix64(every[at]), offsets.astype(np.uint64), VALUES, _SEED
    )
    return np.array(matrix.to_rows(), dtype=np.uint32).reshape(-1, VALUES).astype(np.uint8)
