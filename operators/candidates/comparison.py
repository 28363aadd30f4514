"""A comparison: signals that tell of each candidate what its document has in common with the positives of its query."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.schemas import to_numpy
from operators.segments import first_index


class Comparison(ABC):
    """Compares candidates with positives by features of their documents, which are computed once for each document.

    Attributes:
        name: of the signal, or of several.
        reads: the columns of DOCUMENTS that features are computed from.
    """

    name: ClassVar[str]
    reads: ClassVar[tuple[str, ...]]

    @property
    @abstractmethod
    def schema(self) -> pa.Schema:
        """The schema of features: `doc_key`, and what is known of the document."""

    @abstractmethod
    def settings(self) -> Mapping[str, Any]:
        """Return what decides the signals, beside the documents."""

    @abstractmethod
    def features(self, documents: pa.Table) -> pa.Table:
        """Return the features of documents, a row for each. A pure function of each document alone.

        Args:
            documents: has `doc_key` and the columns of `reads`.
        """

    @abstractmethod
    def comparable(self, features: pa.Table) -> Mapping[str, int]:
        """Return what documents are compared by, and for each how many have it."""

    @abstractmethod
    def warning(self, what: str) -> str:
        """Return what to say where no document has what they are compared by."""

    @abstractmethod
    def __call__(self, candidates: pa.Table, positives: pa.Table, features: pa.Table) -> pa.Table:
        """Compare every candidate with all positives of its query; return the columns of PAIR, and the signals.

        Args:
            candidates: has the columns of PAIR.
            positives: has the columns of PAIR; queries may be without any.
            features: of the documents of both, each once, in any order.

        Raises:
            LookupError: a document is missing.
        """


def rows_of(features: pa.Table, pairs: pa.Table) -> npt.NDArray[np.int64]:
    """Return the row of the features of each pair's document: int64 of shape (pairs,).

    Raises:
        LookupError: a document is missing.
    """
    rows = first_index(to_numpy(features, "doc_key"), to_numpy(pairs, "doc_key"))
    if (rows < 0).any():
        raise LookupError("A candidate or a positive names a document that did not arrive to be compared.")
    return rows
