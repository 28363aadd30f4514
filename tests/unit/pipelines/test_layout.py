"""The layout of the packages: who imports whom, and where stages are named."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.detection.config import DetectionConfig
from pipelines.detection.stages.export import ExportSamples
from pipelines.detection.stages.match import MatchBoxes
from pipelines.detection.stages.precision import MeasurePrecision
from pipelines.detection.stages.prepare import PrepareBoxes
from pipelines.detection.stages.select import SelectSamples
from pipelines.text import COMMANDS
from pipelines.text.config import Config
from pipelines.text.stages.encoder_stages import OF_RUN
from pipelines.text.stages.export import ExportDataset
from pipelines.text.stages.prepare_corpus import PrepareCorpus
from pipelines.text.stages.prepare_queries import PrepareQueries
from pipelines.text.stages.search.all import SearchShards
from pipelines.text.stages.search.short import SearchDeeper
from pipelines.text.stages.select import SelectNegatives
from pipelines.text.stages.suspects import WriteSuspects

PIPELINES = Path(__file__).parents[3] / "pipelines"
STAGES = [
    OF_RUN.trial,
    PrepareCorpus.name,
    PrepareQueries.name,
    OF_RUN.encode,
    OF_RUN.index,
    SearchShards.name,
    SearchDeeper.name,
    SelectNegatives.name,
    WriteSuspects.name,
    ExportDataset.name,
]
DETECTION_STAGES = [
    PrepareBoxes.name,
    MatchBoxes.name,
    MeasurePrecision.name,
    SelectSamples.name,
    ExportSamples.name,
]
# Who may import whom. The Python functions of the text pipeline stand on those that run any pipeline.
ALLOWED = {
    "runtime": {"runtime"},
    "reports": {"reports", "runtime"},
    "text": {"text", "reports", "runtime", "run", "results"},
    "detection": {"detection", "reports", "runtime"},
}


def imports(file: Path) -> Iterator[str]:
    """The parts of pipelines/ that a file imports."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pipelines."):
            yield str(node.module).split(".")[1]


def texts(file: Path) -> set[str]:
    """The strings of a file."""
    tree = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    return {node.value for node in tree if isinstance(node, ast.Constant) and isinstance(node.value, str)}


@pytest.mark.parametrize("package", ALLOWED)
def test_imports_go_one_way(package: str) -> None:
    for file in (PIPELINES / package).rglob("*.py"):
        assert set(imports(file)) <= ALLOWED[package], file


def test_no_stage_is_named_outside_of_its_pipeline() -> None:
    for pipeline, stages in (("text", STAGES), ("detection", DETECTION_STAGES)):
        others = {PIPELINES / other for other in ("text", "detection") if other != pipeline}
        for file in PIPELINES.rglob("*.py"):
            # Two pipelines may give their stages the same name.
            if PIPELINES / pipeline not in file.parents and others.isdisjoint(file.parents):
                assert texts(file).isdisjoint(stages), file


def test_few_files_are_loose() -> None:
    assert len(list(PIPELINES.glob("*.py"))) <= 6


def test_the_commands_are_the_groups_of_the_stages() -> None:
    groups = [name.partition("/")[0] for name in STAGES]
    assert list(COMMANDS) == list(Config.groups) == list(dict.fromkeys(groups))
    of_detection = [name.partition("/")[0] for name in DETECTION_STAGES]
    assert list(DetectionConfig.groups) == list(dict.fromkeys(of_detection))
