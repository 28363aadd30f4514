"""`make cluster-demo`: a job on three Ray nodes, with everything in an object store, watched and checked.

It starts SeaweedFS and three Ray nodes on this machine, puts the pairs of the quick start into a bucket, submits
`hardneg mine` as a job, shows its status while it runs, compares its rows with those of a run in one process, and takes
all of it down.
"""

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from infra.local.object_store import ObjectStore, temporary_object_store
from infra.local.ray_nodes import Cluster, Node, ray_cluster
from pipelines.quickstart import HOME, prepare

CONFIG = "configs/cluster_demo.yaml"
BUCKET = "hardneg"
RUN = f"s3://{BUCKET}/run"
NODES = [Node(), Node(resources={"encoder": 1}), Node(resources={"memory_rich": 1})]
SECONDS_BETWEEN_LOOKS = 10.0
SECONDS_AT_MOST = 1200.0


def main() -> int:
    """Show it; the exit status is 0 where the job's rows are those of a run in one process."""
    prepare(HOME)
    with temporary_object_store() as store:
        say(f"an object store answers at {store.endpoint}")
        store.make_bucket(BUCKET)
        store.file_system().put(str(HOME / "source" / "pairs.jsonl"), f"{BUCKET}/source/pairs.jsonl")
        with ray_cluster(NODES, dashboard=True, environment=store.environment()) as cluster:
            say(f"{len(NODES)} Ray nodes; the head takes jobs at {cluster.jobs_address}")
            done = watched(cluster, store)
        say("\n".join(line for line in done.stdout.splitlines() if not line.startswith("\x1b")))
        if done.returncode:
            say(done.stderr)
            return done.returncode
        hardneg(store, "status", RUN)
        mined = triplets(f"{BUCKET}/run", store.file_system())
    return 0 if the_same(mined) else 1


def watched(cluster: Cluster, store: ObjectStore) -> subprocess.CompletedProcess[str]:
    """Submit the job, and show the status of the run until the job has ended."""
    mine = ["hardneg", "mine", CONFIG, "--set", f"encoder.model={(HOME / 'model').resolve()}", "--json"]
    say(f"ray job submit --working-dir . -- {' '.join(mine)}")
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(cluster.submit_job, Path(), mine, SECONDS_AT_MOST)
        last = time.monotonic()
        while not job.done():
            time.sleep(1)
            if time.monotonic() - last > SECONDS_BETWEEN_LOOKS and store.file_system().exists(
                f"{BUCKET}/run/_plan.json"
            ):
                hardneg(store, "status", RUN)
                last = time.monotonic()
        return job.result()


def the_same(mined: pa.Table) -> bool:
    """Mine once more in one process, and compare the rows."""
    say("the same in one process, without Ray and without the store, to compare")
    run, source = HOME.parent / "cluster_demo", HOME / "source" / "pairs.jsonl"
    settings = [f"run={run}", f"data.pairs={source}", "engine.address=null", f"encoder.model={HOME / 'model'}"]
    command = [sys.executable, "-m", "pipelines.cli", "mine", CONFIG, "--engine", "local"]
    subprocess.run([*command, *(part for one in settings for part in ("--set", one))], check=True)
    same = bool(triplets(str(run), fsspec.filesystem("file")).equals(mined))
    say(f"{mined.num_rows:,} rows, {'the same' if same else 'NOT the same'} from the cluster and from one process")
    return same


def hardneg(store: ObjectStore, *arguments: str) -> None:
    """Run a command with the store's keys in its environment."""
    command = [sys.executable, "-m", "pipelines.cli", *arguments]
    subprocess.run(command, env={**os.environ, **store.environment()}, check=True)


def triplets(run: str, fs: Any) -> pa.Table:  # noqa: ANN401 - fsspec is untyped
    """Read the rows of a run."""
    published = json.loads(fs.cat_file(f"{run}/dataset.json"))
    files = [f"{run}/{file['path']}" for file in published["files"] if file["path"].endswith(".parquet")]
    return pa.concat_tables([pq.read_table(fs.open(file)) for file in files])


def say(line: str) -> None:
    """Print a line at once, between those of the programs that are started."""
    sys.stdout.write(f"\n{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
