"""Bring the texts of documents to the files that name them."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import pyarrow as pa

from operators.keys import Keys
from operators.schemas import TEXTS, to_numpy
from pipelines.runtime.engines import Stats, Unit
from pipelines.runtime.execution import Execution, StageOutput
from pipelines.runtime.shuffle import Gather, Shuffle
from pipelines.runtime.storage.cache import Cache
from pipelines.runtime.storage.records import Record
from pipelines.runtime.storage.run_directory import StageFolder
from pipelines.text.stages.wanted import NamedIn, OpenWanted, wanted_by


def bring_texts(
    execution: Execution,
    corpus: StageOutput,
    naming: tuple[Sequence[Record], NamedIn, int],
    make_gather: Callable[[], Gather],
    buckets: Sequence[Unit],
    cache: Cache,
) -> list[Stats]:
    """Have each file be written together with the texts of the documents that it names: the step `write`.

    It leaves the folder WANTED behind.

    Args:
        execution: of the stage.
        corpus: the output of prepare/corpus.
        naming: the files, a function that returns the keys of the documents that one names, each once, and how many
            keys all of them name, or more. Where that is none, no document is read.
        make_gather: called on the worker; what it makes is called with a bucket and the texts (schema TEXTS).
        buckets: one for each file, of the same numbers.
        cache: where workers keep copies of what is wanted.
    """
    files, named_in, most = naming
    wanted = wanted_by(execution, "write", files, named_in, most)
    documents = corpus.parts("documents") if most else []
    units = [Unit(f"{i:05d}", part) for i, part in enumerate(documents)]
    route = partial(RouteTexts, corpus.folder, execution.folder, wanted, cache)
    return execution.shuffle("write", Shuffle(route, units, make_gather, buckets, TEXTS))


class RouteTexts:
    """One partition of documents -> those that a file names, to that file."""

    def __init__(self, corpus: StageFolder, folder: StageFolder, wanted: Sequence[Record], cache: Cache) -> None:
        self.corpus, self.wanted = corpus, OpenWanted(folder, wanted, cache)

    def __call__(self, unit: Unit) -> Iterator[tuple[Keys, pa.Table]]:
        """Route one partition."""
        documents = self.corpus.read_table(unit.args, TEXTS.names)
        for part, row in self.wanted.among(to_numpy(documents, "doc_key")):
            yield part, documents.take(pa.array(row))
