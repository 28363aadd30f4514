"""The contamination guard: how many copies it catches, what it drops of real training data, and what it costs.

`python -m benchmarks.contamination` writes benchmarks/contamination.md. Copies of test queries and of their relevant
documents are planted in which some of the words are others. It needs ../shared.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from benchmarks import beir, pages
from benchmarks.planted import CHANGED, COPIES, planted
from operators.documents.contamination import IN_SET, TEXTS, EvaluationTexts, bands_of
from operators.documents.evaluation_sets import ContaminationConfig
from operators.keys import keys_of, text_keys_of
from operators.schemas import QUERIES
from operators.signatures import as_column, estimates, signatures_of

SETS = ("scifact", "insuranceqa-en")
LIMITS = {"queries": (0.5, 0.6, 0.7, 0.8), "documents": (0.3, 0.35, 0.5)}
CHOSEN = {
    "queries": ContaminationConfig.model_fields["max_query_resemblance"].default,
    "documents": ContaminationConfig.model_fields["max_document_resemblance"].default,
}
# Of the cost: evaluation queries, and training queries that are looked for among them.
HELD_OUT, ASKED = 100_000, 20_000
# Of training queries compared with all, to see what bands miss.
COMPARED = 2_000


@dataclass(frozen=True)
class Side:
    """The texts of one kind of one collection: held out for the test, and to train on."""

    held_out: Sequence[str]
    training: Sequence[str]


def sides(name: str) -> Mapping[str, Side]:
    """Return the queries and the documents of a collection; documents relevant to test queries are held out."""
    folder = beir.SETS / name
    queries, documents = beir.texts(folder, "queries"), beir.texts(folder, "corpus")
    judged = {split: _judged(folder / "qrels" / f"{split}.tsv") for split in ("train", "test")}
    relevant = {document for _, document in judged["test"]}
    asked = {split: dict.fromkeys(query for query, _ in pairs) for split, pairs in judged.items()}
    return {
        "queries": Side(*([queries[one] for one in asked[split]] for split in ("test", "train"))),
        "documents": Side(
            [documents[one] for one in sorted(relevant)],
            [text for one, text in documents.items() if one not in relevant],
        ),
    }


def _judged(file: Path) -> list[tuple[str, str]]:
    rows = (line.split("\t") for line in file.read_text(encoding="utf-8").splitlines()[1:])
    return [(query, document) for query, document, score in rows if float(score) > 0]


def found_by(texts: Sequence[str], limit: float) -> EvaluationTexts:
    """Return what finds texts that are near one of these."""
    column = pa.chunked_array([pa.array(texts, pa.string())])
    signatures = signatures_of(column)
    ids = pa.array(np.arange(len(texts)).astype(str), pa.string())
    columns = [pa.repeat("test", len(texts)), ids, column, text_keys_of(column), as_column(signatures)]
    return EvaluationTexts(pa.table(columns, schema=TEXTS), list(bands_of(signatures, limit)), limit)


def as_queries(texts: Sequence[str]) -> pa.Table:
    """Return texts as they are prepared."""
    ids = pa.array(np.arange(len(texts)).astype(str), pa.string())
    column = pa.chunked_array([pa.array(texts, pa.string())])
    return pa.table(
        [ids, column, pa.nulls(len(texts), pa.string()), keys_of(ids), text_keys_of(column)], schema=QUERIES
    )


def rows_of(name: str, kind: str, side: Side, rng: np.random.Generator) -> list[list[str]]:
    """Return a row of the table for each limit."""
    chosen = rng.choice(len(side.held_out), min(COPIES, len(side.held_out)), replace=False)
    words = [side.held_out[at].split() for at in chosen]
    copies = planted(words, [word for text in side.training[:2000] for word in text.split()], " ", rng)
    rows = []
    for limit in LIMITS[kind]:
        found = found_by(side.held_out, limit)
        caught = [1 - found(as_queries(copies.changed[share]), "query")[0].mean() for share in CHANGED]
        kept, dropped, _ = found(as_queries(side.training), "query")
        equal = dropped.column("reason").to_pylist().count(IN_SET)
        near = dropped.num_rows - equal
        counts = [f"{equal:,}", f"{near:,}", f"{(~kept).mean():.1%}"]
        rows.append([name, kind, f"{limit}", *(f"{share:.1%}" for share in caught), *counts])
        pages.tell(f"{name}, {kind}, {limit}")
    return rows


def missed(side: Side, limit: float) -> tuple[int, int]:
    """Return how many texts are above the limit when all pairs are compared, and how many of them bands miss."""
    asked = side.training[:COMPARED]
    kept, _, _ = found_by(side.held_out, limit)(as_queries(asked), "query")
    ours, theirs = (signatures_of(pa.chunked_array([pa.array(texts)])) for texts in (asked, side.held_out))
    near = np.array([estimates(np.broadcast_to(one, theirs.shape), theirs).max() > limit for one in ours])
    return int(near.sum()), int((near & kept).sum())


def cost(side: Side, rng: np.random.Generator) -> tuple[float, float, float]:
    """Return CPU seconds to index HELD_OUT queries, texts looked up in a second, and MB of the tables."""
    vocabulary: npt.NDArray[np.object_] = np.array(
        [word for text in side.training for word in text.split()], dtype=object
    )
    more = [" ".join(rng.choice(vocabulary, 8)) for _ in range(HELD_OUT - len(side.held_out))]
    began = time.process_time()
    found = found_by([*side.held_out, *more], CHOSEN["queries"])
    indexed = time.process_time() - began
    asked = as_queries([*side.training, *side.training][:ASKED])
    began = time.process_time()
    found(asked, "query")
    each = (time.process_time() - began) / ASKED
    return indexed, 1 / each, (found.texts.nbytes + sum(table.nbytes for table in found.bands)) / 1e6


def main() -> None:
    """Write the page."""
    pages.parser(__doc__, rounds=None).parse_args()
    rng, rows, compared = np.random.default_rng(0), list[list[str]](), list[list[str]]()
    for name in SETS:
        for kind, side in sides(name).items():
            rows += rows_of(name, kind, side, rng)
            near, lost = missed(side, CHOSEN[kind])
            compared.append([name, kind, f"{CHOSEN[kind]}", f"{near:,}", f"{lost:,}"])
    indexed, a_second, megabytes = cost(sides(SETS[-1])["queries"], rng)
    exact = all(row[3] == "100.0%" for row in rows)
    head = ["set", "texts", "limit", *(f"{share:.0%} changed" for share in CHANGED), "in it", "near it", "dropped"]
    pages.write(
        "contamination",
        [
            pages.heading("The contamination guard", "contamination"),
            f"Copies of {COPIES} test queries (300 of SciFact) and of {COPIES} documents that are relevant to some "
            "(283), in which a share of the words (at least one) are words of other texts, and how many of them are "
            "dropped. Then what is dropped of real data: of training queries, and of documents that are relevant to no "
            "test query. A short query of which one word is another has many more than 1 % of its words changed.",
            pages.table(head, rows),
            pages.goal(exact, "Of exact copies none passes"),
            f"Of the first {COMPARED:,} texts of the real data, those above the limit when all pairs are compared, and "
            "those of them that no band finds:",
            pages.table(["set", "texts", "limit", "above", "missed"], compared),
            f"On one core, {HELD_OUT:,} evaluation queries (those of InsuranceQA, and others of 8 of its words each) "
            f"are indexed in {indexed:.0f} CPU seconds, and take {megabytes:,.0f} MB on the disk of each worker; "
            f"{a_second:,.0f} training queries of InsuranceQA are looked up in a CPU second, with their signatures.",
        ],
    )


if __name__ == "__main__":
    main()
