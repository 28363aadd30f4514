"""Near-copies of positives: how many `max_positive_resemblance` catches, and how many real candidates it takes for one.

`python -m benchmarks.copies` writes benchmarks/copies.md. Copies of positives are planted in which some of the words
are others; candidates are what BM25 finds for real queries. It needs ../shared.
"""

import csv
import difflib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import bm25s
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from benchmarks import beir, pages
from benchmarks.planted import CHANGED, COPIES, Copies, chinese, planted
from benchmarks.shingles import Shingles
from operators.candidates.resemblance import RESEMBLANCE, Resemblance
from operators.keys import text_keys_of
from operators.segments import first_index
from operators.signatures import VALUES, WIDTH

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
SPLITS = {"scifact": "train", "vaswani": "test", "insuranceqa-en": "test"}
LIMITS = (0.3, 0.35, 0.4, 0.5, 0.6)
# What docs/choosing_negatives.md names as a beginning.
LIMIT = 0.35
MOST_ALARMS = 0.001
DEPTH = 100
SHINGLES = {"words": (1, 2, 3), "characters": (5, 8), "bytes": (6, 8, 10)}
CHOSEN = ("bytes", WIDTH)
DRAWN = "Chinese, drawn words"


@dataclass(frozen=True)
class Real:
    """Real candidates beside the positives of their queries, each pair of places in the texts once for a query.

    Attributes:
        texts: of the documents.
        candidates: query and document of each candidate, int64 of shape (n, 2).
        positives: the same of the positives.
    """

    texts: Sequence[str]
    candidates: Ints
    positives: Ints


@dataclass(frozen=True)
class Compared:
    """The resemblances of one set: of real candidates, and of copies by the share of changed words."""

    real: Floats
    copies: Mapping[float, Floats]

    def caught(self, limit: float) -> list[str]:
        """Return the shares of copies above a limit."""
        return [_percent((found > limit).mean()) for found in self.copies.values()]

    def alarms(self, limit: float) -> int:
        """Return how many real candidates are above a limit."""
        return int((self.real > limit).sum())


@dataclass(frozen=True)
class Collection:
    """One of the sets beside the checkout."""

    name: str
    seed: int = 0

    @cached_property
    def documents(self) -> Mapping[str, str]:
        """The texts by id."""
        return beir.texts(beir.SETS / self.name, "corpus")

    @cached_property
    def judged(self) -> Mapping[str, Sequence[int]]:
        """The positives of each query, as places in the documents."""
        place = {document: number for number, document in enumerate(self.documents)}
        judged: dict[str, list[int]] = {}
        path = beir.SETS / self.name / "qrels" / f"{SPLITS[self.name]}.tsv"
        with path.open(encoding="utf-8") as lines:
            for row in csv.DictReader(lines, delimiter="\t"):
                if float(row["score"]) > 0 and row["corpus-id"] in place:
                    judged.setdefault(row["query-id"], []).append(place[row["corpus-id"]])
        return judged

    def real(self) -> Real:
        """Return what BM25 finds for each judged query, without positives and what has the text of one."""
        texts, queries = list(self.documents.values()), beir.texts(beir.SETS / self.name, "queries")
        index = bm25s.BM25()
        index.index(bm25s.tokenize(texts, show_progress=False), show_progress=False)
        asked = bm25s.tokenize([queries[query] for query in self.judged], show_progress=False)
        found, _ = index.retrieve(asked, k=DEPTH, show_progress=False)
        text_key = text_keys_of(pa.array(texts, pa.string()))
        candidates, positives = [], []
        for number, (documents, judged) in enumerate(zip(found, self.judged.values(), strict=True)):
            others = documents[~np.isin(text_key[documents], text_key[list(judged)])]
            candidates.append(np.column_stack([np.full(len(others), number), others]))
            positives.append(np.column_stack([np.full(len(judged), number), list(judged)]))
        return Real(texts, np.concatenate(candidates), np.concatenate(positives))

    def copies(self) -> Copies:
        """Return copies of a sample of the positives; the new words are of other documents, by their frequency."""
        rng, texts = np.random.default_rng(self.seed), list(self.documents.values())
        every = sorted({place for places in self.judged.values() for place in places})
        sample = rng.choice(every, min(COPIES, len(every)), replace=False)
        words = [texts[place].split() for place in rng.choice(len(texts), 3_000)]
        originals = [texts[place].split() for place in sample]
        return planted(originals, [word for some in words for word in some], " ", rng)


def compared(real: Real | None, copies: Copies) -> Compared:
    """Compare as the operator does."""
    found = np.zeros(0, np.float32)
    if real is not None:
        found = _signal(real.texts, real.candidates, real.positives)
    count = len(copies.originals)
    own = np.column_stack([np.arange(count), np.arange(count)])
    of_copies = {
        share: _signal([*copies.originals, *texts], own + np.array([0, count]), own)
        for share, texts in copies.changed.items()
    }
    return Compared(found, of_copies)


def _signal(texts: Sequence[str], candidates: Ints, positives: Ints) -> Floats:
    compare = Resemblance()
    used = np.union1d(candidates[:, 1], positives[:, 1])
    documents = pa.table({"doc_key": used, "text": pa.array([texts[place] for place in used], pa.string())})
    found = compare(_pairs(candidates), _pairs(positives), compare.features(documents))
    return np.asarray(found.column(RESEMBLANCE).to_numpy())


def _pairs(pairs: Ints) -> pa.Table:
    return pa.table(list(pairs.T), names=["query_key", "doc_key"])


def main() -> None:
    """Measure and write the page."""
    pages.parser(__doc__, rounds=None).parse_args()
    by_set: dict[str, Compared] = {}
    shared, choice = [], []
    for name in SPLITS:
        pages.tell(name)
        collection = Collection(name)
        real, copies = collection.real(), collection.copies()
        by_set[name] = compared(real, copies)
        shared.append(_shared(name, real, by_set[name].real))
        choice += _choice(name, real, copies)
    by_set[DRAWN] = compared(None, chinese())
    pages.write(
        "copies",
        [
            pages.heading("Near-copies of positives", "copies"),
            *_caught(by_set),
            f"Alarms with a limit of {LIMIT}, and the words that candidate and positive have in common in the same "
            f"order, as a share of the words of both (difflib):",
            pages.table(["set", "alarms", "lowest", "median", "above half"], shared),
            "## Shingles",
            f"Of real candidates 0.1 % are above the first number; of copies with {CHANGED[-1]:.0%} of the words "
            f"changed 99 % are above the second. A limit between them tells copies from others. Words are what stands "
            f"between blanks, so Chinese has none. Bytes are of UTF-8: {WIDTH} are one machine word, which is hashed "
            f"at once, and as many letters of English, half as many of Russian, and between two and three characters "
            f"of Chinese.",
            pages.table(["set", "shingles", "real, 99.9 %", "copies, 1 %"], choice),
            "## Cost",
            _speed(Collection("scifact").real()),
        ],
    )


def _caught(by_set: Mapping[str, Compared]) -> list[str]:
    exact = all((one.copies[0.0] == 1).all() for one in by_set.values())
    few = all(one.alarms(LIMIT) < MOST_ALARMS * len(one.real) for one in by_set.values() if len(one.real))
    head = ["set", "limit", *(f"{share:.0%} changed" for share in CHANGED), "alarms", "of candidates"]
    return [
        f"Copies of {COPIES} positives, in which a share of the words (at least one) are words of other documents, and "
        f"how many of them `select.max_positive_resemblance` drops. Alarms are real candidates that it drops: of the "
        f"{DEPTH} best of BM25 for each judged query, without those that have the text of a positive. All count as "
        f"false, though most repeat sentences of the positive (below). Chinese texts are words drawn from a "
        f"dictionary, by their frequency, without blanks.",
        pages.table(head, [_row(name, one, limit) for name, one in by_set.items() for limit in LIMITS]),
        pages.goal(exact, "Every exact copy has the resemblance 1"),
        pages.goal(few, f"With a limit of {LIMIT} alarms below {MOST_ALARMS:.1%} of the candidates of every set"),
    ]


def _row(name: str, one: Compared, limit: float) -> list[str]:
    alarms = [f"{one.alarms(limit):,}", f"{one.alarms(limit) / len(one.real):.3%}"] if len(one.real) else ["", ""]
    return [name, f"{limit}", *one.caught(limit), *alarms]


def _percent(share: float) -> str:
    return f"{share:.1%}"


def _shared(name: str, real: Real, found: Floats) -> list[str]:
    ratios = np.array([_in_order(real, query, place) for query, place in real.candidates[found > LIMIT]])
    if not len(ratios):
        return [name, "0", "", "", ""]
    numbers = (f"{one:.2f}" for one in (ratios.min(), np.median(ratios)))
    return [name, f"{len(ratios)}", *numbers, _percent((ratios > 0.5).mean())]


def _in_order(real: Real, query: int, place: int) -> float:
    """Return the highest share of words that a candidate has in common with a positive of its query, in order."""
    judged = real.positives[real.positives[:, 0] == query, 1]
    words, *others = (real.texts[one].casefold().split() for one in (place, *judged))
    return max(difflib.SequenceMatcher(None, words, other, autojunk=False).ratio() for other in others)


def _choice(name: str, real: Real, copies: Copies) -> list[list[str]]:
    rows = []
    for unit, counts in SHINGLES.items():
        for count in counts:
            one = compared_by(Shingles(unit, count), real, copies)
            values = np.quantile(one.real, 0.999), np.quantile(one.copies[CHANGED[-1]], 0.01)
            mark = ", as chosen" if (unit, count) == CHOSEN else ""
            rows.append([name, f"{count} {unit}{mark}", *(f"{value:.2f}" for value in values)])
    return rows


def compared_by(shingles: Shingles, real: Real, copies: Copies) -> Compared:
    """Compare by other shingles than the operator has."""
    used = np.union1d(real.candidates[:, 1], real.positives[:, 1])
    signatures = shingles([real.texts[place] for place in used])
    found, sides = [], [(pairs[:, 0], first_index(used, pairs[:, 1])) for pairs in (real.candidates, real.positives)]
    for query in np.unique(real.positives[:, 0]):
        own, judged = (signatures[row[of_query == query]] for of_query, row in sides)
        found.append((own[:, None] == judged[None]).mean(axis=2).max(axis=1))
    originals = shingles(copies.originals)
    of_copies = {share: (shingles(texts) == originals).mean(axis=1) for share, texts in copies.changed.items()}
    return Compared(np.concatenate(found).astype(np.float32), of_copies)


def _speed(real: Real) -> str:
    compare = Resemblance()
    documents = pa.table({"doc_key": np.arange(len(real.texts)), "text": pa.array(real.texts, pa.string())})
    began = time.process_time()
    features = compare.features(documents)
    signatures = time.process_time() - began
    candidates, positives = _pairs(real.candidates), _pairs(real.positives)
    began = time.process_time()
    compare(candidates, positives, features)
    comparing = time.process_time() - began
    size = documents.column("text").nbytes
    return (
        f"On one core, SciFact: signatures of {size / 1e6 / signatures:.0f} MB of text a second, "
        f"{len(real.texts) / signatures:,.0f} documents; {len(real.candidates) / comparing / 1e6:.1f} million "
        f"candidates a second. A signature has {VALUES} bytes."
    )


if __name__ == "__main__":
    main()
