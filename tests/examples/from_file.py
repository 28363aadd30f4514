"""A proposer."""

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from operators.candidates.proposer import Proposer
from operators.keys import keys_of


class FromFile(Proposer):
    """What another system found: a Parquet file of query_id and doc_id, best first. Give a changed file a new name."""

    path: str

    def __call__(self, queries: pa.Table, judgements: pa.Table) -> pa.Table:
        found = pq.read_table(self.path, columns=["query_id", "doc_id"])
        keys = pa.table({"query_key": keys_of(found["query_id"]), "doc_key": keys_of(found["doc_id"])})
        return keys.filter(pc.is_in(keys["query_key"], queries["query_key"].combine_chunks()))
