"""Clean documents and queries: drop rows that are no text worth training on, and say why."""

from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.keys import keys_of, text_keys_of, words_of
from operators.schemas import DOCUMENTS, DROPPED
from operators.settings import AtLeastZero, Settings


class CleanConfig(Settings):
    """What is dropped from the corpus before anything else looks at it.

    Attributes:
        drop_empty: drop documents and queries whose text is missing or only white space.
        min_words: drop documents of fewer words (runs of characters between white space); 0 keeps all.
        drop_containing: drop documents whose text contains one of these markers, such as `[RETRACTED]`.
        exact_duplicates: `keep_first` keeps one of the documents (and of the queries) whose normalised texts are
            equal, and judgements follow the one that was kept; `keep` keeps them all.
    """

    drop_empty: bool = True
    min_words: AtLeastZero = 0
    drop_containing: tuple[str, ...] = ()
    exact_duplicates: Literal["keep_first", "keep"] = "keep_first"


class Clean:
    """Give the rows of a batch their text and keys, and part the rows to drop from those to keep.

    Takes batches as `read` yields them for a corpus: doc_id, text, maybe title, vector and metadata.
    """

    def __init__(self, config: CleanConfig) -> None:
        self.config = config

    def __call__(self, batch: pa.Table) -> tuple[pa.Table, pa.Table]:
        """Return the kept documents (schema DOCUMENTS, and `vector` where there is one) and the dropped (DROPPED)."""
        text = with_title(batch)
        documents = pa.table(
            {
                "doc_id": batch.column("doc_id"),
                "text": text,
                "metadata": batch.column("metadata"),
                "doc_key": keys_of(batch.column("doc_id")),
                "text_key": text_keys_of(text),
            },
            schema=DOCUMENTS,
        )
        if "vector" in batch.column_names:
            documents = documents.append_column("vector", batch.column("vector"))
        reason = self._reasons(text)
        kept = pc.is_null(reason)
        dropped = pa.table(
            {"id": documents.column("doc_id"), "key": documents.column("doc_key"), "reason": reason}, schema=DROPPED
        )
        return documents.filter(kept), dropped.filter(pc.invert(kept))

    def _reasons(self, text: pa.Array) -> pa.Array:
        markers = np.zeros(len(text), dtype=np.bool_)
        for marker in self.config.drop_containing:
            markers |= pc.match_substring(text, marker).to_numpy(zero_copy_only=False)
        empty = is_empty(text).to_numpy(zero_copy_only=False)
        few = np.zeros_like(markers)
        if self.config.min_words:
            words = pc.list_value_length(words_of(text)).to_numpy(zero_copy_only=False)
            few = np.where(empty, 0, words) < self.config.min_words
        return pc.case_when(
            pc.make_struct(pa.array(empty & self.config.drop_empty), pa.array(few), pa.array(markers)),
            pa.scalar("empty_text"),
            pa.scalar("too_few_words"),
            pa.scalar("marker_word"),
        )


def with_title(batch: pa.Table) -> pa.Array:
    """Return the texts of a batch, each after its title where it has one, joined by a blank and trimmed as in BEIR."""
    text = pc.fill_null(batch.column("text").combine_chunks(), "")
    if "title" in batch.column_names:
        title = pc.fill_null(batch.column("title").combine_chunks(), "")
        text = pc.binary_join_element_wise(title, text, " ")
    return pc.utf8_trim_whitespace(text)


def is_empty(text: pa.Array) -> pa.Array:
    """Tell which texts have nothing but white space: a boolean array."""
    return pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(text)), 0)
