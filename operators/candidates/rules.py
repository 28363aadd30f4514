"""Which candidates meet rules: metadata of their documents beside those of their queries, each combination once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.candidates.rule import Rule, cell_names, fields_of, rule_column
from operators.errors import placed
from operators.schemas import PAIR, to_numpy
from operators.segments import first_index

Ints = npt.NDArray[np.int64]

# A document, and the metadata that rules name, as a JSON object.
CELLS = pa.schema({"doc_key": pa.int64(), "cell": pa.string()})


@dataclass(frozen=True)
class Met:
    """What became of the candidates of one batch.

    Attributes:
        table: the columns of PAIR, and `rule_column` of each rule: 1 for the candidates that meet it, else 0 (uint8).
        known: the fields that some document or query has: `document.domain`, `query.domain`.
    """

    table: pa.Table
    known: frozenset[str]

    def counts(self) -> dict[str, int]:
        """Return how many candidates meet each rule."""
        columns = {name: to_numpy(self.table, name) for name in self.table.column_names if name not in PAIR}
        return {name.removeprefix(rule_column("")): int(column.sum()) for name, column in columns.items()}


class Rules:
    """Finds the candidates that meet rules.

    Attributes:
        rules: in the order of the columns.
        fields: of documents that they read.
        query_fields: of queries that they read.
    """

    def __init__(self, texts: Sequence[str], places: Mapping[str, str] | None = None) -> None:
        """Parse the rules.

        Args:
            texts: the rules.
            places: rule -> where it stands in the configuration, for messages.

        Raises:
            ValueError: one is none.
        """
        self.places = places or {}
        self.rules = [Rule(text) for text in texts]
        self.fields = sorted({name for rule in self.rules for name in rule.fields})
        self.query_fields = sorted({name for rule in self.rules for name in rule.query_fields})

    @property
    def names(self) -> frozenset[str]:
        """All fields that they read, named as in `Met.known`."""
        return frozenset(
            {*(f"document.{name}" for name in self.fields), *(f"query.{name}" for name in self.query_fields)}
        )

    def cells(self, documents: pa.Table) -> pa.Table:
        """Return what of documents the rules read: schema CELLS.

        Args:
            documents: has `doc_key` and `metadata`.

        Raises:
            InputError: metadata that they read have the wrong kind.
        """
        fields = self._fields_of(documents.column("metadata"), "document")
        return pa.table([documents.column("doc_key"), cell_names(fields, documents.num_rows)], schema=CELLS)

    def __call__(self, candidates: pa.Table, queries: pa.Table, documents: pa.Table) -> Met:
        """Evaluate the rules for each candidate.

        Rules are evaluated once for each combination of metadata, not for each candidate.

        Args:
            candidates: has the columns of PAIR.
            queries: has `query_key` and `metadata`: those of all candidates.
            documents: schema CELLS: those of all candidates, each once, in any order.

        Raises:
            InputError: metadata that a rule compares have different kinds, or lists or objects.
            LookupError: a document or a query is not there.
        """
        cells = documents.column("cell").combine_chunks().dictionary_encode()
        of_query = cell_names(self._fields_of(queries.column("metadata"), "query"), queries.num_rows)
        kinds = of_query.dictionary_encode()
        cell = cells.indices.to_numpy()[_rows(candidates, documents, "doc_key")].astype(np.int64)
        kind = kinds.indices.to_numpy()[_rows(candidates, queries, "query_key")].astype(np.int64)
        count = max(len(cells.dictionary), 1)
        combined, place = np.unique(kind * count + cell, return_inverse=True)
        fields, query_fields = self._fields_of(cells.dictionary, "document"), self._fields_of(kinds.dictionary, "query")
        at_document, at_query = pa.array(combined % count), pa.array(combined // count)
        of_documents = {name: column.take(at_document) for name, column in fields.items()}
        of_queries = {name: column.take(at_query) for name, column in query_fields.items()}
        table = candidates.select(list(PAIR))
        for rule in self.rules:
            with placed(f"{self.places.get(rule.text, 'where')}: "):
                met = rule(of_documents, of_queries, len(combined)).astype(np.uint8)
            table = table.append_column(rule_column(rule.text), pa.array(met[place]))
        known = {*_known("document", fields), *_known("query", query_fields)}
        return Met(table, frozenset(known))

    def _fields_of(self, metadata: pa.Array | pa.ChunkedArray, side: str) -> dict[str, pa.Array]:
        """Return the fields of one side; a refusal names the first rule that reads the field."""
        fields: dict[str, pa.Array] = {}
        for rule in self.rules:
            names = rule.fields if side == "document" else rule.query_fields
            with placed(f"{self.places.get(rule.text, 'where')}: "):
                missing = [name for name in names if name not in fields]
                fields |= fields_of(metadata, missing, of_queries=side == "query")
        return {name: fields[name] for name in sorted(fields)}


def _known(side: str, fields: Mapping[str, pa.Array]) -> set[str]:
    return {f"{side}.{name}" for name, column in fields.items() if column.null_count < len(column)}


def _rows(candidates: pa.Table, table: pa.Table, key: str) -> Ints:
    rows = first_index(to_numpy(table, key), to_numpy(candidates, key))
    if (rows < 0).any():
        raise LookupError(f"A candidate names a {key} whose metadata did not arrive.")
    return rows
