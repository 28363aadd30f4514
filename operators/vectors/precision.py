"""Vectors in the precision in which they are kept, and back."""

from pathlib import Path

import faiss
import numpy as np
import numpy.typing as npt

from operators.schemas import VectorDType, Vectors

Matrix = npt.NDArray[np.float32]


def in_precision(matrix: Matrix, dtype: VectorDType) -> Vectors:
    """Return a matrix in the precision in which vectors are kept; what is too large for it becomes infinite."""
    with np.errstate(over="ignore"):
        return matrix.astype(np.float16) if dtype == "float16" else matrix


def in_float32(matrix: Vectors) -> Matrix:
    """Return a matrix in float32, contiguous. FAISS does it several times as fast as numpy."""
    rows, dimension = matrix.shape
    if matrix.dtype == np.float32 or not rows:
        return np.ascontiguousarray(matrix, dtype=np.float32)
    codec = faiss.IndexScalarQuantizer(dimension, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    return np.asarray(codec.sa_decode(np.ascontiguousarray(matrix).view(np.uint8)), dtype=np.float32)


def multiplies_bfloat16() -> bool:
    """Tell whether the processor multiplies matrices in bfloat16 in hardware (AVX-512 BF16 or AMX)."""
    cpu = Path("/proc/cpuinfo")  # torch knows, too, but takes seconds to load
    return cpu.exists() and bool({"avx512_bf16", "amx_bf16"} & set(cpu.read_text(encoding="ascii").split()))
