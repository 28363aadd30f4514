"""Where rows of vectors lie in an Arrow file, so that some can be read without the others."""

import pyarrow as pa

_MAGIC = b"ARROW1\0\0"
_ALIGNED = 8  # every buffer of an Arrow file ends at a multiple


def vectors_at(table: pa.Table) -> int:
    """Return at which byte the values of the last column begin in the Arrow file that `Folder.write_table` makes.

    Row i begins i times the width of a row after it: the values are the last buffer of the only batch of the file.

    Args:
        table: its last column are lists of a fixed size, without nulls.
    """
    column = table.schema.types[-1]
    values = table.num_rows * column.list_size * column.value_type.bit_width // 8
    batches = sum(map(pa.ipc.get_record_batch_size, table.combine_chunks().to_batches()))
    return int(len(_MAGIC) + table.schema.serialize().size + batches - values - -values % _ALIGNED)
