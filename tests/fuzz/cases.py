"""Cases: each is named by its kind and its seed, runs in a folder of its own, and gives findings."""

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random

from tests.fuzz.case import Case, Way, way_of, write_config
from tests.fuzz.checking import compare, promises
from tests.fuzz.outcome import REFUSED, Expected, Outcome, leftovers
from tests.fuzz.runs import run_case_of_run
from tests.fuzz.sources import source_case

def run_case(kind: str, seed: int, way: Way | None = None, keep: Path | None = None) -> Case:
    """Run a case in a folder that is removed afterwards, or in one to keep."""
    case = Case(kind, seed, way or way_of(kind, seed))
    folder = keep or Path(tempfile.mkdtemp(prefix="hardneg-fuzz-"))
    began = time.perf_counter()
    try:
        KINDS[kind](case, Random(f"{kind}:{seed}"), folder.resolve())
        case.findings += leftovers(folder)
    finally:
        case.seconds = time.perf_counter() - began
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    return case


def judge(case: Case, outcome: Outcome, expected: Expected, run: Path, formats: list[str]) -> None:
    """Hold how a run of stages ended against what must come of it."""
    if outcome.crash or case.findings:
        return
    if outcome.code == REFUSED:
        if not (expected.must_refuse or expected.may_refuse):
            case.findings.append(f"refused: {outcome.message}")
        if run.exists():
            case.findings.append(f"a refusal left {sorted(path.name for path in run.iterdir())} behind")
    elif outcome.code:
        case.findings.append(f"exit status {outcome.code}: {outcome.message}")
    elif expected.must_refuse:
        case.findings.append(f"not refused: {expected.why}")
    else:
        try:
            found = promises(run, outcome.result, formats)
            found = found or (compare(run, outcome.result, expected.mined, formats) if expected.mined else [])
        except (ValueError, KeyError, OSError) as error:
            found = [f"the training data cannot be read: {type(error).__name__}: {error}"]
        case.findings += found


def _source(case: Case, random: Random, folder: Path) -> None:
    made = source_case(random, folder, None, None)
    path = write_config(folder, made.config)
    case.told += [*made.told, f"expected: {made.expected.why or 'the result of the oracle'}"]
    case.told.append(json.dumps(made.config, default=str))
    arguments = ["mine", str(path), "--json"]
    if case.way == "process" and random.random() < 0.9:  # the plot of the report takes longer than all else
        arguments += ["--until", "export"]
    outcome = case.run(arguments, folder)
    judge(case, outcome, made.expected, Path(made.config["run"]), made.config["export"]["formats"])


KINDS: Mapping[str, Callable[[Case, Random, Path], None]] = {"source": _source, "run": run_case_of_run}
