"""What each draw and each proposer takes, on real data: a page of docs/ with a picture of each.

`python -m benchmarks.strategies` mines passages of SciFact once, selects with each strategy, and writes
docs/strategies.md.
"""

import inspect
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from matplotlib.figure import Figure

from benchmarks import charts, pages
from benchmarks.passages import OTHERS, SPLIT, write_passages
from benchmarks.potion import potion_folder
from benchmarks.real_vectors import model_folder
from operators.candidates import draws as own_draws
from operators.candidates import proposers as own_proposers
from operators.candidates.draw import Draw
from operators.candidates.proposer import CandidateSource
from operators.plugins import find
from operators.schemas import to_numpy
from operators.segments import first_index
from operators.settings import Settings
from pipelines.reports.report import lines_of
from pipelines.results import Mined
from pipelines.run import mine
from pipelines.text.config import Config

DOCS = Path(__file__).parents[1] / "docs"
NEGATIVES = 4
STAGES_OF_SOURCE = ("prepare model", "search encode", "search index", "search propose")
BINS = np.linspace(-0.8, 0.4, 49)
PROPOSERS: list[dict[str, Any]] = [
    {"proposer": "lexical", "limit": 100},
    {"proposer": "encoder", "source": "potion", "limit": 100},  # with the model of `potion_folder`
    {"proposer": "cluster", "limit": 50},
    {"proposer": "same_document", "field": "abstract"},
    {"proposer": "explicit"},
    {"proposer": "uniform", "limit": 20},
    {"proposer": "frequency", "limit": 20},
    {"proposer": "custom", "by": "words", "limit": 20},
    {"proposer": "metadata", "where": "words < 100 and domain == query.domain", "limit": 20},
    {"proposer": "cross_domain", "limit": 20},
]


@dataclass(frozen=True)
class Strategy:
    """One section of the page.

    Attributes:
        name: of the draw or of the proposer.
        draw: what is drawn.
        use: when to use it.
    """

    name: str
    draw: Mapping[str, Any]
    use: str


DRAWS = (
    Strategy(
        "top",
        {"strategy": "top"},
        "The first choice with a margin or a limit that keeps out what is probably relevant. Without one it takes the "
        "most relevant documents that nobody judged.",
    ),
    Strategy(
        "random",
        {"strategy": "random"},
        "Where no filter can be trusted, or the model is weak and the top is full of noise.",
    ),
    Strategy(
        "softmax",
        {"strategy": "softmax", "temperature": 0.05},
        "Between the two: hard, and not always the same few. Its log-probability corrects the loss.",
    ),
    Strategy(
        "simans",
        {"strategy": "simans", "a": 50.0},
        "Where scores of positives are a good measure: around them negatives are neither easy nor mostly relevant.",
    ),
    Strategy(
        "distance_weighted",
        {"strategy": "distance_weighted"},
        "For losses over distances that starve on negatives of one distance.",
    ),
    Strategy(
        "semi_hard",
        {"strategy": "semi_hard", "margin": 0.1},
        "For triplet losses: what is below the positive, and not by the margin yet.",
    ),
    Strategy(
        "stratified",
        {"strategy": "stratified", "bins": 4},
        "Where a reranker has to tell apart documents of all ranks, not only the best.",
    ),
    Strategy(
        "disagreement",
        {"strategy": "disagreement", "sources": ["search", "lexical"]},
        "Where a second ranking is there: what one of the two ranks wrongly teaches most.",
    ),
    Strategy(
        "diverse",
        {"strategy": "diverse", "trade_off": 0.5},
        "Where the best are copies and variants of one another: four negatives that teach four things.",
    ),
)
SOURCES = (
    Strategy(
        "lexical",
        {"strategy": "top", "source": "lexical"},
        "Beside mined negatives: words in common without meaning in common, which the search does not find.",
    ),
    Strategy(
        "encoder",
        {"strategy": "top", "source": "potion"},
        "Where a second model is there, even a small one: it finds what the encoder of the run ranks low, and that one "
        "scores it, so margins keep their meaning. Here it is potion-base-4M, a static model.",
    ),
    Strategy(
        "cluster",
        {"strategy": "top", "source": "cluster"},
        "Where documents near a positive have to be told apart from it. Look at `max_positive_similarity`.",
    ),
    Strategy(
        "same_document",
        {"strategy": "top", "source": "same_document"},
        "Where passages of one document are told apart: the same subject and words, without the answer. Here the other "
        "half of the abstract, so most rows get one.",
    ),
    Strategy(
        "explicit",
        {"strategy": "top", "source": "explicit"},
        "Wherever somebody judged: the only negatives that are known to be some. Here the abstracts that contradict "
        "the claim, which few claims have.",
    ),
    Strategy(
        "uniform",
        {"strategy": "top", "source": "uniform"},
        "A few beside hard ones: they keep the model from forgetting what is easy.",
    ),
    Strategy(
        "frequency",
        {"strategy": "top", "source": "frequency"},
        "Where popular documents are recommended too often. Here popular is what is judged relevant most often.",
    ),
    Strategy(
        "custom",
        {"strategy": "top", "source": "custom"},
        "Where a weight of your own says what is worth more, such as clicks without a purchase. Here the number of "
        "words.",
    ),
    Strategy(
        "metadata",
        {"strategy": "top", "source": "metadata"},
        "Where a rule says what must be told apart, such as an old version of a product. Here short passages of the "
        "domain of the query.",
    ),
    Strategy(
        "cross_domain",
        {"strategy": "top", "source": "cross_domain"},
        "Where one model serves several domains: a few of each row, as they are easy. Here abstracts of electronics.",
    ),
)


@dataclass(frozen=True)
class Taken:
    """What a strategy took.

    Attributes:
        gap: the score of each negative less that of its positive.
        score: of the negatives.
        full: the share of rows with all their negatives.
        hubs: the share of the negatives that are of the 1 % of documents used most.
        seconds: of the stages that only this strategy needs.
    """

    gap: npt.NDArray[np.float32]
    score: npt.NDArray[np.float32]
    full: float
    hubs: float
    seconds: float


def main() -> None:
    """Mine, select with each strategy, and write the page."""
    parser = pages.parser(__doc__, rounds=None)
    parser.add_argument("--margin", type=float, default=0.05)
    args = parser.parse_args()
    run = args.scratch.resolve() / "strategies"
    data = write_passages(args.scratch.resolve() / "passages")
    taken = {one.name: _taken(run, data, one, args.margin) for one in (*DRAWS, *SOURCES)}
    found = _found(run, data)
    (DOCS / "strategies").mkdir(exist_ok=True)
    sections = [
        pages.heading("What each strategy takes", "strategies"),
        f"Abstracts of SciFact ({SPLIT}) as two passages each, and {OTHERS:,} documents of another domain, with "
        f"all-MiniLM-L6-v2: {NEGATIVES} negatives for each row, `relative_margin: {args.margin}`, `range_max: 100`. "
        "Each picture counts documents by their score less that of the positive: grey is what the search found (its "
        "100 best, positives left out), green what the strategy took. Full is the share of rows with all negatives; "
        "hubs is the share of the negatives that are of the 1 % of documents used most. Seconds are those of the "
        "stages that only this strategy needs, beside a search that is there; [what draws cost for each "
        "candidate](../benchmarks/select.md).",
        _table(taken),
        "## Draws",
        "A draw chooses among candidates: `select.draws: [{strategy: NAME, ...}]`.",
        *(block for one in DRAWS for block in _section(one, taken[one.name], found, Draw, own_draws)),
        "## Sources",
        "A proposer names candidates beside the search: `proposers: [{proposer: NAME, ...}]`. Here the best of each "
        "are taken ([choosing negatives](choosing_negatives.md#proposers)).",
        *(block for one in SOURCES for block in _section(one, taken[one.name], found, CandidateSource, own_proposers)),
    ]
    pages.write("strategies", sections, DOCS)


def _mined(run: Path, data: Mapping[str, str], draw: Mapping[str, Any], margin: float) -> Mined:
    config = {
        "run": str(run),
        "data": {**data, "on_dangling": "drop"},
        "encoder": {"model": str(model_folder())},
        "proposers": _proposers(run.parent),
        "select": {"relative_margin": margin, "draws": [{**draw, "num_negatives": NEGATIVES}]},
        "engine": {"name": "local"},
    }
    return mine(Config.model_validate(config), until="select", progress=False)


def _proposers(scratch: Path) -> list[dict[str, Any]]:
    """Return the proposers; the second encoder is written into a folder of `scratch`."""
    model = str(potion_folder(scratch / "potion"))
    return [{**one, "model": model} if one["proposer"] == "encoder" else one for one in PROPOSERS]


def _taken(run: Path, data: Mapping[str, str], strategy: Strategy, margin: float) -> Taken:
    began = time.perf_counter()
    mined = _mined(run, data, strategy.draw, margin)
    pages.tell(f"{strategy.name}: {time.perf_counter() - began:.1f} s")
    negatives = mined.output("select", "negatives")
    score = to_numpy(negatives, "score")
    uses = np.sort(np.array(list(Counter(to_numpy(negatives, "doc_key").tolist()).values())))[::-1]
    documents = mined.stages["index"]["rows_out"]
    rows = Counter(
        zip(to_numpy(negatives, "query_key").tolist(), to_numpy(negatives, "positive_key").tolist(), strict=True)
    )
    pairs = mined.output("search/all", "positives", ["query_key"]).num_rows
    return Taken(
        score - to_numpy(negatives, "positive_score"),
        score,
        sum(count == NEGATIVES for count in rows.values()) / pairs,
        uses[: max(documents // 100, 1)].sum() / uses.sum(),
        _seconds(strategy, mined),
    )


def _seconds(strategy: Strategy, mined: Mined) -> float:
    """Return the seconds of the stages of a strategy alone: those of its source, or those that its draw waits for."""
    of_stages = {name: one["seconds"] for name, one in lines_of(mined.stages)}
    source = strategy.draw.get("source")
    own = ["select", "search vectors"] if source is None else [f"{kind}_{source}" for kind in STAGES_OF_SOURCE]
    return float(sum(of_stages.get(name, 0) for name in own))


def _found(run: Path, data: Mapping[str, str]) -> npt.NDArray[np.float32]:
    """Return the score less that of the first positive of everything that the search found and nobody judged."""
    mined = _mined(run, data, DRAWS[0].draw, 0.05)
    candidates = mined.output("search/all", "candidates", ["query_key", "score", "positive_kind"])
    positives = mined.output("search/all", "positives", ["query_key", "score"])
    candidates = candidates.filter(pa.compute.equal(candidates["positive_kind"], 0))
    at = first_index(to_numpy(positives, "query_key"), to_numpy(candidates, "query_key"))
    return np.asarray(to_numpy(candidates, "score") - to_numpy(positives, "score")[at])


def _table(taken: Mapping[str, Taken]) -> str:
    rows = [
        [
            f"[`{name}`](#{name})",
            f"{one.score.mean():.3f}",
            f"{one.gap.mean():+.3f}",
            f"{one.full:.0%}",
            f"{one.hubs:.1%}",
            f"{one.seconds:.1f}",
        ]
        for name, one in taken.items()
    ]
    return pages.table(["strategy", "mean score", "less the positive's", "full rows", "hubs", "seconds"], rows)


def _section(
    strategy: Strategy, taken: Taken, found: npt.NDArray[np.float32], kind: type[Settings], package: ModuleType
) -> Sequence[str]:
    described = inspect.getdoc(find(strategy.name, kind, package)) or ""
    text = (
        described.partition("\nAttributes:")[0].strip().replace("\n\n", "\0").replace("\n", " ").replace("\0", "\n\n")
    )
    _draw_picture(strategy.name, taken, found)
    return [
        f"### {strategy.name}",
        text,
        strategy.use,
        f"![What `{strategy.name}` takes](strategies/{strategy.name}.svg)",
    ]


def _draw_picture(name: str, taken: Taken, found: npt.NDArray[np.float32]) -> None:
    figure = Figure(figsize=(5.2, 2.0), layout="constrained")
    axes: Any = figure.subplots()
    axes.hist(found, BINS, density=True, color=charts.COLOURS[0], alpha=0.45)
    axes.hist(taken.gap, BINS, density=True, color=charts.COLOURS[1], alpha=0.8)
    axes.axvline(0, color="#444", linewidth=0.8, linestyle="--")
    axes.set_yticks([])
    axes.set_xlabel("score less the positive's", fontsize=8)
    axes.spines[["top", "right", "left"]].set_visible(False)
    with mpl.rc_context(charts.FIXED):
        figure.savefig(DOCS / "strategies" / f"{name}.svg", format="svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
