"""The README and the docs are true: their commands run, their keys exist, their files are there."""

import json
import pkgutil
import re
import subprocess
import sys
import types
from pathlib import Path
from typing import Union, get_args, get_origin

import pytest
import yaml
from pydantic import BaseModel

from operators.candidates import draws, filters, proposers
from operators.candidates.draw import Draw
from operators.candidates.false_negatives.model import FalseNegativeModel
from operators.candidates.proposer import CandidateSource
from operators.datasets.export import FORMATS
from operators.detections import strategies
from operators.plugins import find, names_in
from operators.settings import Settings
from operators.vectors.encoder import EncoderConfig
from pipelines.config import load
from pipelines.detection.config import DetectionConfig
from pipelines.text.config import Config

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)


def shell(line: str) -> subprocess.CompletedProcess[str]:
    """Run a line of the README, in the environment that runs the tests."""
    line = line.replace(".venv/bin/", f"{BIN}/")
    if line.startswith("make "):  # the environment is there: what is left is what the command is for
        line = f"make -o .venv/.installed BIN={BIN} {line.removeprefix('make ')}"
    return subprocess.run(line, shell=True, cwd=ROOT, capture_output=True, text=True, check=True)


def python(snippet: str) -> str:
    """Run a snippet of a page, as a program of its own in the root of the project."""
    return subprocess.run([sys.executable, "-c", snippet], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_the_readme_holds_what_its_commands_do() -> None:
    lines = [line for block in blocks("README.md", "bash") for line in block.splitlines() if line != "make test"]
    first = shell(lines[0])
    assert lines[0] == "make quickstart"
    assert first.stdout.count("negative 0.") == 3
    assert "triplets: runs/quickstart/run/dataset/triplet" in first.stdout
    outputs = {line: shell(line).stdout for line in lines[1:]}
    assert all(text for text in outputs.values())
    plan = next(text for line, text in outputs.items() if " plan " in line)
    assert plan.count("reuse") == 10
    evaluated = next(text for line, text in outputs.items() if " evaluate " in line)
    measured = dict(line.split() for line in evaluated.splitlines())
    assert 0.3 < float(measured["ndcg@10"]) < 1
    columns, in_memory = blocks("README.md", "python")
    assert python(columns).startswith("['query', 'positive', 'negative'] [")
    python(in_memory)
    from_dataset, from_configuration = blocks("docs/api.md", "python")
    assert python(from_dataset) == "['query', 'positive', 'negative'] True\n"
    states, _, counts, whole = python(from_configuration).splitlines()
    assert set(yaml.safe_load(states).values()) <= {"reuse", "run"}
    assert counts.startswith("['query', 'positive', 'negative'] ")
    assert whole == "complete whole"


def keys_of(model: type[BaseModel], prefix: str = "") -> list[str]:
    keys = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        options = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
        inner = [one for one in options if isinstance(one, type) and issubclass(one, BaseModel)]
        named = prefix == "data." or FalseNegativeModel in inner  # by a path
        keys += keys_of(inner[0], f"{prefix}{name}.") if inner and not named else [f"{prefix}{name}"]
    return keys


def test_every_key_of_the_configuration_is_documented_and_no_other() -> None:
    page = (ROOT / "docs/configuration.md").read_text(encoding="utf-8").partition("\n## ")[0]
    table = [line.split("|")[1] for line in page.splitlines() if line[:3] == "| `"]
    documented = {key for cell in table for key in re.findall(r"`([^`]+)`", cell)}
    assert documented == set(keys_of(Config))


def test_every_key_and_every_strategy_of_detections_is_documented() -> None:
    page = (ROOT / "docs/detection.md").read_text(encoding="utf-8")
    table = page.partition("\n## Every key\n")[2].splitlines()
    documented = {key for line in table if line[:3] == "| `" for key in re.findall(r"`([^`]+)`", line.split("|")[1])}
    every = {key for key in keys_of(DetectionConfig) if not key.startswith("engine.")}
    assert documented == {*every, "engine"}
    assert all(f"| `{name}` |" in page for name in names_in(strategies))
    example, *_ = blocks("docs/detection.md", "yaml")
    assert DetectionConfig.model_validate(yaml.safe_load(example)).select.per == "class"


@pytest.mark.parametrize(
    ("what", "kind", "package"),
    [("draw", Draw, draws), ("proposer", CandidateSource, proposers)],
    ids=["draw", "proposer"],
)
def test_every_key_of_draws_and_proposers_is_documented_with_its_default(
    what: str, kind: type[Settings], package: types.ModuleType
) -> None:
    page = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    table = page.partition(f"| key of a {what} |")[2].partition("\n\n")[0].splitlines()[2:]
    documented: dict[str, str] = {}
    for line in table:
        keys, defaults = (re.findall(r"`([^`]+)`", cell) or [cell.strip()] for cell in line.split("|")[1:3])
        documented |= dict(zip(keys, defaults * len(keys), strict=False))
    every = {name: field for name, field in kind.model_fields.items()}
    own = {name: find(name, kind, package) for name in names_in(package)}
    known = {*kind.model_fields, *(EncoderConfig.model_fields if what == "proposer" else ())}
    every |= {
        f"{name}.{key}": field
        for name, cls in own.items()
        for key, field in cls.model_fields.items()
        if key not in (known if name == "encoder" else kind.model_fields)
    }
    assert documented.keys() == every.keys()
    for key, field in every.items():
        if key in {"proposer", "source", "lexical.tokenizer", "encoder.index"}:  # defaults that are no plain value
            continue
        default = "required" if field.is_required() else json.loads(json.dumps(field.default))
        assert yaml.safe_load(documented[key]) == default, key


def test_every_reason_and_every_format_is_documented() -> None:
    reasons = (ROOT / "docs/choosing_negatives.md").read_text(encoding="utf-8")
    own_filters = [module.name for module in pkgutil.iter_modules(filters.__path__)]
    assert all(f"`{reason}`" in reasons for reason in own_filters)
    outputs = (ROOT / "docs/outputs.md").read_text(encoding="utf-8")
    assert all(f"| `{layout}` |" in outputs for layout in FORMATS)


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_every_ready_configuration_is_valid(path: Path) -> None:
    config = load(str(path))
    assert config.pipeline == yaml.safe_load(path.read_text(encoding="utf-8")).get("pipeline", "text")


def test_the_configurations_of_the_page_on_object_storage_are_valid() -> None:
    found = [Config.model_validate(yaml.safe_load(text)) for text in blocks("docs/object_storage.md", "yaml")]
    assert [config.run for config in found] == ["s3://bucket/runs/first"] * 2


def test_the_shares_of_the_page_on_negatives_are_valid() -> None:
    page = (ROOT / "docs/choosing_negatives.md").read_text(encoding="utf-8")
    section = re.split("\n## ", page.partition("\n## Shares\n")[2])[0]
    examples = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)]
    assert len(examples) == section.count("\n### ") == 5
    for example in examples:
        data = {"beir": "folder", **example.pop("data", {})}
        config = Config.model_validate({"run": "run", "data": data, "encoder": {"model": "m"}, **example})
        assert config.select.negatives_per_row in {3, 4}


def test_links_lead_somewhere() -> None:
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert target.startswith("http") or (page.parent / target).exists(), f"{page.name}: {target}"
