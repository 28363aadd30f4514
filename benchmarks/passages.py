"""SciFact's abstracts as two passages each, with metadata and judged negatives, beside documents of another domain."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks import beir

SPLIT = "train"
# Abstracts of electronics, beside those of science.
OTHERS = 3_000


def write_passages(folder: Path) -> dict[str, str]:
    """Write corpus.jsonl, queries.jsonl and judgements.jsonl; return their places, as the section `data` has them.

    A passage has the metadata `abstract` (of which abstract it is), `domain` and `words` (how many it has). Passages
    with evidence for a claim are positives, and those that contradict it are judged negatives. Where the evidence is
    not known, the passage that has the first sentences is judged as the abstract is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tables = {"corpus": _documents(), "queries": _queries(), "judgements": _judgements()}
    for name, rows in tables.items():
        text = "".join(f"{json.dumps(row)}\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    return {name: str(folder / f"{name}.jsonl") for name in tables}


def _documents() -> Iterator[Mapping[str, Any]]:
    for row in beir.rows(beir.SETS / "scifact", "corpus_sentences"):
        sentences = row["abstract"]
        middle = _middle(sentences)
        for half, some in enumerate((sentences[:middle], sentences[middle:])):
            if some:
                text = " ".join([row["title"], *some])
                yield _document(f"{row['doc_id']}.{half}", text, "science", str(row["doc_id"]))
    for number, row in enumerate(beir.rows(beir.SETS / "vaswani", "corpus")):
        if number < OTHERS:
            yield _document(f"v{row['_id']}", f"{row.get('title', '')} {row['text']}".strip(), "electronics", None)


def _document(doc_id: str, text: str, domain: str, abstract: str | None) -> Mapping[str, Any]:
    return {"doc_id": doc_id, "text": text, "domain": domain, "abstract": abstract, "words": len(text.split())}


def _middle(sentences: list[str]) -> int:
    return (len(sentences) + 1) // 2


def _queries() -> Iterator[Mapping[str, Any]]:
    for row in beir.rows(beir.SETS / "scifact", "queries"):
        yield {"query_id": row["_id"], "text": row["text"], "domain": "science"}


def _judgements() -> Iterator[Mapping[str, Any]]:
    middle = {
        str(row["doc_id"]): _middle(row["abstract"]) for row in beir.rows(beir.SETS / "scifact", "corpus_sentences")
    }
    evidence = {row["_id"]: row["metadata"] for row in beir.rows(beir.SETS / "scifact", "queries")}
    lines = (beir.SETS / "scifact" / "qrels" / f"{SPLIT}.tsv").read_text(encoding="utf-8").splitlines()[1:]
    for query, doc, _ in (line.split("\t") for line in lines):
        parts = evidence[query].get(doc, [])
        contradicts = bool(parts) and all(part["label"] == "CONTRADICT" for part in parts)
        halves = {int(at >= middle[doc]) for part in parts for at in part["sentences"]} or {0}
        for half in sorted(halves):
            yield {"query_id": query, "doc_id": f"{doc}.{half}", "score": 0 if contradicts else 1}
