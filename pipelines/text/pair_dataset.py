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

from operators.datasets.export import layout_of
from operators.datasets.layout import NegativeRows
from operators.errors import InputError
from operators.keys import Keys, digest_of, keys_of
from operators.schemas import QUERIES, TEXTS, to_numpy
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
        if not hasattr(dataset, "__len__") or not isinstance(getattr(dataset, "column_names", None), list):
            raise InputError(f"dataset: a datasets.Dataset is wanted, not {type(dataset).__name__}. Name one split.")
        columns = dataset.column_names
        if isinstance(corpus, str):
            raise InputError("corpus: a list of texts is wanted, not one text.")
        if not len(dataset):
            raise InputError("dataset: it is empty; give (anchor, positive) pairs.")
        if len(columns) < 2:
            raise InputError(f"dataset: two columns are wanted, anchor and positive. It has {', '.join(columns)}.")
        given = zip((anchors, positives), columns, strict=False)
        first, second = (str(name) if name in columns else default for name, default in given)
        names = first, second
        if first == second:
            raise InputError(f"dataset: the column {first!r} is anchor and positive; name another.")
        table = dataset.select_columns(list(dict.fromkeys(names))).with_format("arrow")[:]
        asked, answers = (_texts(table.column(name), f"dataset: column {name!r}") for name in names)
        more = [] if not corpus else [_texts(pa.chunked_array([pa.array(list(corpus))]), "corpus")]
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
    def anchor_keys(self) -> Keys:
        """The key of each anchor's id."""
        return keys_of(self.anchor_ids)

    @cached_property
    def document_keys(self) -> Keys:
        """The key of each document's id."""
        return keys_of(self.document_ids)

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

        negatives = mined.output("select", "negatives")
        pair = self._pair_of(negatives, "positive_key")
        order = np.argsort(pair, kind="stable")
        negatives, pair = negatives.take(pa.array(order)), pair[order]
        if layout == "labeled-pair":
            return Dataset(self._labeled_pairs(negatives, pair, mined, scores))
        laid_out = layout_of(layout)
        rows = NegativeRows(negatives, self._queries(), self._documents(negatives), num_negatives)
        return Dataset(self._columns(laid_out(rows), laid_out.training_columns(num_negatives), scores))

    def check_names(self, layout: OutputFormat, num_negatives: int, scores: bool) -> None:
        """Refuse a column of the dataset with the name of a column of the result.

        Raises:
            InputError: it names both.
        """
        added = {
            "triplet": ["negative"],
            "n-tuple": [f"negative_{number + 1}" for number in range(num_negatives)],
            "labeled-pair": ["score" if scores else "label"],
            "labeled-list": [] if scores else ["labels"],
        }[layout]
        if scores and layout != "labeled-pair":
            added = [*added, "scores"]
        taken = next((name for name in self.names if name in added), None)
        if taken is not None:
            raise InputError(
                f"dataset: the result of {layout} has a column {taken!r} of its own. Rename that of the dataset."
            )

    def _columns(self, table: pa.Table, training: Sequence[str], scores: bool) -> pa.Table:
        """Return the training columns of one of our formats, as sentence-transformers names and scores them."""
        names = {"query": self.names[0], "positive": self.names[1], "documents": self.names[1]}
        columns = {names.get(name, name): table.column(name) for name in training}
        if scores and "document_scores" in table.column_names:
            del columns["labels"]
            columns["scores"] = table.column("document_scores").cast(pa.list_(pa.float64()))
        elif scores:
            each = [to_numpy(table, name) for name in table.column_names if "_score" in name]
            columns["scores"] = _lists(np.column_stack(each).astype(np.float64))
        return pa.table(columns)

    def _labeled_pairs(self, negatives: pa.Table, pair: Ints, mined: Mined, scores: bool) -> pa.Table:
        """Every positive of an anchor, then its negatives; an anchor without negatives has its positives."""
        positives = mined.output("search/all", "positives", ["query_key", "doc_key", "score"])
        positive_score = np.empty(len(self.anchor), dtype=np.float64)
        positive_score[self._pair_of(positives, "doc_key")] = to_numpy(positives, "score")
        opening = np.concatenate([[True], np.diff(self.anchor) > 0])  # an anchor's first positive
        once = opening[pair]
        negative = first_index(self.document_keys, to_numpy(negatives, "doc_key")[once])
        anchor = np.concatenate([self.anchor, self.anchor[pair[once]]])
        document = np.concatenate([self.document, negative])
        values = np.concatenate([positive_score, to_numpy(negatives, "score")[once]])
        label = np.concatenate([np.ones(len(self.anchor), np.int64), np.zeros(once.sum(), np.int64)])
        order = np.lexsort((-label, anchor))
        columns = {self.names[0]: self.anchors.take(anchor[order]), self.names[1]: self.documents.take(document[order])}
        added = {"score": pa.array(values[order])} if scores else {"label": pa.array(label[order])}
        return pa.table({**{name: column.cast(pa.string()) for name, column in columns.items()}, **added})

    def _pair_of(self, table: pa.Table, positive: str) -> Ints:
        """Return the number of the pair of each row: of its query and of the positive in a column."""
        anchor = first_index(self.anchor_keys, to_numpy(table, "query_key"))
        document = first_index(self.document_keys, to_numpy(table, positive))
        count = len(self.documents)
        return first_index(self.anchor * count + self.document, anchor * count + document)

    def _queries(self) -> pa.Table:
        """Return the anchors, as the layouts read queries."""
        keys = self.anchor_keys
        texts = self.anchors.cast(pa.string())
        columns = {"query_id": self.anchor_ids, "text": texts, "query_key": keys, "text_key": keys}
        return pa.table({**columns, "metadata": pa.nulls(len(keys), pa.string())}).select(QUERIES.names).cast(QUERIES)

    def _documents(self, negatives: pa.Table) -> pa.Table:
        """Return the documents that negatives name, and their positives, as the layouts read texts."""
        named = np.union1d(to_numpy(negatives, "positive_key"), to_numpy(negatives, "doc_key"))
        at = pa.array(first_index(self.document_keys, named))
        columns = {"doc_key": named, "doc_id": self.document_ids.take(at), "text": self.documents.take(at)}
        return pa.table({**columns, "metadata": pa.nulls(len(named), pa.string())}).select(TEXTS.names).cast(TEXTS)


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


def _lists(values: npt.NDArray[np.float64]) -> pa.ListArray:
    """Turn an array of shape (rows, n) into a column of lists."""
    starts = np.arange(len(values) + 1) * values.shape[1]
    return pa.ListArray.from_arrays(pa.array(starts, pa.int32()), pa.array(values.ravel()))


def _written(folder: Path, kind: str, table: pa.Table) -> Path:
    """Write a table under the digest of its rows, unless it is there; a file that is there is whole."""
    name = f"{kind}-{digest_of(table)}.parquet"
    if not (folder / name).exists():
        Folder(str(folder)).write_table(name, table)
    return folder / name
