"""Draw from a large corpus once, for benchmarks/balance.py: `balance_alone PROPOSER DOCUMENTS`."""

import json
import sys
import time

import numpy as np
import pyarrow as pa

from operators.candidates.proposers.frequency import Frequency
from operators.candidates.proposers.uniform import Uniform
from operators.candidates.sampling import ENTRIES, SampleCorpus, weighted

GROUPS = 1_000
QUERIES_AT_ONCE = 100_000
LIMIT = 10
BUCKET = 4_000_000


def main() -> None:
    """Weigh, draw, and print the seconds and the fit."""
    name, documents = sys.argv[1], int(sys.argv[2])
    random = np.random.default_rng(0)
    keys = np.unique(random.integers(1 << 62, size=documents))
    frequency = (1e6 / random.permutation(np.arange(1, len(keys) + 1))) if name == "frequency" else np.ones(len(keys))
    sampler = (
        Frequency(proposer=name, by="clicks", limit=LIMIT)
        if name == "frequency"
        else Uniform(proposer=name, limit=LIMIT)
    )
    began = time.perf_counter()
    buckets = max(-(-len(keys) // BUCKET), 1)
    made = []
    for bucket in range(buckets):
        here = keys % buckets == bucket
        cells = pa.array(["{}"] * int(here.sum()))
        entries = pa.table([keys[here], frequency[here], cells, np.zeros(int(here.sum()), np.bool_)], schema=ENTRIES)
        made.append(weighted(sampler, entries))
    sample = SampleCorpus(sampler, [one[0] for one in made], [one[1] for one in made])
    weighing = time.perf_counter() - began
    weight = frequency ** (0.75 if name == "frequency" else 1)
    # Groups of about the same weight: the first draw of each query falls into them as often.
    ends = np.cumsum(weight)
    group = np.minimum((ends - weight) / ends[-1] * GROUPS, GROUPS - 1).astype(np.int64)
    times, drawn, seconds = np.zeros(GROUPS), 0, 0.0
    while drawn < len(keys):
        queries = random.integers(1 << 62, size=QUERIES_AT_ONCE)
        asked = pa.table({"query_key": queries, "metadata": pa.nulls(len(queries), pa.string())})
        began = time.perf_counter()
        table = sample(asked)
        seconds += time.perf_counter() - began
        drawn += table.num_rows
        first = np.asarray(table.column("doc_key"))[np.asarray(table.column("rank")) == 0]
        times += np.bincount(group[np.searchsorted(keys, first)], minlength=GROUPS)
    expected = np.bincount(group, weights=weight, minlength=GROUPS) / ends[-1] * times.sum()
    known = expected > 0
    chi_square = float(((times[known] - expected[known]) ** 2 / expected[known]).sum())
    print(
        json.dumps({"weigh": weighing, "rate": drawn / seconds, "chi_square": chi_square, "groups": int(known.sum())})
    )


if __name__ == "__main__":
    main()
