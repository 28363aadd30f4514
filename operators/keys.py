"""Keys of documents, queries and texts: hashes that need no coordination and stay the same when a corpus grows."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

Keys = npt.NDArray[np.int64]

_LOW_63_BITS = (1 << 63) - 1


def keys_of(strings: pa.Array | pa.ChunkedArray) -> Keys:
    """Return the 63-bit xxh3 of each string, as non-negative int64 of shape (n,)."""
    digest = xxhash.xxh3_64_intdigest
    hashes = np.fromiter(map(digest, strings.cast(pa.binary()).to_pylist()), dtype=np.uint64, count=len(strings))
    return (hashes & np.uint64(_LOW_63_BITS)).astype(np.int64)


def text_keys_of(texts: pa.Array | pa.ChunkedArray) -> Keys:
    """Return the keys of the normalised texts, int64 of shape (n,): equal for texts that read the same.

    Normalised means Unicode NFD, with every run of white space as one blank and none at the ends.
    """
    # Not NFC: up to Arrow 25 that is decomposed all the same (apache/arrow#51225), so the keys would change with Arrow.
    decomposed = pc.utf8_normalize(texts, form="NFD")
    return keys_of(pc.binary_join(words_of(decomposed), " "))


def words_of(texts: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Split each text at its runs of Unicode white space; a text without words gives one empty word."""
    return pc.utf8_split_whitespace(pc.utf8_trim_whitespace(texts))


def digest_of(table: pa.Table) -> str:
    """Hash the rows of a table: 128 bits in hexadecimal, equal for equal rows in the same order."""
    # Copied, as Arrow pads what it writes of a slice with bytes of the rows behind it.
    rows = table.replace_schema_metadata().take(pa.array(np.arange(table.num_rows))).combine_chunks()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    return str(xxhash.xxh3_128_hexdigest(sink.getvalue()))


def splitmix64(*parts: Keys | int) -> npt.NDArray[np.uint64]:
    """Hash several integers into one: uint64 of shape (n,), uniform, for seeded draws that no row order changes.

    Every part is absorbed with the finalizer of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom
    number generators", 2014, figure 16).
    """
    state = np.zeros(1, dtype=np.uint64)
    with np.errstate(over="ignore"):
        for part in parts:
            word = np.asarray(part, dtype=np.int64).astype(np.uint64)
            state = state + word + np.uint64(0x9E3779B97F4A7C15)
            state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            state = state ^ (state >> np.uint64(31))
    return state


def uniform(*parts: Keys | int) -> npt.NDArray[np.float64]:
    """Return a number in [0, 1) for each row, float64 of shape (n,), uniform and decided by the parts alone."""
    return (splitmix64(*parts) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def pair_keys(*parts: Keys) -> Keys:
    """Hash pairs of keys into 63 bits, as keys themselves have: non-negative int64 of shape (n,)."""
    return (splitmix64(*parts) >> np.uint64(1)).astype(np.int64)
