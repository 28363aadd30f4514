"""Cases: each is named by its kind and its seed, runs in a folder of its own, and gives findings."""

import json
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random

from tests.fuzz.case import Case, Way, way_of, write_config
from tests.fuzz.configs import config_case
from tests.fuzz.judging import judge
from tests.fuzz.mixed import mixed_case
from tests.fuzz.models import Encoded, make_model, model_case
from tests.fuzz.outcome import leftovers
from tests.fuzz.place import new_folder
from tests.fuzz.runs import run_case_of_run
from tests.fuzz.sources import source_case


def run_case(kind: str, seed: int, way: Way | None = None, keep: Path | None = None) -> Case:
    """Run a case in a folder that is removed afterwards, or in one to keep."""
    case = Case(kind, seed, way or way_of(kind, seed))
    folder = keep or new_folder(kind)
    began = time.perf_counter()
    try:
        KINDS[kind](case, Random(f"{kind}:{seed}"), folder)
        case.findings += leftovers(folder)
    finally:
        case.seconds = time.perf_counter() - began
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    return case


def _source(case: Case, random: Random, folder: Path) -> None:
    encoder, model = None, None
    if case.way == "process" and random.random() < 0.25:  # BEIR, pairs, CSV and TSV: these hold no vectors
        model = make_model(folder / "model", 0)
        encoder = Encoded(model)
    made = source_case(random, folder, encoder, model)
    path = write_config(folder, made.config)
    case.notes += [*made.notes, f"expected: {made.expected.why or 'the result of the oracle'}"]
    case.notes.append(json.dumps(made.config, default=str))
    arguments = ["mine", str(path), "--json"]
    if case.way == "process" and random.random() < 0.9:  # the plot of the report takes longer than all else
        arguments += ["--until", "export"]
    outcome = case.run(arguments, folder)
    judge(case, outcome, made.expected, Path(made.config["run"]), made.config["export"]["formats"])


KINDS: Mapping[str, Callable[[Case, Random, Path], None]] = {
    "source": _source,
    "config": config_case,
    "model": model_case,
    "run": run_case_of_run,
    "mixed": mixed_case,
}
