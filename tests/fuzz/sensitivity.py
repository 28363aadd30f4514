"""`python -m tests.fuzz.sensitivity`: undo a mend in a copy of the tree, and count the cases until the fuzzer finds it.

A finding counts where the same case finds nothing in the tree as it is.
"""

import argparse
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.fuzzing import ROOT, Done, Worker, fuzz, names_of
from tests.fuzz.place import new_folder

PACKAGES = ("operators", "pipelines", "tests", "pyproject.toml")


@dataclass(frozen=True)
class Patch:
    """A mend to undo: in a file, one text for another; `kinds` of cases are to find it."""

    name: str
    file: str
    old: str
    new: str
    kinds: tuple[str, ...] = ("source",)


PATCHES: Sequence[Patch] = (
    Patch(
        "copies of a positive are negatives",
        "operators/candidates/filters.py",
        '"positive_text": lambda candidates, _: candidates.positive == POSITIVE_TEXT,',
        '"positive_text": lambda candidates, _: candidates.positive < 0,',
    ),
    Patch(
        "relative margins of negative scores",
        "operators/candidates/filters.py",
        "np.abs(candidates.positive_score) * margin",
        "candidates.positive_score * margin",
    ),
    Patch(
        "scores that are not finite",
        "operators/documents/read.py",
        "broken = np.flatnonzero(~np.isfinite(matrix).all(axis=1))",
        "broken = np.flatnonzero(np.zeros(len(matrix)))",
    ),
    Patch(
        "judgements of 0 are positives",
        "operators/documents/judge.py",
        'has_positive[query_row[numbers(led, "judged") > 0]] = True',
        'has_positive[query_row[numbers(led, "judged") >= 0]] = True',
    ),
    Patch(
        "the lower of two scores of a judgement",
        "operators/documents/judge.py",
        '-numbers(judgements, "judged")',
        'numbers(judgements, "judged")',
    ),
    Patch(
        "an edge of max_score",
        "operators/candidates/filters.py",
        "candidates.score > np.float32(config.max_score)",
        "candidates.score >= np.float32(config.max_score)",
    ),
    Patch(
        "ties by the larger key",
        "operators/vectors/order.py",
        "np.lexsort((doc_key[among], together[among]))",
        "np.lexsort((-doc_key[among], together[among]))",
    ),
    Patch(
        "depth of queries with many positives",
        "operators/vectors/merge.py",
        'counted = numbers(table, "positive")[order] != POSITIVE_DOCUMENT',
        'counted = numbers(table, "positive")[order] < 9',
    ),
    Patch(
        "short queries stay short",
        "operators/candidates/select.py",
        "return np.asarray(np.unique(query[missing]))",
        "return np.asarray(np.unique(query[missing]))[:0]",
    ),
    Patch(
        "empty texts stay",
        "operators/documents/clean.py",
        "pa.array(empty & self.config.drop_empty)",
        "pa.array(empty & False)",
    ),
)


def main() -> int:
    """Run the command line; the exit status is 1 where a patch was not found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.sensitivity", description=__doc__)
    parser.add_argument("--cases", type=int, default=500, help="the most cases for each patch (500)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", help="part of the name of a patch")
    options = parser.parse_args()
    missed = 0
    for patch in PATCHES:
        if options.only and options.only not in patch.name:
            continue
        tried, found = undone(patch, options.cases, options.seed, options.jobs)
        missed += found is None
        told = f"{found.name}: {found.findings[0][:120]}" if found else "NOT FOUND"
        print(f"{patch.name}: {tried} cases, {told}", flush=True)
    return int(bool(missed))


def undone(patch: Patch, cases: int, seed: int, jobs: int) -> tuple[int, Done | None]:
    """Apply a patch to a copy and fuzz that; return how many cases it took, and the one that found it."""
    tree = new_folder("tree")
    whole, finding = Worker(ROOT), []
    tried = 0

    def each(done: Done) -> bool:
        nonlocal tried
        tried += 1
        if done.findings and not whole.run(done.name).findings:
            finding.append(done)
        return bool(finding)

    try:
        apply(patch, tree)
        fuzz(names_of(cases, seed, list(patch.kinds)), jobs, each, root=tree)
    finally:
        whole.close()
        shutil.rmtree(tree, ignore_errors=True)
    return tried, finding[0] if finding else None


def apply(patch: Patch, tree: Path) -> None:
    """Copy the packages into a folder, and change one of their files."""
    for name in PACKAGES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tree / name)
    file = tree / patch.file
    text = file.read_text("utf-8")
    if patch.old not in text:
        raise ValueError(f"{patch.name}: {patch.file} has no {patch.old!r}: bring the patch up to date")
    file.write_text(text.replace(patch.old, patch.new), "utf-8")


if __name__ == "__main__":
    sys.exit(main())
