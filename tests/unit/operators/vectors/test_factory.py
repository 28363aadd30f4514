"""A factory string is refused, or makes an index that can be trained, filled, stored and searched: nothing crashes."""

import json
import random
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from operators.errors import InputError
from operators.vectors.factory import check_factory

# What crashed, hung or misread memory when FAISS was given it, found by trying some thousands of strings.
DEADLY = [
    "PQ8x0",
    "IVF8,PQ4x0",
    "IVF0,RaBitQfs",
    "IVF0(HNSW8),RaBitQfs_32",
    "HNSW0",
    "HNSW1,PQ4",
    "HNSW0_4+PQ4",
    "PRQ16x0x4",
    "PLSQ7x0x4",
    "NSG4,Flat",
    "NSG2",
    "LSQ64x4",
    "PCA0,SQ8",
    "RR0,OPQ64_64,IVF32,PQ32x3",
    "OPQ1_0,PQ4",
    "IVF4(IVF4,Flat),FlatPanorama0",
]
# What FAISS makes and then cannot add to, store or read.
OF_NO_USE = [
    "IDMap,Flat",
    "IDMap2,SQ8",
    "SQ8,IDMap",
    "RCQ2x3",
    "ZnLattice2x4_6",
    "IVF8(RCQ2x2),SQ8",
    "IVF4(IVF4,Flat),SQ8",
]
IN_USE = [
    "IVF4096,PQ48",
    "OPQ48,IVF4096,PQ48x4fs",
    "IVF2048,SQ8",
    "IVF2048,RaBitQ",
    "HNSW32",
    "IVF65536_HNSW32,PQ64x4fs",
]

# Tries strings in a process of its own, since what FAISS does to one cannot be caught; each in two dimensions.
TRY = """
import sys, json, faiss, numpy as np, tempfile, pathlib
from operators.errors import InputError
from operators.vectors.factory import check_factory
from operators.vectors.index import IndexConfig, Task, add, choose, codes_from, empty_flat, save, train
from operators.vectors.nearest import OperatingPoint, nearest
from operators.vectors.rounding import lengths_of
from operators.vectors.shard import Shard, _mapped
faiss.omp_set_num_threads(1)
for factory, dimension in json.loads(sys.argv[1]):
    print(factory, dimension, end=" ", flush=True)
    drawn = np.random.default_rng(0).standard_normal((320, dimension)).astype(np.float32)
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    try:
        check_factory(factory)
        choice = choose(IndexConfig(factory=factory), Task(len(drawn), 10, dimension, 10**6))
        trained = train(choice, drawn)
    except InputError as error:
        print("refused", flush=True)
        continue
    codes, flat = codes_from(trained), empty_flat(dimension, "float32")
    for part in np.array_split(drawn, 3):
        add(codes, part)
    add(flat, drawn)
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "codes.faiss"
        save(codes, file)
        keys = np.arange(len(drawn))
        shard = Shard(flat, keys, keys, lengths_of(drawn), _mapped(file))
        for depth in (32, len(drawn)):
            query, row = nearest(shard, drawn[:9], np.full(9, depth), OperatingPoint(8, 4))
            assert ((row >= 0) & (row < len(drawn))).all()
            assert len(set(zip(query, row))) == len(row) and np.bincount(query).max() <= depth
            assert depth < 100 or (query == row).sum() > 4, row
    print("works", flush=True)
"""

small = st.sampled_from([0, 1, 2, 3, 4, 7, 8, 16, 32, 64, 100, 100000])
codes = st.one_of(
    st.sampled_from(["Flat", "SQ8", "SQ4", "SQ6", "SQfp16", "SQbf16", "SQ3", "RaBitQ", "RaBitQfs", "RaBitQ4", "LSH"]),
    st.builds("PQ{}".format, small),
    st.builds("PQ{}x{}".format, small, st.integers(0, 25)),
    st.builds("PQ{}x4fs{}".format, small, st.sampled_from(["", "r", "_32", "_33"])),
    st.builds("RQ{}x{}".format, small, st.integers(0, 9)),
    st.builds("HNSW{}{}".format, small, st.sampled_from(["", ",Flat", "_SQ8", ",SQ8", "_PQ4", "_4+PQ4"])),
)
lists = st.builds("IVF{}{}".format, small, st.sampled_from(["", "", "_HNSW8", "(HNSW8)", "_HNSW0", "(PQ4)", "_NSG8"]))
transforms = st.builds("{}{}".format, st.sampled_from(["OPQ", "PCA", "PCAR", "RR", "PCAW", "ITQ", "Pad"]), small)
factories = st.builds(
    lambda first, second, third: ",".join([*first, *second, third]),
    st.lists(transforms, max_size=1),
    st.lists(lists, max_size=1),
    codes,
)


def tried(strings: list[tuple[str, int]]) -> list[str]:
    """Try strings; return a line for each."""
    done = subprocess.run(
        [sys.executable, "-c", TRY, json.dumps(strings)], capture_output=True, text=True, check=False, timeout=1200
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0, f"{lines[-1:]}: {done.returncode} {done.stderr[-1500:]}"
    assert len(lines) == len(strings)
    return lines


@pytest.mark.parametrize("factory", [*DEADLY, *OF_NO_USE])
def test_what_faiss_does_not_survive_never_reaches_it(factory: str) -> None:
    with pytest.raises(InputError, match=r"is no factory string that can be used here\. Use auto, exact, or: "):
        check_factory(factory)


@pytest.mark.parametrize("factory", IN_USE)
def test_what_the_documentation_names_is_taken(factory: str) -> None:
    check_factory(factory)


def test_a_string_of_any_length_is_refused_in_one_short_line() -> None:
    with pytest.raises(InputError) as refused:
        check_factory("PQ8," * 100_000)
    assert len(str(refused.value)) <= 400


@pytest.mark.parametrize("count", [30, pytest.param(600, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])])
def test_generated_strings_are_refused_or_work(count: int) -> None:
    @settings(
        deadline=None, max_examples=1, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    @given(strings=st.lists(factories, min_size=count, max_size=count, unique=True), seed=st.integers(0, 2**32))
    def try_some(strings: list[str], seed: int) -> None:
        dimensions = random.Random(seed)
        lines = tried([(factory, dimensions.choice([16, 48, 7])) for factory in strings])
        assert {line.rpartition(" ")[2] for line in lines} <= {"works", "refused"}

    try_some()


def test_usual_strings_work() -> None:
    usual = [
        "Flat",
        "PQ8x4fs",
        "IVF8,PQ8x4fsr",
        "OPQ2_16,IVF16,PQ2x4",
        "PCAR8,IVF8_HNSW4,SQ8",
        "IVF8,RaBitQfs",
        "HNSW8_SQ8",
    ]
    usual += [
        "IVF16,SQfp16",
        "RR,RaBitQ",
        "RaBitQ4",
        "IVF4,RQ4x4",
        "PQ8x6",
        "IVF8(HNSW4),SQbf16",
        "L2norm,SQ8",
        "PQ8np",
    ]
    lines = tried([(factory, 16) for factory in usual])
    assert [line.rpartition(" ")[2] for line in lines] == ["works"] * len(usual)
