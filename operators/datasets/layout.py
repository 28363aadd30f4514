"""A format of training data: how the negatives of a batch are laid out in rows and columns."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.schemas import QUERIES, SELECTED, TEXTS, to_numpy
from operators.segments import first_index, starts_of
from operators.settings import Settings

Ints = npt.NDArray[np.int64]

# What is known of a negative from how it was selected: columns of SELECTED.
DRAWN = ["draw", "log_probability", "false_negative_probability"]


@dataclass(frozen=True)
class NegativeRows:
    """A batch of negatives with the texts that belong to them.

    Attributes:
        negatives: schema SELECTED, those of one (query, positive) row together.
        queries: schema QUERIES.
        texts: schema TEXTS, of all documents that the negatives name.
        num_negatives: how many negatives a full row has.
    """

    negatives: pa.Table
    queries: pa.Table
    texts: pa.Table
    num_negatives: int

    def row_starts(self) -> Ints:
        """Return where each (query, positive) row begins: int64 of shape (rows,)."""
        query, positive = to_numpy(self.negatives, "query_key"), to_numpy(self.negatives, "positive_key")
        return np.union1d(starts_of(query), starts_of(positive)).astype(np.int64)

    def query(self, at: Ints) -> dict[str, pa.ChunkedArray]:
        """Return the query_id, text and metadata of the queries of these negatives."""
        rows = known(first_index(to_numpy(self.queries, "query_key"), to_numpy(self.negatives, "query_key")[at]))
        taken = self.queries.take(pa.array(rows))
        return {"id": taken.column("query_id"), "text": taken.column("text"), "metadata": taken.column("metadata")}

    def document(self, column: Literal["positive_key", "doc_key"], at: Ints) -> dict[str, pa.ChunkedArray]:
        """Return the doc_id, text and metadata of the positives or of the negatives themselves."""
        rows = known(first_index(to_numpy(self.texts, "doc_key"), to_numpy(self.negatives, column)[at]))
        taken = self.texts.take(pa.array(rows))
        return {"id": taken.column("doc_id"), "text": taken.column("text"), "metadata": taken.column("metadata")}

    def score(self, column: Literal["positive_score", "score"], at: Ints) -> npt.NDArray[np.float32]:
        """Return the scores of the positives or of the negatives."""
        return np.asarray(to_numpy(self.negatives, column)[at])

    def drawn(self, at: Ints) -> dict[str, pa.ChunkedArray]:
        """Return by which draw the negatives were taken, its log-probabilities, and the false-negative probabilities.

        They are null where they are undefined or were not computed.

        Args:
            at: which negatives; -1 for a row that is none, such as a positive.
        """
        taken = self.negatives.select(DRAWN).take(pa.array(at, mask=at < 0))
        return {name: taken.column(name) for name in taken.column_names}


class Layout(Settings):
    """Lays negatives out as training data.

    A layout is a class that derives from this one: in a module of its own in operators/datasets/formats/, which is its
    name, or in your own code, named as `module:name`.

    Attributes:
        format: its name.
        jsonl_only: other tools read it as JSON lines, whatever `export.file_format` says.
        use: what the card says of training on it.
        left_out: what the card says of pairs without all their negatives; `{count}` is how many these are.
    """

    format: str = ""

    jsonl_only: ClassVar[bool] = False
    use: ClassVar[str] = ""
    left_out: ClassVar[str] = "Pairs with fewer have fewer negatives here; pairs with none are left out."

    @abstractmethod
    def training_columns(self, num_negatives: int) -> list[str]:
        """Return the columns that a trainer reads, in its order; others are ids, scores and metadata beside them."""

    @abstractmethod
    def __call__(self, rows: NegativeRows) -> pa.Table:
        """Return the rows of a batch. The columns and their types are the same for every batch.

        One of them is `query_id`: rows of one query are spread over the file by it.
        """

    def arrow_schema(self, num_negatives: int) -> pa.Schema:
        """Return the columns and their types, as every file has them."""
        return self(
            NegativeRows(SELECTED.empty_table(), QUERIES.empty_table(), TEXTS.empty_table(), num_negatives)
        ).schema


def nest(values: pa.ChunkedArray | pa.Array | npt.NDArray[np.generic], starts: Ints) -> pa.ListArray:
    """Put values, shape (n,), into lists that begin at the given places."""
    array = (
        values.combine_chunks()
        if isinstance(values, pa.ChunkedArray)
        else pa.array(values)
        if isinstance(values, np.ndarray)
        else values
    )
    return pa.ListArray.from_arrays(pa.array(np.append(starts, len(array)), pa.int32()), array)


def known(rows: Ints) -> Ints:
    """Return rows of a look-up, all of which have to be there.

    Raises:
        LookupError: one is not.
    """
    if (rows < 0).any():
        raise LookupError("A negative names a query or a document whose text did not arrive.")
    return rows
