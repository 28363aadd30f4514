"""Signatures of other shingles than the operator has, to compare with: words, characters, bytes, any number of them."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from rensa import RMinHash

from operators.keys import keys_of, splitmix64, words_of
from operators.signatures import VALUES

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Shingles:
    """Signatures of other shingles than the operator has, of the same length.

    Attributes:
        unit: what they are made of.
        count: how many units one has.
    """

    unit: str
    count: int

    def __call__(self, texts: Sequence[str]) -> npt.NDArray[np.uint32]:
        """Return the signatures: uint32 of shape (n, VALUES)."""
        normal = [" ".join(unicodedata.normalize("NFC", text.casefold()).split()) for text in texts]
        if self.unit == "words":
            lists = words_of(pa.array(normal, pa.string()))
            lengths, codes = np.diff(lists.offsets.to_numpy()), keys_of(lists.flatten())
        elif self.unit == "characters":
            lengths = np.array(list(map(len, normal)))
            codes = np.frombuffer("".join(normal).encode("utf-32-le"), "<u4").astype(np.int64)
        else:
            lengths = np.array([len(text.encode()) for text in normal])
            codes = np.frombuffer("".join(normal).encode(), np.uint8).astype(np.int64)
        return self._signatures(lengths.astype(np.int64), codes)

    def _signatures(self, lengths: Ints, codes: Ints) -> npt.NDArray[np.uint32]:
        place = np.arange(len(codes)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        rest = np.repeat(lengths, lengths) - place
        following = [np.append(codes[more:], np.zeros(more, np.int64)) for more in range(self.count)]
        hashes = splitmix64(*(np.where(rest > more, codes_there, -1) for more, codes_there in enumerate(following)))
        counts = np.minimum(np.maximum(lengths - self.count + 1, 1), lengths)
        offsets = np.append(0, np.cumsum(counts)).astype(np.uint64)
        kept = hashes[place < np.repeat(counts, lengths)]
        matrix = RMinHash.digest_matrix_from_flat_token_hashes(kept, offsets, VALUES, 1)
        return np.array(matrix.to_rows(), np.uint32)
