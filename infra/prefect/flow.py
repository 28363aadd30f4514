"""A Prefect flow: `hardneg mine` with one task for each stage (docs/orchestrators.md).

A stage that failed is tried again, and goes on where it was; input or a configuration that was refused is not.
"""

import json
import shlex
import subprocess
import sys
from typing import Any

from prefect import flow, task
from prefect.tasks import exponential_backoff

STAGES = ("prepare", "encode", "index", "search", "select", "suspects", "export", "report")
REFUSED = 2


class RefusedError(Exception):
    """The input or the configuration is refused: trying again does not help."""


def _worth_another_try(_task: object, _run: object, state: Any) -> bool:  # noqa: ANN401 - prefect is not installed here
    return not isinstance(state.result(raise_on_failure=False), RefusedError)


@task(
    task_run_name="{stage}",
    retries=3,
    retry_delay_seconds=exponential_backoff(10),
    retry_condition_fn=_worth_another_try,
)
def mine(stage: str, config: str, command: str) -> dict[str, Any]:
    """Do one stage; return what it says of itself."""
    called = [*shlex.split(command), "mine", config, "--from", stage, "--until", stage, "--json"]
    done = subprocess.run(called, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode == REFUSED:
        raise RefusedError(stage)
    done.check_returncode()
    return dict(json.loads(done.stdout.splitlines()[-1]))


@flow
def hardneg(config: str, command: str = "hardneg") -> dict[str, str]:
    """Do all stages, each after the one before it; return what was written: name -> URI."""
    result: dict[str, Any] = {}
    for stage in STAGES:
        result = mine(stage, config, command)
    return dict(result["outputs"])


if __name__ == "__main__":
    hardneg(*sys.argv[1:])
