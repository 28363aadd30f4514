"""What must be left of sources: the documents that are kept, and the queries with their positives."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from tests.fuzz.collection import Collection, Document, Judgement, Query, RefusedError, Settings, read_as


@dataclass
class Prepared:
    """The documents that are kept, and the queries with their positives."""

    collection: Collection
    settings: Settings
    dropped: Counter[str] = field(default_factory=Counter)
    documents: list[Document] = field(default_factory=list)
    judged: list[tuple[Query, list[Document]]] = field(default_factory=list)
    unsure: bool = False
    kept: dict[str, Document] = field(default_factory=dict)  # doc_id -> the document that stands for it
    cleaned: set[str] = field(default_factory=set)
    scores: dict[str, dict[str, float]] = field(default_factory=dict)  # query_id -> the id of a kept document -> score

    def __post_init__(self) -> None:
        self._clean()
        self._identify()
        self._judge()

    def _clean(self) -> None:
        left = []
        for document in self.collection.documents:
            text = f"{document.title or ''} {document.text}" if document.title is not None else document.text
            text = text.strip()
            reason = ""
            if not text and self.settings.drop_empty:
                reason = "empty_text"
            elif len(text.split()) < self.settings.min_words:
                reason = "too_few_words"
            elif any(marker in text for marker in self.settings.drop_containing):
                reason = "marker_word"
            if reason:
                self.dropped[f"document_{reason}"] += 1
                self.cleaned.add(document.doc_id)
            else:
                left.append(Document(document.doc_id, text, document.metadata, document.vector))
        self.documents = left
        if not left:
            raise RefusedError("no document is left")

    def _identify(self) -> None:
        by_id: dict[str, Document] = {}
        by_text: dict[str, Document] = {}
        left = []
        for document in self.documents:
            text = read_as(document.text)
            first = by_id.setdefault(document.doc_id, document)
            if read_as(first.text) != text:
                raise RefusedError(f"the id {document.doc_id!r} has two texts")
            same = by_text.setdefault(text, document)
            if self.settings.exact_duplicates == "keep_first" and same is not document:
                self.dropped["document_exact_duplicate"] += 1
                self.kept[document.doc_id] = same
            elif first is not document:
                self.dropped["document_repeated_id"] += 1
            else:
                left.append(document)
                self.kept[document.doc_id] = document
        self.documents = left

    def _judge(self) -> None:
        if not self.collection.judgements:
            raise RefusedError("no judgements")
        queries = _once_each(self.collection.queries)
        known, unknown = [], 0
        for judgement in self.collection.judgements:
            if judgement.query_id in queries:
                known.append(judgement)
            else:
                unknown += 1
        self._dangling("query", unknown)
        led = self._merged(queries, {judgement.query_id for judgement in known})
        self.scores = self._documents_of(known, led)
        for query_id in dict.fromkeys(led.values()):
            positives = [self.kept[d] for d, score in self.scores.get(query_id, {}).items() if score > 0]
            if positives:
                self.judged.append((queries[query_id], positives))
            else:
                self.dropped["query_no_positive"] += 1

    def _merged(self, queries: Mapping[str, Query], judged: set[str]) -> dict[str, str]:
        """Return query_id -> the query_id that stands for it, of the queries that are judged and have a text."""
        led: dict[str, str] = {}
        by_text: dict[str, str] = {}
        for query_id, query in queries.items():
            if query_id not in judged:
                self.dropped["query_not_judged"] += 1
            elif self.settings.drop_empty and not query.text.strip():
                self.dropped["query_empty_text"] += 1
            else:
                text = read_as(query.text) if self.settings.exact_duplicates == "keep_first" else query_id
                led[query_id] = by_text.setdefault(text, query_id)
                self.dropped["query_exact_duplicate"] += led[query_id] != query_id
        return led

    def _documents_of(self, judgements: Iterable[Judgement], led: Mapping[str, str]) -> dict[str, dict[str, float]]:
        """Return query_id -> the id of a kept document -> its highest score."""
        judged: dict[str, dict[str, float]] = {}
        unknown = 0
        for one in judgements:
            if one.query_id not in led:
                self.unsure = self.unsure or one.doc_id not in self.kept
            elif one.doc_id in self.kept:
                scores = judged.setdefault(led[one.query_id], {})
                kept = self.kept[one.doc_id].doc_id
                scores[kept] = max(scores.get(kept, -np.inf), one.score)
            elif one.doc_id in self.cleaned:
                self.dropped["judgement_of_cleaned_document"] += 1
            else:
                unknown += 1
        self._dangling("document", unknown)
        return judged

    def _dangling(self, side: str, count: int) -> None:
        if count and self.settings.on_dangling == "refuse":
            raise RefusedError(f"{count} judgements of an unknown {side}")
        self.dropped[f"judgement_of_unknown_{side}"] += count


def _once_each(queries: Iterable[Query]) -> dict[str, Query]:
    found: dict[str, Query] = {}
    for query in queries:
        first = found.setdefault(query.query_id, query)
        if read_as(first.text) != read_as(query.text):
            raise RefusedError(f"the query_id {query.query_id!r} has two texts")
    return found
