"""What a configuration may hold that it should not."""

import math
import re
from datetime import date
from typing import Any


def _words(text: str) -> list[str]:
    return re.findall(r"\S+", text)


KEYS = _words("""
run storage_options data data.beir data.corpus data.corpus.path data.corpus.format data.corpus.columns
data.corpus.columns.vector data.corpus.columns.text data.corpus.columns.title data.queries data.queries.path
data.judgements data.judgements.path data.pairs data.split data.on_dangling data.partition_rows data.storage_options
clean clean.drop_empty clean.min_words clean.drop_containing clean.exact_duplicates encoder encoder.revision
encoder.query_prompt encoder.document_prompt encoder.max_seq_length encoder.dtype encoder.vector_dtype
encoder.similarity encoder.batch_tokens encoder.trust_remote_code index index.factory index.shard_rows
index.train_rows search search.k search.max_k search.recall_target search.nprobe search.refine_factor select
select.num_negatives select.range_min select.range_max select.sampling_strategy select.seed
select.max_positive_similarity select.absolute_margin select.relative_margin select.margin_positive select.max_score
select.min_score export export.formats export.file_format engine engine.address engine.beam_options engine.workers
engine.encoder_workers engine.encoder_gpus engine.encoder_resources engine.search_resources engine.memory_budget
engine.cache engine.cache_size
""")
THRESHOLDS = [
    f"select.{name}" for name in ("max_positive_similarity", "absolute_margin", "relative_margin", "max_score")
]
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, 2, 3, -1, 2.5, -0.25, 10**10, 10**30, -(10**30), 2**63, 1e300, 1e-300),
    *(
        math.nan,
        math.inf,
        -math.inf,
        "",
        " ",
        "x",
        "3",
        "nan",
        "auto",
        "1e5",
        "ü\u2028",
        "x" * 3000,
        "a\nb",
        "\x1b[31m",
    ),
    *([], [1], ["x"], [[[]]], {}, {"a": 1}, {1: 2}, {"path": "x"}, date(2024, 1, 1), "exact", "top", "random", "keep"),
)
# Some kill the process in FAISS: these always run as commands.
FACTORIES = _words("""
IVF0 IVF0,Flat IVF2,Flat IVF2 SQ8 SQ4 SQfp16 Flat IDMap IDMap,Flat PQ8x0 PQ8x64 PQ0 PQ3 PQ2x4 PQ4x4fs PQ8x4fs
IVF2,PQ2x4 IVF2,PQ4x4fs IVF-1,Flat IVF99999999999,Flat IVF99999,Flat HNSW4 HNSW0 HNSW-1 IVF2_HNSW4,Flat LSH LSHr
PCA4,Flat PCA99,Flat OPQ2,IVF2,Flat OPQ3,Flat RQ2x4 LSQ2x4 NSG4 ITQ8,LSH Pad128,Flat L2norm,Flat IVF2,Flat,RFlat
IVF2,SQ8,Refine(Flat) IVF2,RaBitQ RaBitQ PRQ2x2x4 ZnLattice3x2_4 RR4,Flat IMI2x4,Flat IVF2(Flat),Flat IMI2x9999
PQ1000x8 x , Flat,Flat exact,Flat EXACT Exact auto,Flat IVF2,,Flat SQ8,SQ8 IVF2,IVF2,Flat PQ8x8,Flat IDMap2,SQ8
Residual128,Flat Residual2x4,Flat IVF2,Flat;x IVF2000000000,PQ8x4fs PQ8x16 PQ8x25 OPQ8_4,PQ2x4 2,Flat IVF²,Flat
FlatDedup IVF2,FlatDedup Hamming
""")
# None lies outside the folder of the case.
RUNS = (
    *("", ".", "run[1]", "run*", "run?x", "a b", "ünï/côde", "taken", "taken/below", "/proc/x", "a:b::c", "::"),
    *("memory://x", "simplecache::x", "http://127.0.0.1:1/x", "nosuch://x", "x" * 300),
    *("sources", "dataset", "run/", "./run//x", "run\n", "{a,b}", "zip://x::taken", "github://a:b@c/x", "%41"),
)
SETTINGS = (
    *(
        "a",
        "=",
        "a=",
        "select=3",
        "select=null",
        "select.x.y=1",
        "select.relative_margin.x=1",
        "run.x=1",
        "index.factory.x=1",
    ),
    *("select.relative_margin=nan", "select.max_score=.nan", "select.min_score=-.inf", "select.num_negatives=[1", "=1"),
    *("select.num_negatives=1", "select..num_negatives=1", ".=1", "select.=1", "search.k=5", "index=exact", "data=1"),
    *("select.num_negatives={a: {b: [", "select.seed=2024-02-30", "select.seed=" + "9" * 5000, "select.seed=&a [*a]"),
    *("select: {}=1", "export.formats=[triplet,triplet]", "export.formats=[]", "select.seed=!!python/name:os.system"),
    *("data.corpus.columns={vector: nothing}", "engine.name=flink", "select.seed=0x10", "select.seed=1_000", "run=[]"),
    *(
        "select.seed=" + "[" * 3000,
        "index.shard_rows=0",
        "search.max_k=1",
        "select.range_max=99",
        "clean.min_words=yes",
    ),
)
