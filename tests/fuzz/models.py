"""Cases of models: a tiny static model, with prompts, routes and similarities of its own, and with damaged files."""

import json
import shutil
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, Literal

import numpy as np

from tests.fuzz.case import Case, write_config
from tests.fuzz.collection import Vector
from tests.fuzz.damage import damaged_content, remove
from tests.fuzz.generate import DIMENSION, WORDS
from tests.fuzz.outcome import Expected

PROMPTS = {"query": "search query ", "document": "search document "}
VOCABULARY = (
    "[UNK]",
    *WORDS,
    "search",
    "query",
    "document",
    "Title",
    "The",
    "title",
    "NA",
    *(f"w{i}" for i in range(180)),
)


def make_model(
    folder: Path, seed: int, *, kind: str = "plain", prompts: bool = False, similarity: str | None = None
) -> Path:
    """Save a static model whose sums over a power of two of words are exact in binary; a Router has two of them."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Router

    embedding = _static(seed)
    modules: list[Any] = [embedding]
    if kind == "router":
        modules = [Router.for_query_document([_static(seed + 1000)], [embedding])]
    more: dict[str, Any] = {"prompts": dict(PROMPTS)} if prompts else {}
    SentenceTransformer(modules=modules, device="cpu", similarity_fn_name=similarity, **more).save(str(folder))
    return folder


def _static(seed: int) -> Any:  # noqa: ANN401 - the library is untyped here
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit

    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    random = np.random.default_rng(seed)
    weights = random.integers(-4, 5, (len(VOCABULARY), DIMENSION)).astype(np.float32) / 2
    return StaticEmbedding(tokenizer, embedding_weights=weights)


@cache
def _loaded(folder: Path) -> Any:  # noqa: ANN401
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu")


class Encoded:
    """Encodes as the authors of a model do, and keeps the vectors in float16.

    Attributes:
        prompts: of the configuration, which win over those of the model.
        cosine: whether vectors are divided by their length.
    """

    def __init__(self, folder: Path, *, cosine: bool = False, prompts: dict[str, str] | None = None) -> None:
        self.folder, self.cosine, self.prompts = folder, cosine, prompts or {}

    def __call__(self, texts: Sequence[str], side: Literal["query", "document"]) -> Vector:
        """Return the vectors: float64 of shape (texts, dimension)."""
        model = _loaded(self.folder)
        encode = model.encode_query if side == "query" else model.encode_document
        more = {"prompt": self.prompts[side]} if side in self.prompts else {}
        if not texts:
            return np.zeros((0, DIMENSION))
        vectors = np.asarray(encode(list(texts), convert_to_numpy=True, **more), dtype=np.float32)
        if self.cosine:
            lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
            vectors = np.asarray(vectors / np.where(lengths > 0, lengths, 1), dtype=np.float32)
        kept: Vector = vectors.astype(np.float16).astype(np.float64)
        return kept


def model_case(case: Case, random: Random, folder: Path) -> None:
    """Mine with a model; in half of the cases one of its files is damaged."""
    from tests.fuzz.judging import judge
    from tests.fuzz.sources import source_case

    kind, prompts = random.choice(["plain", "plain", "router"]), random.random() < 0.4
    named = random.choice([None, None, "dot", "cosine"])
    model = make_model(folder / "model", random.randrange(3), kind=kind, prompts=prompts, similarity=named)
    own = {side: random.choice(["", "search ", "red "]) for side in PROMPTS if random.random() < 0.25}
    cosine = random.random() < 0.3
    case.notes.append(f"{kind}, prompts {prompts}, similarity {named}, configured prompts {own}, cosine {cosine}")
    made = source_case(random, folder, Encoded(model, cosine=cosine, prompts=own), model, damaged=False, cosine=cosine)
    encoder: dict[str, Any] = {
        "model": str(model),
        "dtype": "float32",
        **{f"{side}_prompt": text for side, text in own.items()},
    }
    if cosine != (named in {None, "cosine"}) or random.random() < 0.5:
        encoder["similarity"] = "cosine" if cosine else "dot"
    config = {**made.config, "encoder": encoder}
    expected = made.expected
    if random.random() < 0.5:
        change = _spoil(random, model)
        case.notes.append(change)
        # Loaded again: what is left of it may still be a model.
        expected = Expected(None, may_refuse=True, why=change)
    case.notes.append(f"expected: {expected.why or 'the result of the oracle'}\n{json.dumps(config)}")
    arguments = ["mine", str(write_config(folder, config)), "--json", "--until", "export"]
    outcome = case.run(arguments, folder)
    judge(case, outcome, expected, Path(config["run"]), config["export"]["formats"])


def _spoil(random: Random, model: Path) -> str:
    files = sorted(path for path in model.rglob("*") if path.is_file())
    path = random.choice(files)
    content = path.read_bytes()
    change = random.choice(
        ["gone", "truncate", "empty", "flip", "garbage", "folder", "link", "linked folder", "loop", "whole"]
    )
    place = random.randrange(len(content)) if content else 0
    if change in {"gone", "folder", "loop"}:
        path.unlink()
        if change == "folder":
            path.mkdir()
        if change == "loop":
            path.symlink_to(path.name)
    elif change == "link":
        shutil.move(path, model.parent / "elsewhere")
        path.symlink_to(model.parent / "elsewhere")
    elif change == "linked folder":
        if path.parent != model:
            shutil.move(path.parent, model.parent / "elsewhere")
            path.parent.symlink_to(model.parent / "elsewhere")
    elif change == "whole":
        remove(model)
        if random.random() < 0.5:
            model.mkdir()
    else:
        path.write_bytes(damaged_content(random, content, change, place))
    return f"{change} at {place} of {len(content)}: {path.relative_to(model)}"
