"""An Airflow DAG: `hardneg mine`, a task for each stage, here or as jobs on a Ray cluster (docs/orchestrators.md).

A stage that failed is tried again, and goes on where it was; input or a configuration that was refused is not.
"""

import json
import logging
import re
import shlex
import subprocess
from typing import Any

from airflow.sdk import Param, dag, task
from airflow.sdk.exceptions import AirflowException, AirflowFailException

STAGES = ("prepare", "encode", "index", "search", "select", "suspects", "export", "report")
REFUSED = 2
# `ray job submit` has an exit status of its own, and says that of the job.
STATUS_OF_JOB = re.compile(r"failed with exit code (\d+)")

log = logging.getLogger("airflow.task")


@task
def mine(stage: str, run: str | None, params: dict[str, Any]) -> str:
    """Do one stage; return the run directory, in which the next goes on."""
    command = [*shlex.split(params["command"]), "mine", params["config"], "--from", stage, "--until", stage, "--json"]
    if run is not None:
        command += ["--set", f"run={run}"]
    if params["address"]:
        command = ["ray", "job", "submit", "--address", params["address"], "--", *command]
    result: dict[str, Any] = {}
    status = None
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            for line in process.stdout or ():
                log.info(line.rstrip())
                if line.startswith('{"run"'):
                    result = json.loads(line)
                elif found := STATUS_OF_JOB.search(line):
                    status = int(found[1])
        finally:  # also where Airflow ends the task
            process.terminate()
    status = status or process.wait()
    if status == REFUSED:
        raise AirflowFailException(f"{stage}: the input or the configuration is refused; trying again does not help.")
    if status:
        raise AirflowException(f"{stage}: exit status {status}.")
    return str(result["run"])


@dag(
    schedule=None,
    default_args={"retries": 3},
    params={
        "config": Param("configs/cluster.yaml", type="string", description="A path that the command can open."),
        "address": Param(None, type=["null", "string"], description="Of a Ray dashboard; none runs the command here."),
        "command": Param("hardneg", type="string", description="How to call it."),
    },
)
def hardneg() -> None:
    """Wire the stages, each after the one before it."""
    run = None
    for stage in STAGES:
        run = mine.override(task_id=stage)(stage, run)


hardneg()
