"""(anchor, positive) pairs in memory: as the sources of a run, and with the negatives that it selected."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from operators.errors import InputError
from operators.keys import digest_of, keys_of
from operators.schemas import to_numpy
from operators.segments import first_index
from pipelines.results import Mined
from pipelines.runtime.storage.folder import Folder

if TYPE_CHECKING:
    from datasets import Dataset

Ints = npt.NDArray[np.int64]
OutputFormat = Literal["triplet", "n-tuple", "labeled-pair", "labeled-list"]


@dataclass(frozen=True)
class PairDataset:
    """Unique anchors, the corpus, and which document is a positive of which anchor.

    Attributes:
        names: of the column of anchors and of that of positives.
        anchors: unique, in the order in which they come.
        documents: the corpus: unique texts, those that were given beside the positives first.
        anchor: the number of the anchor of each positive, ascending, int64 of shape (positives,).
        document: the number of the document, in the order in which an anchor's positives come; no pair twice.
        most_positives: of one anchor; a pair that is repeated counts as often.
    """

    names: tuple[str, str]
    anchors: pa.Array
    documents: pa.Array
    anchor: Ints
    document: Ints
    most_positives: int

    @classmethod
    def of(
        cls, dataset: "Dataset", anchors: str | None, positives: str | None, corpus: Sequence[str] | None
    ) -> "PairDataset":
        """Read a dataset.

        Args:
            dataset: with a column of anchors and one of positives.
            anchors: the name of that column; the first where there is none.
            positives: the name of that column; the second where there is none.
            corpus: more documents.

        Raises:
            InputError: there are no pairs, too few columns, or something that is no text.
        """
        columns = dataset.column_names
        if not len(dataset):
            raise InputError("dataset: it is empty; give (anchor, positive) pairs.")
        if len(columns) < 2:
            raise InputError(f"dataset: two columns are wanted, anchor and positive. It has {', '.join(columns)}.")
        given = zip((anchors, positives), columns, strict=False)
        first, second = (str(name) if name in columns else default for name, default in given)
        names = first, second
        table = dataset.select_columns(list(dict.fromkeys(names))).with_format("arrow")[:]
        asked, answers = (_texts(table.column(name), f"dataset: column {name!r}") for name in names)
        more = [] if corpus is None else [_texts(pa.chunked_array([pa.array(list(corpus))]), "corpus")]
        documents = pc.unique(
            pa.chunked_array([chunk for one in (*more, answers) for chunk in one.chunks], pa.large_string())
        )
        unique = pc.unique(asked)
        anchor = pc.index_in(asked, unique).to_numpy().astype(np.int64)
        document = pc.index_in(answers, documents).to_numpy().astype(np.int64)
        order = np.argsort(anchor, kind="stable")
        pairs = np.stack([anchor[order], document[order]])
        _, at = np.unique(pairs, axis=1, return_index=True)
        kept = order[np.sort(at)]
        return cls(names, unique, documents, anchor[kept], document[kept], int(np.bincount(anchor).max()))

    @cached_property
    def anchor_ids(self) -> pa.Array:
        """An id for each anchor."""
        return _ids(self.anchors)

    @cached_property
    def document_ids(self) -> pa.Array:
        """An id for each document, which is the same in another corpus."""
        return _ids(self.documents)

    @cached_property
    def corpus_digest(self) -> str:
        """A digest of the corpus."""
        return digest_of(pa.table({"text": self.documents}))

    def written(self, folder: Path) -> dict[str, Any]:
        """Write corpus, queries and judgements, each under the digest of its rows; return `data` of a configuration."""
        folder.mkdir(parents=True, exist_ok=True)
        judged = {"query_id": self.anchor_ids.take(self.anchor), "doc_id": self.document_ids.take(self.document)}
        tables = {
            "corpus": pa.table({"doc_id": self.document_ids, "text": self.documents}),
            "queries": pa.table({"query_id": self.anchor_ids, "text": self.anchors}),
            "judgements": pa.table({**judged, "score": pa.array(np.ones(len(self.anchor), np.float32))}),
        }
        return {kind: str(_written(folder, kind, table)) for kind, table in tables.items()}

    def with_negatives(self, mined: Mined, layout: OutputFormat, num_negatives: int, scores: bool) -> "Dataset":
        """Return the pairs with the negatives that a run selected, in the columns and order of sentence-transformers.

        Args:
            mined: a run on what `written` wrote, in which all positives of an anchor have the same negatives.
            layout: the columns.
            num_negatives: of a full row.
            scores: add the scores.
        """
        from datasets import Dataset

        rows = Rows.of(self, mined)
        if layout == "n-tuple":
            columns = self._n_tuple(rows, num_negatives, scores)
        else:
            layouts = {"triplet": self._triplet, "labeled-pair": self._labeled_pair, "labeled-list": self._labeled_list}
            columns = layouts[layout](rows, scores)
        return Dataset(pa.table(columns))

    def _triplet(self, rows: "Rows", scores: bool) -> dict[str, pa.Array]:
        columns = {**self._pair(rows.pair), "negative": self._text(rows.negative)}
        if scores:
            both = np.stack([rows.positive_score[rows.pair], rows.score], axis=1)
            columns["scores"] = _lists(both.ravel(), np.full(len(both), 2))
        return columns

    def _n_tuple(self, rows: "Rows", num_negatives: int, scores: bool) -> dict[str, pa.Array]:
        full = np.flatnonzero(rows.counts == num_negatives)
        of_full = np.isin(rows.pair, full)
        negatives = rows.negative[of_full].reshape(-1, num_negatives)
        columns = self._pair(full)
        columns.update({f"negative_{i + 1}": self._text(negatives[:, i]) for i in range(num_negatives)})
        if scores:
            both = np.column_stack([rows.positive_score[full], rows.score[of_full].reshape(-1, num_negatives)])
            columns["scores"] = _lists(both.ravel(), np.full(len(full), num_negatives + 1))
        return columns

    def _labeled_list(self, rows: "Rows", scores: bool) -> dict[str, pa.Array]:
        some = np.flatnonzero(rows.counts)
        lengths = rows.counts[some] + 1
        first = np.cumsum(lengths) - lengths  # the positive of each list
        place = np.ones(lengths.sum(), dtype=np.bool_)
        place[first] = False
        documents, values = np.empty(len(place), np.int64), np.empty(len(place), np.float64)
        documents[first], documents[place] = self.document[some], rows.negative
        values[first], values[place] = rows.positive_score[some], rows.score
        columns = self._pair(some)
        columns[self.names[1]] = _lists(self._text(documents), lengths)
        if scores:
            return {**columns, "scores": _lists(values, lengths)}
        return {**columns, "labels": _lists(1 - place.astype(np.int64), lengths)}

    def _labeled_pair(self, rows: "Rows", scores: bool) -> dict[str, pa.Array]:
        """Every positive of an anchor, then its negatives; an anchor without negatives has its positives."""
        opening = np.concatenate([[True], np.diff(self.anchor) > 0])  # an anchor's first positive
        once = opening[rows.pair]
        anchor = np.concatenate([self.anchor, self.anchor[rows.pair[once]]])
        document = np.concatenate([self.document, rows.negative[once]])
        values = np.concatenate([rows.positive_score, rows.score[once]])
        label = np.concatenate([np.ones(len(self.anchor), np.int64), np.zeros(once.sum(), np.int64)])
        order = np.lexsort((-label, anchor))
        columns = {self.names[0]: self.anchors.take(anchor[order]), self.names[1]: self._text(document[order])}
        added = {"score": pa.array(values[order])} if scores else {"label": pa.array(label[order])}
        return {**{name: column.cast(pa.string()) for name, column in columns.items()}, **added}

    def _pair(self, pair: Ints) -> dict[str, pa.Array]:
        anchors, positives = self.anchors.take(self.anchor[pair]), self._text(self.document[pair])
        return {self.names[0]: anchors.cast(pa.string()), self.names[1]: positives}

    def _text(self, document: Ints) -> pa.Array:
        return self.documents.take(pa.array(document)).cast(pa.string())


@dataclass(frozen=True)
class Rows:
    """The negatives of pairs, those of one pair together and best first.

    Attributes:
        pair: the number of the pair, ascending, int64 of shape (n,).
        negative: the number of the document, int64 of shape (n,).
        score: of the negative, float64 of shape (n,).
        positive_score: of every pair, float64 of shape (pairs,).
        counts: how many negatives every pair has, int64 of shape (pairs,).
    """

    pair: Ints
    negative: Ints
    score: npt.NDArray[np.float64]
    positive_score: npt.NDArray[np.float64]
    counts: Ints

    @classmethod
    def of(cls, dataset: PairDataset, mined: Mined) -> "Rows":
        """Read what a run selected."""
        keys = (keys_of(dataset.anchor_ids), keys_of(dataset.document_ids))
        pairs = dataset.anchor * len(dataset.documents) + dataset.document

        def pair_of(table: pa.Table, positive: str) -> Ints:
            anchor = first_index(keys[0], to_numpy(table, "query_key"))
            return first_index(pairs, anchor * len(dataset.documents) + first_index(keys[1], to_numpy(table, positive)))

        positives = mined.output("search/all", "positives", ["query_key", "doc_key", "score"])
        positive_score = np.empty(len(pairs), dtype=np.float64)
        positive_score[pair_of(positives, "doc_key")] = to_numpy(positives, "score")
        negatives = mined.output("select", "negatives")
        pair = pair_of(negatives, "positive_key")
        order = np.argsort(pair, kind="stable")
        document = first_index(keys[1], to_numpy(negatives, "doc_key"))
        score = to_numpy(negatives, "score").astype(np.float64)
        counts = np.bincount(pair, minlength=len(pairs)).astype(np.int64)
        return cls(pair[order], document[order], score[order], positive_score, counts)


def _texts(column: pa.ChunkedArray, what: str) -> pa.ChunkedArray:
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        raise InputError(f"{what}: texts are wanted, and it holds {column.type}.")
    missing = pc.index(pc.is_null(column), pa.scalar(True)).as_py()
    if missing >= 0:
        raise InputError(f"{what}: row {missing} holds no text. Drop such rows, or fill them.")
    return column.cast(pa.large_string())


def _ids(texts: pa.Array) -> pa.Array:
    digest = xxhash.xxh3_128_hexdigest
    return pa.array([digest(text) for text in texts.cast(pa.large_binary()).to_pylist()])


def _lists(values: npt.NDArray[np.generic] | pa.Array, lengths: Ints) -> pa.ListArray:
    array = pa.array(values) if isinstance(values, np.ndarray) else values
    return pa.ListArray.from_arrays(pa.array(np.append(0, np.cumsum(lengths)), pa.int32()), array)


def _written(folder: Path, kind: str, table: pa.Table) -> Path:
    """Write a table under the digest of its rows, unless it is there; a file that is there is whole."""
    name = f"{kind}-{digest_of(table)}.parquet"
    if not (folder / name).exists():
        Folder(str(folder)).write_table(name, table)
    return folder / name
