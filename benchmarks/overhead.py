"""Overhead: the time of a whole run over the time of its bare work, the encode calls and the FAISS calls inside it.

`python -m benchmarks.overhead` runs the project with its default settings and writes benchmarks/overhead.md.
"""

import shutil
import statistics
from collections.abc import Mapping, Sequence

from benchmarks import beir, charts, pages
from benchmarks.mining import Mined, mine
from benchmarks.real_vectors import model_folder

ENGINES = ("local", "ray", "beam")
AT_MOST = 1.15
STAGES = ("prepare", "encode", "index", "search", "select", "export")


def main() -> None:
    """Run every engine in turn and write the page."""
    parser = pages.parser(__doc__)
    parser.add_argument("--set", default="insuranceqa-en", help="a folder of ../shared/data")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    args = parser.parse_args()
    run = args.scratch.resolve() / "run-overhead"
    settings = {
        "data": {"beir": str(beir.SETS / args.set), "split": "train"},
        "encoder": {"model": str(model_folder())},
    }
    runs: dict[str, list[Mined]] = {engine: [] for engine in args.engines}
    for _ in range(args.rounds):
        for engine, mined in runs.items():
            shutil.rmtree(run, ignore_errors=True)
            mined.append(mine(settings, engine, run))
            pages.tell(f"{engine}: {mined[-1].measured.seconds:.0f} s, ratio {_text(ratio(mined[-1]))}")
    shutil.rmtree(run)
    about = f"{args.set}, split train, all-MiniLM-L6-v2, all else by default. {pages.rounds_of(args.rounds)}"
    pages.write("overhead", _page(runs, about))


def ratio(mined: Mined) -> float | None:
    """Return the seconds of the whole process over those of its bare work; None where no stage says what that is."""
    bare = mined.compute_seconds()
    return mined.measured.seconds / bare if bare else None


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _page(runs: Mapping[str, Sequence[Mined]], about: str) -> list[str]:
    ratios = {engine: _median([ratio(one) for one in mined]) for engine, mined in runs.items()}
    whole = [
        [
            engine,
            pages.spread([one.measured.seconds for one in mined], 1),
            pages.spread([one.result["seconds"] for one in mined], 1),
            _seconds(_median([one.compute_seconds() for one in mined])),
            _text(ratios[engine]),
        ]
        for engine, mined in runs.items()
    ]
    known = [one for one in ratios.values() if one is not None]
    met = max(known) <= AT_MOST if len(known) == len(ratios) else None
    return [
        pages.heading("Overhead: the whole run over its bare work", "overhead"),
        about,
        _plot(runs),
        pages.table(
            ["engine", "whole process, s", "from the first line of the run, s", "bare work, s", "ratio"], whole
        ),
        "Bare work is the time inside of encode calls and of FAISS calls, summed over the units of a stage and divided "
        "by how many ran at once. The ratio is that of the whole process, imports and start-up included.",
        pages.goal(met, f"Ratio below {AT_MOST}"),
        "Seconds of each stage, and of them bare work:",
        pages.table(["engine", *STAGES], [_stages(engine, mined) for engine, mined in runs.items()]),
    ]


def _stages(engine: str, runs: Sequence[Mined]) -> list[str]:
    cells = [engine]
    for stage in STAGES:
        seconds = _median([one.stage_seconds(stage) for one in runs])
        bare = _median([one.result["stages"][stage].get("compute_seconds") for one in runs])
        cells.append(f"{_seconds(seconds)} ({_seconds(bare)})")
    return cells


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}"


def _plot(runs: Mapping[str, Sequence[Mined]]) -> str:
    whole = [statistics.median(one.measured.seconds for one in mined) for mined in runs.values()]
    bare = [_median([one.compute_seconds() for one in mined]) or 0.0 for mined in runs.values()]
    series = {"bare work": bare, "whole process": whole}
    return charts.bars("overhead", [charts.Panel("seconds", list(runs), series)])


if __name__ == "__main__":
    main()
