"""A real static encoder beside the checkout: in floats, as sentence-transformers reads no embeddings of 8 bits."""

from pathlib import Path

import numpy as np

from benchmarks.beir import SHARED

POTION = SHARED / "models" / "potion-base-4m-int8"


def potion_folder(place: Path) -> Path:
    """Return the folder of the encoder with float32 embeddings; it is written where it is not there yet.

    Texts are scaled to length 1, so the scale of the integers is no part of their vectors.
    """
    if not (place / "modules.json").exists():
        from safetensors.numpy import load_file
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.modules import Normalize, StaticEmbedding
        from tokenizers import Tokenizer

        weights = load_file(POTION / "model.safetensors")["embeddings"].astype(np.float32)
        embedding = StaticEmbedding(Tokenizer.from_file(str(POTION / "tokenizer.json")), embedding_weights=weights)
        SentenceTransformer(modules=[embedding, Normalize()], device="cpu").save(str(place))
    return place
