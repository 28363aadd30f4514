"""Tables as bytes, as they go from worker to worker: Arrow's IPC stream."""

import pyarrow as pa


def to_bytes(table: pa.Table) -> bytes:
    """Return a table as an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def from_bytes(payload: bytes | pa.Buffer) -> pa.Table:
    """Read a table from an Arrow IPC stream, without a copy."""
    return pa.ipc.open_stream(payload).read_all()
