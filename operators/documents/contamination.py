"""Which texts are in an evaluation set, or near a text of one: found by key, and by bands of their signatures.

Two signatures are compared where they agree in all places of some band, in the place of all pairs (Leskovec, Rajaraman
and Ullman, "Mining of Massive Datasets", section 3.4). A text is judged by itself: batches change nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from operators.keys import Keys, splitmix64, uniform
from operators.schemas import DROPPED, concat, to_numpy
from operators.segments import first_of_each, join_sorted, join_sorted_in_blocks
from operators.signatures import SIGNATURE, VALUES, Bytes, estimates, signatures_in, signatures_of

Mask = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

# A text of an evaluation set; sets in their order, each text once in a set.
TEXTS = pa.schema(
    {
        "evaluation_set": pa.string(),
        "evaluation_id": pa.string(),
        "evaluation_text": pa.string(),  # its beginning
        "text_key": pa.int64(),
        "signature": SIGNATURE,
    }
)
# The texts that have a certain value in some band, ascending by the key of band and value.
BAND = pa.schema({"key": pa.int64(), "text": pa.int32()})
# A text that was dropped, and the text of each set that it is most like.
CONTAMINATED = pa.schema(
    {
        "id": pa.string(),
        "key": pa.int64(),
        "text": pa.string(),  # its beginning
        "reason": pa.string(),
        "evaluation_set": pa.string(),
        "evaluation_id": pa.string(),
        "evaluation_text": pa.string(),
        "resemblance": pa.float32(),
    }
)
IN_SET, NEAR_SET = "in_evaluation_set", "near_evaluation_set"
# Characters of a text that are shown.
SHOWN = 200

# Each band has some places of the signature, drawn at random. They are in so many tables: one is sorted at a time.
BANDS, TABLES = 128, 8
_SEED = 1
# The share of texts exactly at the limit that no band finds, at most: a band is as wide as that allows.
_MISSED = 0.005
_WIDEST = 8
# Texts of a batch whose keys are in memory at a time: 16 bands of some 30 bytes for each.
_TEXTS_AT_ONCE = 1 << 14
# Pairs of texts that are compared at a time: some 400 bytes for each.
_PAIRS_AT_ONCE = 1 << 15
_HIGHEST_TEXT = (1 << 32) - 1


def width_of(limit: float) -> int:
    """Return how many places a band has: two texts of resemblance `limit` agree in one of BANDS with 1 - _MISSED."""
    missed = [(1 - limit**width) ** BANDS for width in range(1, _WIDEST + 1)]
    return max(sum(share <= _MISSED for share in missed), 1)


def bands_of(signatures: Bytes, limit: float) -> Iterator[pa.Table]:
    """Yield the tables (schema BAND, TABLES of them) that find signatures, shape (n, VALUES), by their bands.

    With a limit of 1 nothing is near, and the tables are empty.
    """
    for number in range(TABLES):
        if limit >= 1:
            yield BAND.empty_table()
            continue
        key = _keys(signatures, limit, number)
        text = np.repeat(np.arange(len(signatures), dtype=np.int32), key.shape[1])
        order = np.argsort(key.ravel(), kind="stable")
        yield pa.table([key.ravel()[order], text[order]], schema=BAND)


def _keys(signatures: Bytes, limit: float, table: int) -> Keys:
    """Return the keys of signatures in the bands of a table: int64 of shape (n, BANDS / TABLES)."""
    band = np.arange(BANDS).reshape(TABLES, -1)[table]
    drawn = uniform(_SEED, np.repeat(band, VALUES), np.tile(np.arange(VALUES), len(band)))
    places = np.argsort(drawn.reshape(len(band), VALUES), axis=1)[:, : width_of(limit)]
    packed = np.zeros((len(signatures), len(band), 8), dtype=np.uint8)
    packed[:, :, : places.shape[1]] = signatures[:, places]
    return (splitmix64(band, packed.view("<i8")[:, :, 0]) >> np.uint64(1)).astype(np.int64)


class EvaluationTexts:
    """The texts of evaluation sets: parts the texts that are among them, or near one, from all others."""

    def __init__(self, texts: pa.Table, bands: Sequence[pa.Table], limit: float) -> None:
        """Take what `bands_of` gave for the signatures of the texts (schema TEXTS), and the same limit."""
        self.texts, self.bands, self.limit = texts, bands, limit
        self.signatures = signatures_in(texts.column("signature"))
        self.by_key = np.argsort(to_numpy(texts, "text_key"), kind="stable")
        self.ascending = to_numpy(texts, "text_key")[self.by_key]
        sets = texts.column("evaluation_set").combine_chunks().dictionary_encode()
        self.set = np.asarray(sets.indices.to_numpy(zero_copy_only=False), dtype=np.int64)

    def __call__(self, table: pa.Table, side: Literal["doc", "query"]) -> tuple[Mask, pa.Table, pa.Table]:
        """Return which rows are in no set nor near one, bool of shape (rows,); DROPPED of others; and CONTAMINATED.

        Args:
            table: DOCUMENTS or QUERIES.
            side: which of the two.
        """
        found = [self._found(table.slice(at, _TEXTS_AT_ONCE), at) for at in range(0, table.num_rows, _TEXTS_AT_ONCE)]
        row, text, resemblance, exact = (np.concatenate(one) for one in zip(*found or [_nothing()], strict=True))
        kept = np.ones(table.num_rows, dtype=np.bool_)
        kept[row] = False
        reason = pc.if_else(pa.array(exact), IN_SET, NEAR_SET)
        of_row = table.select([f"{side}_id", f"{side}_key", "text"]).take(pa.array(row))
        columns = {
            "id": of_row.column(f"{side}_id"),
            "key": of_row.column(f"{side}_key"),
            "text": beginning(of_row.column("text")),
            "reason": reason,
            "resemblance": resemblance,
        }
        for name in ("evaluation_set", "evaluation_id", "evaluation_text"):
            columns[name] = self.texts.column(name).take(pa.array(text))
        contaminated = concat([pa.table(columns)], CONTAMINATED)
        strongest = np.lexsort((~exact, row))
        once = pa.array(strongest[first_of_each(row[strongest], np.zeros_like(row))])
        return kept, contaminated.select(DROPPED.names).take(once), contaminated

    def _found(self, table: pa.Table, first: int) -> tuple[Ints, Ints, npt.NDArray[np.float32], Mask]:
        """Return rows (counted from `first`), the nearest text of each set, their resemblance, and if it is equal."""
        row, place = join_sorted(to_numpy(table, "text_key"), self.ascending)
        near, of_near, estimate = self._near(table.column("text"))
        rows, texts = np.concatenate([row, near]), np.concatenate([self.by_key[place], of_near])
        resemblance = np.concatenate([np.ones(len(row), np.float32), estimate])
        exact = np.arange(len(rows)) < len(row)
        order = np.lexsort((texts, -resemblance, ~exact, self.set[texts], rows))
        order = order[first_of_each(rows[order], self.set[texts[order]])]
        return first + rows[order], texts[order], resemblance[order], exact[order]

    def _near(self, texts: pa.ChunkedArray) -> tuple[Ints, Ints, npt.NDArray[np.float32]]:
        """Return rows, the nearest text of each set that resembles them more than the limit, and their resemblance."""
        sets = int(self.set.max(initial=-1)) + 1
        signatures = signatures_of(texts) if self.limit < 1 and sets else np.zeros((0, VALUES), np.uint8)
        # Alike texts are found in most bands, and many of them together: only the nearest so far are kept.
        nearest = np.zeros(len(signatures) * sets, dtype=np.int64)
        for number, table in enumerate(self.bands if len(signatures) else ()):
            keys = _keys(signatures, self.limit, number)
            order = np.argsort(keys.ravel())  # what is looked up in order is found ten times as fast
            rows = order // keys.shape[1]
            asked, text = keys.ravel()[order], to_numpy(table, "text")
            for at, place in join_sorted_in_blocks(asked, to_numpy(table, "key"), _PAIRS_AT_ONCE):
                pairs = np.unique(rows[at] * len(self.signatures) + text[place])
                row, of_text = np.divmod(pairs, len(self.signatures))
                estimate = estimates(signatures[row], self.signatures[of_text])
                near = estimate > self.limit
                of_set = row[near] * sets + self.set[of_text[near]]
                np.maximum.at(nearest, of_set, _packed(estimate[near], of_text[near]))
        found = np.flatnonzero(nearest)
        return found // max(sets, 1), *_unpacked(nearest[found])


def _packed(resemblance: npt.NDArray[np.float32], text: Ints) -> Ints:
    """Return numbers that are larger the higher the resemblance, above 0, is, and then the lower the text."""
    # The bits of floats above 0 are in the order of the floats.
    return (resemblance.view(np.int32).astype(np.int64) << 32) | (_HIGHEST_TEXT - text)


def _unpacked(packed: Ints) -> tuple[Ints, npt.NDArray[np.float32]]:
    """Return texts and resemblances from `_packed`."""
    return _HIGHEST_TEXT - (packed & _HIGHEST_TEXT), (packed >> 32).astype(np.int32).view(np.float32)


def _nothing() -> tuple[Ints, Ints, npt.NDArray[np.float32], Mask]:
    none = np.zeros(0, dtype=np.int64)
    return none, none, np.zeros(0, np.float32), np.zeros(0, np.bool_)


def beginning(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the beginning of each text, as it is shown."""
    return pc.utf8_slice_codeunits(texts, 0, SHOWN)


def counts_by_set(contaminated: pa.Table) -> Mapping[str, Mapping[str, int]]:
    """Count the rows of CONTAMINATED: evaluation set -> reason -> rows."""
    counts: dict[str, dict[str, int]] = {}
    grouped = contaminated.group_by(["evaluation_set", "reason"]).aggregate([([], "count_all")])
    for row in grouped.to_pylist():
        counts.setdefault(row["evaluation_set"], {})[row["reason"]] = row["count_all"]
    return counts
