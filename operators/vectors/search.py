"""Search one shard: FAISS finds, the exact vectors decide."""

from typing import Literal, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, model_validator

from operators.schemas import POSITIVE_DOCUMENT, to_numpy
from operators.settings import AtLeastOne, Settings
from operators.vectors.candidates import Asked, Documents, candidates_of
from operators.vectors.merge import within_k
from operators.vectors.nearest import OperatingPoint, depth_for, nearest
from operators.vectors.shard import Shard

Matrix = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

MORE_DEPTH = 4  # times deeper in every round


class SearchConfig(Settings):
    """How deep a corpus is searched.

    Attributes:
        k: how many documents that are not judged positive are found for each query.
        max_k: queries that the filters leave short are searched again, alone, four times deeper each time, up to this;
            `auto` is ten times `k`.
        recall_target: the share of the `k` nearest documents that an index with codes must find.
        nprobe: how many lists of an IVF index are visited; `auto` is tuned for the target.
        refine_factor: how many times more are taken from the codes, to be scored with the real vectors; `auto` is
            tuned for the target.
    """

    k: AtLeastOne = 100
    max_k: Literal["auto"] | AtLeastOne = "auto"
    recall_target: float = Field(default=0.95, gt=0, le=1)
    nprobe: Literal["auto"] | AtLeastOne = "auto"
    refine_factor: Literal["auto"] | AtLeastOne = "auto"

    @model_validator(mode="after")
    def _deeper_is_not_shallower(self) -> Self:
        if self.max_k != "auto" and self.max_k < self.k:
            raise ValueError(f"max_k ({self.max_k}) is less than k ({self.k}).")
        return self

    def retry_depths(self) -> list[int]:
        """Return the depths, one after the other, at which queries that were left short are searched again."""
        deepest_k = 10 * self.k if self.max_k == "auto" else self.max_k
        depths = [self.k]
        while depths[-1] < deepest_k:
            depths.append(min(depths[-1] * MORE_DEPTH, deepest_k))
        return depths[1:]


class Search:
    """Find the documents of a shard that are nearest to each query, with exact scores.

    Codes only propose, and what they propose is scored with the real vectors: no threshold and no rank ever rests on
    a quantized score.

    Attributes:
        k: how many documents that are not judged positive each query gets.
        point: how hard the codes are searched; ignored without quantized codes.
        device: on which every vector is compared, where that is done.
        asked: how many of the `k` each query gets, the best of them.
    """

    def __init__(
        self,
        k: int,
        shard: Shard,
        point: OperatingPoint = OperatingPoint(),  # noqa: B008 - frozen
        device: str = "cpu",
        asked: int | None = None,
    ) -> None:
        """Search for `k`; give those that are `asked` for, all of them where nothing is said."""
        self.k, self.shard, self.point, self.device = k, shard, point, device
        self.asked = k if asked is None else asked

    def __call__(self, queries: pa.Table, positives: pa.Table) -> pa.Table:
        """Return the candidates of a batch of queries in this shard (schema CANDIDATES), best first for each query.

        Args:
            queries: schema vectors_schema, the key being the query's.
            positives: schema positive_vectors_schema, of these queries, wherever in the corpus they are.

        Each query gets the `k` best documents that are not judged positive for it, and the positives among and above
        them. The depth of a query grows with its own positives in this shard, not with those of another. Where fewer
        are asked for, it gets the first rows of just that, up to the last that is asked for.
        """
        asked = Asked.of(queries, positives)
        query, row = self._found(asked.vectors, self._positives_here(asked))
        shard = self.shard
        documents = Documents(shard.doc_key, shard.text_key, shard.vectors, shard.geometry)
        query, table = candidates_of(asked, documents, query, row)
        kept = within_k(query, to_numpy(table, "positive_kind") != POSITIVE_DOCUMENT, self.asked)
        return table if kept.all() else table.filter(pa.array(kept))

    def _positives_here(self, asked: Asked) -> Ints:
        here = self.shard.holds(to_numpy(asked.positives, "doc_key"))
        return np.bincount(asked.owner[here], minlength=len(asked.keys))

    def _found(self, vectors: Matrix, positives: Ints) -> tuple[Ints, Ints]:
        """Return the query's number and the shard's row of everything found, flat, in the order of the queries.

        Codes propose as many as for `k`, however few are asked for: what is asked for are the best of the same.
        """
        wanted, depths = self.asked + positives, depth_for(self.k + positives)
        nothing = np.zeros(0, dtype=np.int64)
        found = [(nothing, nothing)]
        for depth in np.unique(depths):
            asked = np.flatnonzero(depths == depth)
            of_asked = np.ascontiguousarray(vectors[asked])
            query, row = nearest(self.shard, of_asked, wanted[asked], self.point, self.device, int(depth))
            found.append((asked[query], row))
        query = np.concatenate([query for query, _ in found])
        row = np.concatenate([row for _, row in found])
        order = np.argsort(query, kind="stable")
        return query[order], row[order]
