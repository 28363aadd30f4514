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
        "labels of numbers are words",
        "operators/documents/judgements.py",
        "    values = _numbers_in(labels)\n    if not positive_labels:",
        "    values = None\n    if not positive_labels:",
    ),
    Patch(
        "copies of a positive are negatives",
        "operators/candidates/filters/positive_text.py",
        'pairs["positive_kind"] == POSITIVE_TEXT',
        'pairs["positive_kind"] < 0',
    ),
    Patch(
        "thresholds that are no number",
        "operators/settings.py",
        "allow_inf_nan=False",
        "allow_inf_nan=True",
        ("config",),
    ),
    Patch(
        "keys that stand twice",
        "pipelines/runtime/yaml_file.py",
        "        if key.value in lines:",
        "        if not key.value:",
        ("config",),
    ),
    Patch(
        "ties at the cut",
        "operators/vectors/top_k.py",
        "order = argsort_ranked(held.query, score, self.shard.doc_key[held.row])",
        "order = argsort_scores(held.query, score)",
    ),
    Patch(
        "sizes on reuse",
        "pipelines/runtime/storage/folder.py",
        "        if not records:\n            return []\n        if self.is_local:",
        "        if records or not records:\n            return []\n        if self.is_local:",
        ("run",),
    ),
    Patch(
        "checksums on reading",
        "pipelines/runtime/storage/folder.py",
        "if not is_remembered(path, record):",
        "if False:",
        ("run",),
    ),
    Patch(
        "checksums of records",
        "pipelines/runtime/storage/records.py",
        "value if sealed(name, value) == content else None",
        "value",
        ("run",),
    ),
    Patch(
        "prompts of the model",
        "operators/vectors/encoder.py",
        'prompts = saved.get("prompts") or {}',
        "prompts = {}",
        ("model",),
    ),
    Patch(
        "routes of the model",
        "operators/vectors/encode.py",
        "task=self.side)",
        'task="document")',
        ("model",),
    ),
    Patch(
        "quotes in TSV",
        "operators/documents/quoting.py",
        '{"auto": None,',
        '{"auto": False,',
    ),
    Patch(
        "metadata of the first pair",
        "operators/documents/metadata.py",
        "    for place, several in zip(places,",
        "    for place, several in zip(places[:0],",
    ),
    Patch(
        "partitions without documents",
        "pipelines/text/stages/index_layout.py",
        'parts = [part for part in parts if part["rows"]]',
        "parts = list(parts)",
    ),
    Patch(
        "depth of queries with many positives",
        "operators/vectors/merge.py",
        'counted = to_numpy(table, "positive_kind")[order] != POSITIVE_DOCUMENT',
        'counted = to_numpy(table, "positive_kind")[order] < 9',
    ),
    Patch(
        "sources of draws",
        "operators/candidates/drawing.py",
        "code[pairs[rank_column(self.source)] == NOT_NAMED] = NOT_OF_SOURCE",
        "code[:0] = NOT_OF_SOURCE",
        ("mixed",),
    ),
    Patch(
        "rules of draws",
        "operators/candidates/drawing.py",
        "code[pairs[rule_column(self.where)] != 1] = NOT_MET",
        "code[:0] = NOT_MET",
        ("mixed",),
    ),
    Patch(
        "rows that a document serves",
        "pipelines/text/stages/select.py",
        "self.cutoffs = None if cutoffs is None else read_cutoffs(folder, cutoffs)",
        "self.cutoffs = None",
        ("mixed",),
    ),
    Patch(
        "probabilities among what is free",
        "operators/candidates/weighted.py",
        "log_shares(np.where(free, self.log_weight(pairs), -np.inf), pairs.row)",
        "log_shares(self.log_weight(pairs), pairs.row)",
        ("mixed",),
    ),
    Patch(
        "judged negatives are not suspected",
        "operators/candidates/select.py",
        "mask & ~self._judged(pairs) if of_judged else mask",
        "mask",
        ("mixed",),
    ),
    Patch(
        "ranks that count positives",
        "operators/candidates/sources.py",
        "rank_within(query_key)[kept].astype(np.int32)",
        "rank_within(query_key[kept]).astype(np.int32)",
        ("mixed",),
    ),
    Patch(
        "negatives that a draw fills",
        "operators/candidates/drawing.py",
        "quota = np.minimum(missing, draw.num_negatives) if draw.fill else",
        "quota = np.full_like(missing, draw.num_negatives) if draw.fill else",
        ("mixed",),
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
        line = f"{found.name}: {found.findings[0][:120]}" if found else "NOT FOUND"
        print(f"{patch.name}: {tried} cases, {line}", flush=True)
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
