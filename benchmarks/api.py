"""`mine_hard_negatives` beside the function of that name in sentence-transformers, on pairs in memory.

`python -m benchmarks.api` draws pairs of texts, mines with each function in a process of its own, without and with a
margin, and writes benchmarks/api.md.
"""

import json
import shutil
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import pages
from benchmarks.processes import Measured, measure
from benchmarks.real_vectors import model_folder

SIDES = ("sentence-transformers", "hardneg")
MARGINS = {"no margin": None, "relative_margin 0.05": 0.05}
# Words of a topic in each text; a query has some words of its positive.
WORDS, TOPIC_WORDS, OF_DOCUMENT, OF_QUERY = 8_000, 60, 30, 8


@dataclass(frozen=True)
class Mining:
    """One call.

    Attributes:
        measured: the process from outside.
        rows: a digest of each pair that has all its negatives, with these: uint64 of shape (pairs,).
    """

    measured: Measured
    rows: npt.NDArray[np.uint64]


def main() -> None:
    """Draw the pairs, mine with both functions, and write the page."""
    parser = pages.parser(__doc__)
    parser.add_argument("--pairs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    scratch = args.scratch.resolve() / "api"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    write_static_model(scratch / "model")
    write_pairs(scratch / "pairs.parquet", args.pairs, args.seed)
    done: dict[tuple[str, str], list[Mining]] = {(name, side): [] for name in MARGINS for side in SIDES}
    for _ in range(args.rounds):
        for (name, side), rounds in done.items():
            shutil.rmtree(scratch / "run", ignore_errors=True)
            command = [sys.executable, "-m", "benchmarks.api_alone", side, str(scratch), json.dumps(MARGINS[name])]
            measured = measure(command, scratch / "log.txt")
            rounds.append(Mining(measured, np.load(scratch / f"{side}.npy")))
            full = len(rounds[-1].rows)
            pages.tell(f"{name}, {side}: {measured.seconds:.0f} s, {measured.peak_mib:,} MiB, {full:,} full")
    shutil.rmtree(scratch)
    about = (
        f"{args.pairs:,} generated pairs, each a query of {OF_QUERY} words and a positive of {OF_DOCUMENT}; the "
        "positives are the corpus. A static model of 384 dimensions, so that encoding is little of the work; 3 "
        "negatives for each pair, all else by default, n-tuples. Whole processes; memory is the peak of the sum of the "
        f"proportional set sizes of all processes. {pages.rounds_of(args.rounds)}"
    )
    head = ["margin", "function", "seconds", "MiB", "full rows", "of them the same"]
    table = [[name, side, *_cells(rounds), _same(done, name)] for (name, side), rounds in done.items()]
    pages.write("api", [pages.heading("The function in memory", "api"), about, pages.table(head, table), *_goals(done)])


def _cells(rounds: list[Mining]) -> list[str]:
    seconds, mib = ([getattr(one.measured, name) for one in rounds] for name in ("seconds", "peak_mib"))
    return [pages.spread(seconds), pages.spread(mib), f"{len(rounds[0].rows):,}"]


def _same(done: dict[tuple[str, str], list[Mining]], name: str) -> str:
    peer, *others = (one.rows for side in SIDES for one in done[name, side])
    return f"{min(len(np.intersect1d(peer, one)) for one in others):,}"


def _goals(done: dict[tuple[str, str], list[Mining]]) -> list[str]:
    peer, here = (
        statistics.median(one.measured.peak_mib for name in MARGINS for one in done[name, side]) for side in SIDES
    )
    return [pages.goal(here <= peer, f"Memory at most that of sentence-transformers ({here / peer:.2f} of it)")]


def write_static_model(folder: Path) -> None:
    """Save a static model with the word embeddings of all-MiniLM-L6-v2."""
    from safetensors.numpy import load_file
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, StaticEmbedding
    from tokenizers import Tokenizer

    source = model_folder()
    words = load_file(source / "model.safetensors")["embeddings.word_embeddings.weight"].astype(np.float32)
    embedding = StaticEmbedding(Tokenizer.from_file(str(source / "tokenizer.json")), embedding_weights=words)
    SentenceTransformer(modules=[embedding, Normalize()], device="cpu").save(str(folder))


def write_pairs(file: Path, pairs: int, seed: int) -> None:
    """Write (query, positive) pairs: the words of a positive are of one topic, those of its query are some of them."""
    random = np.random.default_rng(seed)
    vocabulary = _vocabulary()
    topics = random.choice(len(vocabulary), (max(pairs // 100, 1), TOPIC_WORDS))
    rows = topics[random.integers(len(topics), size=pairs)]
    at = random.random(rows.shape).argsort(axis=1)[:, :OF_DOCUMENT]
    documents = np.take_along_axis(rows, at, axis=1)
    texts = [[" ".join(row) for row in vocabulary[words]] for words in (documents[:, :OF_QUERY], documents)]
    pq.write_table(pa.table({"query": texts[0], "positive": texts[1]}), file)


def _vocabulary() -> "np.ndarray[tuple[int], np.dtype[np.str_]]":
    from tokenizers import Tokenizer

    known = Tokenizer.from_file(str(model_folder() / "tokenizer.json")).get_vocab()
    words = sorted(word for word in known if word.isascii() and word.isalpha() and len(word) > 3)
    return np.array(words[:WORDS])


if __name__ == "__main__":
    main()
