"""The page on orchestrators: what it names is there, and what it says of versions is what the tests use."""

import re

from pipelines.text import COMMANDS
from tests.integration.infra.conftest import ROOT
from tests.integration.infra.test_airflow import AIRFLOW
from tests.integration.infra.test_prefect import PREFECT

STAGES = (*COMMANDS, "report")

PAGE = ROOT / "docs" / "orchestrators.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_every_link_and_path_leads_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)", TEXT) if "://" not in link]
    assert links
    assert not [link for link in links if not (PAGE.parent / link).exists()]
    paths = re.findall(r"(?:infra|configs)/[\w./-]+\w", TEXT)
    assert not [path for path in paths if not (ROOT / path).exists()]
    missing = [one for one in (ROOT / "infra").iterdir() if one.is_dir() and f"infra/{one.name}/" not in TEXT]
    assert {one.name for one in missing} <= {"local", "__pycache__"}


def test_stages_and_versions_are_those_that_are_tested() -> None:
    named = TEXT.partition("The stages are ")[2].partition(".")[0]
    assert tuple(re.findall(r"`(\w+)`", named)) == STAGES
    for requirement in (*AIRFLOW, *PREFECT):
        assert requirement.partition("==")[2] in TEXT
