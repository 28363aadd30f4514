"""Texts to negatives, side by side with sentence-transformers' `mine_hard_negatives`: seconds, memory, negatives.

`python -m benchmarks.texts` runs the peer and the project with its default settings, on both engines, in turn, as whole
processes on one machine; it writes benchmarks/texts.md.
"""

import shutil
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import beir, charts, pages
from benchmarks.agreement import Agreement, Rows, TextKeys, agreement
from benchmarks.mining import mine
from benchmarks.processes import Measured, measure
from benchmarks.real_vectors import model_folder

NEGATIVES, RANGE_MAX, SPLIT = 4, 100, "train"
PEER, ENGINES = "sentence-transformers", ("local", "ray")
# What makes ours do just as the peer does: its precision, its index, and the margin taken as it takes it.
AS_THE_PEER = {"encoder": {"dtype": "float32", "vector_dtype": "float32"}, "index": "exact"}
MARGINS = (None, 0.05)


@dataclass(frozen=True)
class Contest:
    """One set and what was measured on it.

    Attributes:
        beir: the folder of the set.
        scratch: where the contestants write.
        runs: contestant -> its rounds.
        agreed: (settings, relative margin) -> the agreement with the peer's negatives.
    """

    beir: Path
    scratch: Path
    runs: dict[str, list[Measured]] = field(default_factory=dict)
    agreed: dict[tuple[str, float | None], Agreement] = field(default_factory=dict)

    def play(self, rounds: int, exact: bool) -> None:
        """Run all contestants in turn, and compare what they found."""
        keys = TextKeys(self.beir)
        for number in range(rounds):
            measured, theirs = self._peer(None, keys)
            self._enter(PEER, measured)
            for engine in ENGINES:
                measured, ours = self._ours(engine, {}, keys)
                self._enter(f"hardneg, {engine}", measured)
                if number == 0:
                    self.agreed[f"default, {engine}", None] = agreement(theirs, ours)
        for margin in MARGINS if exact else ():
            theirs = theirs if margin is None else self._peer(margin, keys)[1]
            select = {"relative_margin": margin, "margin_positive": "lowest"}
            _, ours = self._ours("local", {**AS_THE_PEER, "select": select}, keys)
            self.agreed["float32, exact", margin] = agreement(theirs, ours)

    def _enter(self, name: str, measured: Measured) -> None:
        self.runs.setdefault(name, []).append(measured)
        pages.tell(f"{self.beir.name}, {name}: {measured.seconds:.0f} s, {measured.peak_mib:,} MiB")

    def _peer(self, margin: float | None, keys: TextKeys) -> tuple[Measured, Rows]:
        script, out = beir.SHARED / "peers" / "sentence_transformers_mine.py", self.scratch / "peer.jsonl"
        command = [sys.executable, str(script), str(self.beir), str(model_folder()), str(out), "--split", SPLIT]
        command += ["--num-negatives", str(NEGATIVES), "--range-max", str(RANGE_MAX)]
        command += [] if margin is None else ["--relative-margin", str(margin)]
        return measure(command, self.scratch / "peer.log"), keys.peer_rows(out)

    def _ours(self, engine: str, settings: Mapping[str, Any], keys: TextKeys) -> tuple[Measured, Rows]:
        """Run the project; beside `settings`, all that the peer has no default for either."""
        run = self.scratch / "run"
        shutil.rmtree(run, ignore_errors=True)
        wanted = {
            **settings,
            "data": {"beir": str(self.beir), "split": SPLIT},
            "encoder": {"model": str(model_folder()), **settings.get("encoder", {})},
            "select": {"num_negatives": NEGATIVES, "range_max": RANGE_MAX, **settings.get("select", {})},
            "export": {"formats": ["n-tuple"]},
        }
        mined = mine(wanted, engine, run)
        return mined.measured, keys.our_rows(run, NEGATIVES)


def main() -> None:
    """Run all contests and write the page."""
    parser = pages.parser(__doc__)
    parser.add_argument("--sets", nargs="+", default=["scifact", "insuranceqa-en"], help="folders of ../shared/data")
    parser.add_argument("--exact", nargs="+", default=["scifact"], help="sets on which to do just as the peer, too")
    args = parser.parse_args()
    contests = []
    for name in args.sets:
        scratch = args.scratch.resolve() / f"texts-{name}"
        scratch.mkdir(parents=True, exist_ok=True)
        contests.append(Contest(beir.SETS / name, scratch))
        contests[-1].play(args.rounds, exact=name in args.exact)
        shutil.rmtree(scratch)
    pages.write("texts", _page(contests, args.rounds))


def _page(contests: Sequence[Contest], rounds: int) -> list[str]:
    rows, agreed = [], []
    for contest in contests:
        rows += [_row(contest, name) for name in contest.runs]
        agreed += [_agreed_row(contest, *what) for what in contest.agreed]
    counts = "; ".join(_counts(contest.beir) for contest in contests)
    head = ["set", "", "seconds", "times as fast as the peer", "MiB", "times the peer's memory"]
    same = ["set", "settings", "relative margin", "rows", "all the same", "negatives kept", "only peer's", "only here"]
    return [
        pages.heading("Texts to negatives, side by side with sentence-transformers", "texts"),
        f"{counts}. all-MiniLM-L6-v2, {NEGATIVES} negatives of the top {RANGE_MAX}, all else as it is by default. "
        f"Whole processes, start-up included; memory is the peak of the sum of the proportional set sizes of all "
        f"processes. {pages.rounds_of(rounds)}",
        _plot(contests),
        pages.table(head, rows),
        "\n".join(_goals(contests)),
        "## The same negatives",
        "Of the peer's rows (query, positive): those whose negatives are all the same here and in the same order, and "
        "the share of single negatives that are negatives of that row here too. `float32, exact` is "
        "`encoder.dtype: float32`, `encoder.vector_dtype: float32`, `index: exact` and "
        "`select.margin_positive: lowest`, which is how the peer works.",
        pages.table(same, agreed),
        _WHY_ROWS_DIFFER,
    ]


_WHY_ROWS_DIFFER = """\
Where rows differ in float32: the peer searches as deep for all as its query with the most positives needs, so with a
margin it may find a last negative behind the first 100 candidates; and where two scores differ in the last place of
float32, rounding inside the encoder's batches decides which comes first."""


def _counts(folder: Path) -> str:
    documents, queries = sum(1 for _ in beir.rows(folder, "corpus")), beir.judged_queries(folder, SPLIT)
    return f"{folder.name} {SPLIT}: {documents:,} documents, {queries:,} queries"


def _row(contest: Contest, name: str) -> list[str]:
    seconds = [one.seconds for one in contest.runs[name]]
    peaks = [one.peak_mib for one in contest.runs[name]]
    faster, larger = f"{_faster(contest, name):.2f}", f"{_larger(contest, name):.2f}"
    return [contest.beir.name, name, pages.spread(seconds), faster, pages.spread(peaks), larger]


def _faster(contest: Contest, name: str) -> float:
    pairs = zip(contest.runs[PEER], contest.runs[name], strict=True)
    return statistics.median(theirs.seconds / ours.seconds for theirs, ours in pairs)


def _larger(contest: Contest, name: str) -> float:
    ours, theirs = (statistics.median(one.peak_mib for one in contest.runs[who]) for who in (name, PEER))
    return ours / theirs


def _agreed_row(contest: Contest, settings: str, margin: float | None) -> list[str]:
    one = contest.agreed[settings, margin]
    same, kept = f"{one.same:,} ({one.same / one.rows:.2%})", f"{one.kept / one.negatives:.2%}"
    cells = ["none" if margin is None else str(margin), f"{one.rows:,}", same, kept]
    return [contest.beir.name, settings, *cells, f"{one.only_peer:,}", f"{one.only_here:,}"]


def _goals(contests: Sequence[Contest]) -> list[str]:
    fast = all(_faster(contest, "hardneg, ray") >= 2 for contest in contests)
    small = all(_larger(contest, "hardneg, local") <= 1 for contest in contests)
    agreed = [pair for contest in contests for pair in contest.agreed.items()]
    kept = [one.kept / one.negatives for (settings, _), one in agreed if settings.startswith("default")]
    return [
        pages.goal(fast, "At least twice as fast as the peer, by default, on `ray`"),
        pages.goal(small, "No more than the peer's memory on `local`"),
        pages.goal(min(kept) >= 0.99, "By default at least 99 % of the peer's negatives"),
    ]


def _plot(contests: Sequence[Contest]) -> str:
    groups = [contest.beir.name for contest in contests]
    names = list(contests[0].runs)
    medians = {
        name: [
            (statistics.median(one.seconds for one in runs), statistics.median(one.peak_mib for one in runs))
            for runs in (contest.runs[name] for contest in contests)
        ]
        for name in names
    }
    seconds = {name: [one[0] for one in pairs] for name, pairs in medians.items()}
    memory = {name: [one[1] for one in pairs] for name, pairs in medians.items()}
    return charts.bars("texts", [charts.Panel("seconds", groups, seconds), charts.Panel("MiB", groups, memory)])


if __name__ == "__main__":
    main()
