"""Lay a collection out as sources, in any format and under any names, and write them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz.generate import Content
from tests.fuzz.interpret import Row, Source
from tests.fuzz.writing import COMPRESS, as_csv, as_jsonl, as_parquet, as_tsv

USUAL: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "corpus": {"doc_id": ("doc_id", "_id", "id", "pid"), "text": ("text", "contents", "passage"), "title": ("title",)},
    "queries": {"query_id": ("query_id", "_id", "id", "qid"), "text": ("text", "query", "question")},
    "judgements": {
        "query_id": ("query_id", "query-id", "qid"),
        "doc_id": ("doc_id", "corpus-id", "docid"),
        "score": ("score", "relevance", "label", "rel"),
        "label": ("label",),
    },
    "pairs": {
        "query": ("query", "anchor", "question"),
        "positive": ("positive", "pos", "answer"),
        "negative": ("negative", "neg"),
        "query_id": ("query_id",),
        "positive_id": ("positive_id",),
    },
}
OWN_NAMES = ("key", "my column", "größe", "x.y", "№")


@dataclass
class Written:
    """How a source is written.

    Attributes:
        source: what is in it.
        format: of its files.
        ending: of the compression.
        mapped: the roles whose columns the configuration names.
        paths: of the files.
    """

    source: Source
    format: str
    ending: str
    mapped: dict[str, str]
    paths: list[Path] = field(default_factory=list)
    named: bool = True  # whether the name tells the format
    globbed: bool = False  # whether the path is a glob


def sources_of(random: Random, held: Content, layout: str, model_there: bool) -> list[Written]:
    if layout == "pairs":
        return [_pairs(random, held)]
    formats = {kind: "jsonl" for kind in ("corpus", "queries")}
    vectors = {kind: layout != "beir" for kind in formats}
    if layout == "separate":
        for kind in formats:
            vectors[kind] = not model_there or random.random() < 0.3
            choices = ["jsonl", "parquet"] if vectors[kind] else ["jsonl", "parquet", "csv", "tsv"]
            formats[kind] = random.choice(choices)
    endings = ["", ".gz"] if layout == "beir" else list(COMPRESS)
    written = []
    for kind, items, role in (("corpus", held.documents, "doc_id"), ("queries", held.queries, "query_id")):
        roles = _roles(random, kind, layout, titled=any(item.title is not None for item in items))
        if vectors[kind]:
            roles["vector"] = random.choice(["vector", "embedding", "v"])
        numbered = all(item.name.isdigit() and str(int(item.name)) == item.name for item in items)
        others = _others(random, formats[kind])
        rows: list[Row] = []
        for item in items:
            row: dict[str, Any] = {roles[role]: int(item.name) if numbered else item.name}
            row[roles["text"]] = _cell(item.text, formats[kind])
            if "title" in roles:
                row[roles["title"]] = item.title
            if vectors[kind]:
                row[roles["vector"]] = item.raw
            rows.append({**row, **{name: random.choice(values) for name, values in others.items()}})
        written.append(_split(random, Source(kind, roles, [rows]), formats[kind], random.choice(endings)))
    written.append(_judged(random, held, layout))
    return written


def _cell(text: str, format_: str) -> str:
    return " ".join(text.split("\t")) if format_ == "tsv" else text


def _roles(random: Random, kind: str, layout: str, titled: bool = False, skip: Sequence[str] = ()) -> dict[str, str]:
    if layout == "beir":
        fixed = {
            "corpus": {"doc_id": "_id", "text": "text", "title": "title"},
            "queries": {"query_id": "_id", "text": "text"},
        }
        return dict(fixed[kind])
    roles: dict[str, str] = {}
    own = list(OWN_NAMES)
    random.shuffle(own)
    for role, names in USUAL[kind].items():
        if role in skip or (role == "title" and not titled):
            continue
        name = own.pop() if random.random() < 0.2 else random.choice(names)
        roles[role] = name if name not in roles.values() else own.pop()
    return roles


def _others(random: Random, format_: str) -> dict[str, list[Any]]:
    """Return columns without a role, each with some values it has."""
    plain: dict[str, list[Any]] = {
        "lang": ["en", "NA", None, "", "ümlaut"],
        "year": [1999, 2001, None],
        "weight": [0.5, -1.25, None],
        "good": [True, False, None],
    }
    if format_ == "jsonl":
        plain["anything"] = [1, "x", None, [1, "a"], {"a": {"b": None}}, 2**70, float("nan")]
        plain["metadata"] = [{"source": "s", "n": 1}, {}, None, {"only": ["list"]}]
    if format_ == "parquet":
        plain["tags"] = [["a", "b"], [], None]
        plain["nested"] = [{"a": 1, "b": "x"}, {"a": None, "b": None}]
    wanted = random.sample(sorted(plain), random.randint(0, 3))
    if format_ in {"csv", "tsv"}:
        return {name: [None if one is None else str(one) for one in plain[name]] for name in wanted}
    return {name: plain[name] for name in wanted}


def _split(random: Random, source: Source, format_: str, ending: str) -> Written:
    rows = source.files[0]
    if len(rows) > 3 and random.random() < 0.3:
        cut = random.randint(1, len(rows) - 1)
        source.files = [rows[:cut], rows[cut:]]
    ending = "" if format_ == "parquet" else ending
    names = {name for usual in USUAL[source.kind].values() for name in usual}
    mapped = {
        role: name
        for role, name in source.roles.items()
        if role == "vector"
        or name not in names
        or name not in USUAL[source.kind].get(role, ())
        or random.random() < 0.2
    }
    return Written(source, format_, ending, mapped)


def _judged(random: Random, held: Content, layout: str) -> Written:
    kind = random.random()
    labelled = layout != "beir" and kind < 0.08
    plain = layout != "beir" and 0.08 <= kind < 0.2 and all(one.score > 0 for one in held.judgements)
    roles = {"query_id": "query-id", "doc_id": "corpus-id", "score": "score"}
    if layout != "beir":
        roles = _roles(random, "judgements", layout, skip=("label",) if not labelled else ("score",))
    if plain:
        roles.pop("score")
    as_text = {0.0: "no", 1.0: "yes", 2.0: "very"}
    format_ = "tsv" if layout == "beir" else random.choice(["jsonl", "csv", "tsv", "parquet"])
    kinds = [int, float, str] if format_ != "jsonl" else [int, float]
    number = random.choice(kinds)
    rows: list[Row] = []
    for one in held.judgements:
        row: dict[str, Any] = {roles["query_id"]: one.query_id, roles["doc_id"]: one.doc_id}
        if "score" in roles:
            row[roles["score"]] = number(one.score if number is not str else int(one.score))
        if labelled:
            row[roles["label"]] = as_text[one.score]
        rows.append(row)
    source = Source("judgements", roles, [rows])
    if labelled and random.random() < 0.7:
        source.positive_labels = ["yes", "very"]
    return _split(random, source, format_, "" if layout == "beir" else random.choice(list(COMPRESS)))


def _pairs(random: Random, held: Content) -> Written:
    format_ = random.choice(["jsonl", "csv", "tsv", "parquet"])
    lists = format_ in {"jsonl", "parquet"} and random.random() < 0.4
    skip = [role for role in ("negative", "query_id", "positive_id") if random.random() < 0.5]
    skip += ["positive_id"] * lists
    roles = _roles(random, "pairs", "separate", skip=skip)
    texts = {item.name: item.text for item in held.documents}
    asked = {item.name: item.text for item in held.queries}
    others = _others(random, format_)
    rows: list[Row] = []
    for one in held.judgements:
        if one.doc_id not in texts or one.query_id not in asked:
            continue
        some = [random.choice(held.documents).text for _ in range(random.randint(0, 2))]
        row: dict[str, Any] = {roles["query"]: _cell(asked[one.query_id], format_)}
        positive = _cell(texts[one.doc_id], format_)
        row[roles["positive"]] = [positive, *some] if lists else positive
        if "negative" in roles:
            row[roles["negative"]] = some if lists else _cell(some[0], format_) if some else None
        for role, name in (("query_id", one.query_id), ("positive_id", one.doc_id)):
            if role in roles:
                row[roles[role]] = name
        rows.append({**row, **{name: random.choice(values) for name, values in others.items()}})
    return _split(random, Source("pairs", roles, [rows]), format_, random.choice(list(COMPRESS)))


def write(random: Random, folder: Path, one: Written, layout: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    one.named = layout == "beir" or random.random() < 0.9
    if layout == "beir":  # there is one file
        one.source.files = [[row for rows in one.source.files for row in rows]]
    for number, rows in enumerate(one.source.files):
        stem = (
            {"judgements": "qrels/train"}.get(one.source.kind, one.source.kind)
            if layout == "beir"
            else f"{one.source.kind}-{number}"
        )
        path = folder / f"{stem}.{one.format if one.named else 'data'}{one.ending}"
        path.parent.mkdir(exist_ok=True)
        if one.format == "parquet":
            content_ = as_parquet(rows, random, one.source.roles.get("vector"))
        else:
            content_ = {"jsonl": as_jsonl, "csv": as_csv, "tsv": as_tsv}[one.format](rows, random)
        path.write_bytes(COMPRESS[one.ending](content_))
        one.paths.append(path)
    if one.format in {"csv", "tsv"}:
        names = [list(dict.fromkeys(name for row in rows for name in row)) for rows in one.source.files]
        one.source.files = [
            [{name: None if row.get(name) in (None, "") else str(row[name]) for name in names[i]} for row in rows]
            for i, rows in enumerate(one.source.files)
        ]
