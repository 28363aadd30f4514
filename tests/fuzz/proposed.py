"""What proposers must name, by the documentation: a ranking, or any sample of the documents that may be drawn."""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.fuzz.checking import records_of
from tests.fuzz.collection import Document, Query, key_of
from tests.fuzz.mixture import Mixture
from tests.fuzz.prepared import Prepared

# source -> key of a query -> key of a document -> its rank.
Ranks = Mapping[str, Mapping[int, Mapping[int, int]]]
# Sums of logarithms are rounded.
CLOSE = 1e-9


@dataclass(frozen=True)
class Ranking:
    """A ranking: all that may be named, best first, and the number that ranks each.

    Attributes:
        ranked: (number, doc_id), of equal numbers the smaller key first.
        left_out: ids that have a rank and are not named.
    """

    ranked: Sequence[tuple[float, str]]
    left_out: frozenset[str] = frozenset()

    def fault(self, named: Mapping[int, int], limit: int) -> str:
        """Say what is wrong with what was named: key -> rank; close numbers may stand in either order."""
        numbers = {key_of(name): number for number, name in self.ranked}
        places = [place for place, (_, name) in enumerate(self.ranked) if name not in self.left_out][:limit]
        if sorted(named.values()) != places:
            return f"the ranks {sorted(named.values())}, and should be {places}"
        for key, rank in named.items():
            if key not in numbers or abs(numbers[key] - self.ranked[rank][0]) > CLOSE:
                return f"the rank {rank} is not that of {key}"
        exact = {key_of(self.ranked[place][1]): place for place in places}
        clear = all(abs(a - b) > CLOSE or a == b for (a, _), (b, _) in zip(self.ranked, self.ranked[1:], strict=False))
        return "" if not clear or exact == dict(named) else f"{dict(named)} named, and should be {exact}"


@dataclass(frozen=True)
class Sample:
    """So many of these ids as the limit allows.

    Attributes:
        among: the ids.
        gaps: ids with a rank may be left out.
    """

    among: frozenset[str]
    gaps: bool = False

    def fault(self, named: Mapping[int, int], limit: int) -> str:
        """Say what is wrong with what was named: key -> rank."""
        size = min(limit, len(self.among))
        strange = named.keys() - {key_of(name) for name in self.among}
        if strange or len(named) != size:
            return f"{len(named)} named, {len(strange)} of them strange, and should be {size} of {len(self.among)}"
        if not self.gaps and sorted(named.values()) != list(range(size)):
            return f"the ranks {sorted(named.values())}"
        return "" if len(set(named.values())) == size else "two have one rank"


@dataclass(frozen=True)
class Asked:
    """A query, with all that a proposer may know."""

    made: Mixture
    prepared: Prepared
    section: Mapping[str, Any]
    query: Query
    positives: Sequence[Document]

    @property
    def own(self) -> frozenset[str]:
        """The ids of the positives."""
        return frozenset(one.doc_id for one in self.positives)

    def allowed(self, document: Document) -> bool:
        """Tell whether a document meets the rule of the section."""
        where = self.section.get("where")
        return where is None or self.made.rules[where](document.metadata, self.query.metadata)


def check_proposed(made: Mixture, prepared: Prepared) -> tuple[list[str], Ranks]:
    """Check what each source named for each query; return what is wrong, and the ranks that it gave."""
    faults: list[str] = []
    ranks: dict[str, dict[int, dict[int, int]]] = {}
    for section in made.config["proposers"]:
        source, named = section.get("source", section["proposer"]), dict[int, dict[int, int]]()
        records = records_of(made.run, f"search/propose_{source}", "proposals")
        for one in records:
            named.setdefault(one["query_key"], {})[one["doc_key"]] = one["rank"]
        if sum(map(len, named.values())) < len(records):
            faults.append(f"{source}: a pair is named twice")
        for query, positives in prepared.judged:
            wanted = PROPOSERS[section["proposer"]](Asked(made, prepared, section, query, positives))
            fault = wanted.fault(named.pop(key_of(query.query_id), {}), section["limit"])
            faults += [f"{source}, {query.query_id!r}: {fault}"] if fault else []
        faults += [f"{source}: {len(named)} queries that were not asked"] if named else []
        ranks[source] = _by_query(records)
    return faults, ranks


def _by_query(records: Sequence[Mapping[str, Any]]) -> dict[int, dict[int, int]]:
    ranks: dict[int, dict[int, int]] = {}
    for one in records:
        ranks.setdefault(one["query_key"], {})[one["doc_key"]] = one["rank"]
    return ranks


def _ranking(numbers: Mapping[str, float], left_out: frozenset[str] = frozenset()) -> Ranking:
    ranked = sorted(((number, name) for name, number in numbers.items()), key=lambda one: (-one[0], key_of(one[1])))
    return Ranking(ranked, left_out)


def _explicit(asked: Asked) -> Ranking:
    """Judged negatives, the highest scores first."""
    labels, wanted = asked.made.labels, asked.section.get("labels")
    judged = asked.prepared.scores[asked.query.query_id]
    return _ranking(
        {
            name: score
            for name, score in judged.items()
            if score <= 0 and (wanted is None or labels[asked.query.query_id, name] in wanted)
        }
    )


def _lexical(asked: Asked) -> Ranking:
    """BM25 as Lucene has it: of the documents that share a word with the query."""
    texts = {one.doc_id: Counter(_words(one.text)) for one in asked.prepared.documents}
    mean = sum(map(Counter.total, texts.values())) / len(texts)
    scores: dict[str, float] = {}
    for name, words in texts.items():
        for word, times in Counter(_words(asked.query.text)).items():
            if words[word]:
                having = sum(bool(one[word]) for one in texts.values())
                rare = math.log(1 + (len(texts) - having + 0.5) / (having + 0.5))
                share = words[word] / (words[word] + 1.5 * (0.25 + 0.75 * words.total() / mean))
                scores[name] = scores.get(name, 0.0) + times * rare * share
    return _ranking(scores)


def _words(text: str) -> list[str]:
    return [word for word in re.findall(r"\w+", unicodedata.normalize("NFC", text).lower()) if len(word) > 1]


def _cluster(asked: Asked) -> Ranking:
    """The nearest to any positive."""
    nearest = {
        one.doc_id: max(float(one.vector @ positive.vector) for positive in asked.positives)
        for one in asked.prepared.documents
    }
    return _ranking(nearest, asked.own)


def _encoder(asked: Asked) -> Ranking:
    """The nearest by the second model."""
    second, documents = asked.made.second, asked.prepared.documents
    assert second is not None
    scores = second([one.text for one in documents], "document") @ second([asked.query.text], "query")[0]
    return _ranking(dict(zip((one.doc_id for one in documents), map(float, scores), strict=True)), asked.own)


def _same_document(asked: Asked) -> Sample:
    """Other passages of the documents of the positives: 7, 7.0 and "7" are one."""
    groups = {_group(one) for one in asked.positives} - {None}
    among = {one.doc_id for one in asked.prepared.documents if _group(one) in groups} - asked.own
    return Sample(frozenset(among), gaps=True)


def _group(document: Document) -> str | None:
    value = document.metadata["group"]
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(int(value)) if isinstance(value, float) else None if value is None else str(value)


def _drawn(weight: Callable[[Asked, Document], float]) -> Callable[[Asked], Sample]:
    def drawn(asked: Asked) -> Sample:
        return Sample(
            frozenset(one.doc_id for one in asked.prepared.documents if asked.allowed(one) and weight(asked, one) > 0)
        )

    return drawn


def _popularity(asked: Asked, document: Document) -> float:
    if "by" in asked.section:
        return document.metadata["clicks"] or 0.0
    return sum(document.doc_id in {one.doc_id for one in positives} for _, positives in asked.prepared.judged)


def _other_domain(asked: Asked, document: Document) -> float:
    own, other = asked.query.metadata["domain"], document.metadata["domain"]
    known = None not in {own, other}
    return float(known and own != other and other in asked.section.get("domains", [other]))


PROPOSERS: Mapping[str, Callable[[Asked], Ranking | Sample]] = {
    "explicit": _explicit,
    "lexical": _lexical,
    "cluster": _cluster,
    "encoder": _encoder,
    "same_document": _same_document,
    "uniform": _drawn(lambda asked, document: 1.0),
    "metadata": _drawn(lambda asked, document: 1.0),
    "frequency": _drawn(_popularity),
    "custom": _drawn(lambda asked, document: document.metadata["clicks"] or 0.0),
    "cross_domain": _drawn(_other_domain),
}
