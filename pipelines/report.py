"""The report of a run: what every stage did, what was dropped and why, and how hard the negatives are."""

import html
import io
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from operators.datasets.card import filled
from operators.schemas import numbers
from pipelines.config import Config, resolved
from pipelines.execution import Completed
from pipelines.losses import losses
from pipelines.pipeline import Outcome
from pipelines.storage.run_directory import RunDirectory

REPORT = "report"
BINS = 60
SCORES_AT_MOST = 1_000_000
COUNTS = ("rows_in", "rows_out", "seconds")
MORE = ("rows_found", "bare_seconds", "rows")
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
POSITIVES_COLOUR, NEGATIVES_COLOUR = "#2a7f62", "#b5483a"


def facts(config: Config, outcome: Outcome, scores: Mapping[str, "Scores"]) -> dict[str, Any]:
    """Gather what the stages said: per stage its counts, what was dropped, and the scores of what was selected."""
    return {
        "configuration": resolved(config),
        "stages": stage_facts(outcome),
        "dropped": dropped(outcome),
        "warnings": [line for name, one in outcome.completed.items() for line in losses(name, one.manifest)],
        "pairs": {key: outcome.completed["select"].manifest[key] for key in ("pairs", "short_rows", "empty_rows")},
        "encoder": outcome.completed["encode"].manifest["encoder"],
        "index": outcome.completed["index"].manifest["choice"],
        "search": {
            **{key: outcome.completed["search/all"].manifest[key] for key in ("effort", "recall")},
            "deeper": outcome.completed["search/short"].manifest["rounds"],
        },
        "scores": {name: one.distribution() for name, one in scores.items()},
    }


def stage_facts(outcome: Outcome) -> dict[str, dict[str, Any]]:
    """Return what the stages of a run did: name -> {rows_in, rows_out, seconds, reused}.

    `rows_found` of encode and index are those that had been done before, for a smaller corpus or by a run that was
    killed; `bare_seconds` is the time inside the encoder and FAISS. Stages that are done in two parts (`prepare` for
    the corpus and the queries, `search` for all queries and again for the short ones) have these as `sides`; the rest
    is their sum; `reused` where both are.
    """
    stages: dict[str, dict[str, Any]] = {}
    for name, completed in outcome.completed.items():
        more = {key: completed.manifest[key] for key in MORE if key in completed.manifest}
        one = {**{key: completed.manifest[key] for key in COUNTS}, "reused": outcome.reused[name], **more}
        stage, _, side = name.partition("/")
        if not side:
            stages[stage] = one
            continue
        both = stages.setdefault(stage, {**dict.fromkeys(COUNTS, 0), "reused": True, "sides": {}})
        summed = [key for key in (*COUNTS, "bare_seconds") if key in one]
        both.update({key: round(both.get(key, 0) + one[key], 3) for key in summed})
        both["reused"] = both["reused"] and one["reused"]
        both["sides"][side] = one
    return stages


def lines_of(stages: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield a name and its facts for every line of a table of stages: each side of a stage that has sides."""
    for name, one in stages.items():
        if "sides" in one:
            yield from ((f"{name} {side}", facts_of_side) for side, facts_of_side in one["sides"].items())
        else:
            yield name, one


def dropped(outcome: Outcome) -> dict[str, int]:
    """Return what was dropped in all stages: `document_...`, `query_...`, `judgement_...` and candidates' reasons."""
    counts: dict[str, int] = {}
    for name, stage in outcome.completed.items():
        prefix = "document_" if name == "prepare/corpus" else ""
        for reason, count in stage.manifest["dropped"].items():
            counts[prefix + reason] = counts.get(prefix + reason, 0) + count
    return counts


def write_report(run: RunDirectory, config: Config, outcome: Outcome) -> str:
    """Write `<run>/report/report.json` and `report.html`; return the URI of the latter."""
    scores = _scores(outcome)
    told = facts(config, outcome, scores)
    run.write_json(f"{REPORT}/report.json", told)
    run.write_bytes(f"{REPORT}/report.html", _page(told, _plot(scores)).encode())
    return f"{run.uri.rstrip('/')}/{REPORT}/report.html"


@dataclass(frozen=True)
class Scores:
    """How many scores there are, and so many of them, at even distances, as fit in memory: float32 of shape (n,)."""

    count: int
    sample: npt.NDArray[np.float32]

    def distribution(self) -> dict[str, Any]:
        """Return the count, the mean and some quantiles."""
        if not self.count:
            return {"count": 0}
        quantiles = {f"{q:.0%}": round(float(np.quantile(self.sample, q)), 4) for q in QUANTILES}
        return {"count": self.count, "mean": round(float(self.sample.mean()), 4), **quantiles}


def _scores(outcome: Outcome) -> dict[str, Scores]:
    searched, selected = outcome.completed["search/all"], outcome.completed["select"]
    return {
        "positives": _sampled(searched, "positives"),
        "negatives": _sampled(selected, "negatives"),
        "suspected false negatives": _sampled(selected, "suspected"),
    }


def _sampled(stage: Completed, kind: str) -> Scores:
    parts = stage.parts(kind)
    count = sum(part["rows"] for part in parts)
    step = math.ceil(count / SCORES_AT_MOST) or 1
    taken = [numbers(stage.folder.read_table(part, ["score"]), "score")[::step] for part in parts]
    return Scores(count, np.concatenate(taken).astype(np.float32))


def _plot(scores: Mapping[str, Scores]) -> str:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3), layout="constrained")
    axes = figure.subplots()
    drawn = {"positives": POSITIVES_COLOUR, "negatives": NEGATIVES_COLOUR}
    # In float32 the edges of bins about a large score are the same number.
    samples = {name: scores[name].sample.astype(np.float64) for name in drawn}
    edges = np.histogram_bin_edges(np.concatenate(list(samples.values())), bins=BINS)
    for name, colour in drawn.items():
        if not len(samples[name]):
            continue
        axes.hist(samples[name], bins=list(edges), density=True, alpha=0.6, color=colour, label=name)
    axes.set_xlabel("similarity to the query")
    axes.set_ylabel("density")
    axes.legend(frameon=False, loc="upper right")  # the best place takes long to find, with a warning
    axes.spines[["top", "right"]].set_visible(False)
    picture = io.StringIO()
    figure.savefig(picture, format="svg", metadata={"Date": None})
    return "<svg" + picture.getvalue().partition("<svg")[2]


def _page(told: Mapping[str, Any], plot: str) -> str:
    stages = [
        [
            name,
            f"{one['rows_in']:,}",
            f"{one['rows_out']:,}",
            f"{one['seconds']:.1f}",
            "reused" if one["reused"] else "ran",
        ]
        for name, one in lines_of(told["stages"])
    ]
    drops = [[reason, f"{count:,}"] for reason, count in told["dropped"].items()]
    names = list(told["scores"]["positives"])
    spread = [[name, *(one.get(key, "") for key in names)] for name, one in told["scores"].items()]
    pairs = told["pairs"]
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>hardneg report</title><style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }}
table {{ border-collapse: collapse; margin: 0.5rem 0 1.5rem }}
td, th {{ padding: 0.2rem 0.9rem 0.2rem 0; border-bottom: 1px solid #ddd; text-align: right }}
td:first-child, th:first-child {{ text-align: left }}
pre {{ background: #f6f6f4; padding: 0.8rem; overflow-x: auto }}
</style></head><body>
<h1>Hard negatives: {html.escape(str(told["configuration"]["run"]))}</h1>
<p>{filled(pairs["pairs"], pairs["short_rows"], pairs["empty_rows"])}. Index: {html.escape(told["index"]["factory"])}
({html.escape(told["index"]["why"])}).</p>
<p>Encoder: {html.escape(", ".join(f"{key} {json.dumps(value)}" for key, value in told["encoder"].items()))}.</p>
{"".join(f"<p><strong>Warning:</strong> {html.escape(line)}</p>" for line in told["warnings"])}
<h2>Scores</h2>{plot}
{_table(["", *names], spread)}
<h2>Stages</h2>{_table(["stage", "rows in", "rows out", "seconds", ""], stages)}
<h2>Dropped</h2><p>Candidates are counted once for each pair of their query.</p>{_table(["reason", "count"], drops)}
<h2>Configuration</h2><pre>{html.escape(json.dumps(told["configuration"], indent=2))}</pre>
</body></html>
"""


def _table(head: list[str], rows: list[list[Any]]) -> str:
    top = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{top}</tr>{body}</table>"
