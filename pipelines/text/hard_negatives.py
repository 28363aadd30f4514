"""`mine_hard_negatives`: the function of that name in sentence-transformers, on the pipeline."""

import shutil
import uuid
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import xxhash
from pydantic import ValidationError

from operators.errors import InputError
from operators.vectors.encoder import EncoderConfig, with_saved_settings
from operators.vectors.model_files import model_folder, weights_digest
from operators.vectors.model_load import without_progress_bars
from pipelines.run import mine
from pipelines.runtime.config_errors import explained
from pipelines.text.config import Config
from pipelines.text.pair_dataset import OutputFormat, PairDataset

if TYPE_CHECKING:
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer

CACHE = "~/.cache/hardneg/mined"
# What sentence-transformers asks for beyond what a query needs, where candidates may be dropped.
SPARE_FOR_EACH = 10
FORMATS = ("triplet", "n-tuple", "labeled-pair", "labeled-list")


@dataclass(frozen=True)
class _Depth:
    """How deep is searched, as sentence-transformers counts it.

    Attributes:
        range_max: how many candidates that passed the filters are kept.
        k: how many documents are found, the positives among them included.
    """

    range_max: int
    k: int


def mine_hard_negatives(  # noqa: PLR0913, PLR0917 - the arguments of the function that it replaces
    dataset: "Dataset",
    model: "SentenceTransformer | str",
    anchor_column_name: str | None = None,
    positive_column_name: str | None = None,
    corpus: Sequence[str] | None = None,
    cross_encoder: object | None = None,
    range_min: int = 0,
    range_max: int | None = None,
    max_score: float | None = None,
    min_score: float | None = None,
    absolute_margin: float | None = None,
    relative_margin: float | None = None,
    num_negatives: int = 3,
    sampling_strategy: Literal["random", "top"] = "top",
    query_prompt_name: str | None = None,
    query_prompt: str | None = None,
    corpus_prompt_name: str | None = None,
    corpus_prompt: str | None = None,
    include_positives: bool = False,
    output_format: OutputFormat = "triplet",
    output_scores: bool = False,
    batch_size: int = 32,
    faiss_batch_size: int = 16384,
    use_faiss: bool = False,
    use_multi_process: Sequence[str] | bool = False,
    verbose: bool = True,
    cache_folder: str | None = None,
    as_triplets: bool | None = None,
    margin: float | None = None,
    *,
    run: str | Path | None = None,
    engine: Literal["local", "ray", "beam"] = "local",
    search_deeper: bool = False,
    seed: int = 0,
) -> "Dataset":
    """Mine hard negatives for the pairs of a dataset: what sentence-transformers' function of this name does.

    Arguments, defaults, meaning, columns and the order of rows are those of `sentence_transformers.util`; docs/api.md
    lists each. `batch_size`, `faiss_batch_size`, `use_faiss` and `use_multi_process` have no effect on the rows.

    Args:
        dataset: (anchor, positive) pairs. An anchor that is repeated has several positives.
        model: a SentenceTransformer with its weights as they are in memory, or a folder or hub id.
        anchor_column_name: the first column where none is named.
        positive_column_name: the second column where none is named.
        corpus: texts that may be negatives beside the positives.
        cross_encoder: refused; margins are taken from the model's own scores.
        range_min: skip so many of the best candidates that passed the filters.
        range_max: keep so many that passed the filters; None decides by `num_negatives`.
        max_score: drop candidates with a higher score.
        min_score: drop candidates with a lower score.
        absolute_margin: drop candidates whose score is above that of the lowest positive less this.
        relative_margin: the same, with this fraction of the magnitude of the positive's score.
        num_negatives: for each anchor.
        sampling_strategy: `top` takes the best of the window, `random` a sample.
        query_prompt_name: of a prompt of the model, for anchors.
        query_prompt: put before each anchor.
        corpus_prompt_name: of a prompt of the model, for the corpus.
        corpus_prompt: put before each text of the corpus.
        include_positives: refused; a positive is never written as a negative.
        output_format: the columns.
        output_scores: add the scores.
        batch_size: no effect on the rows.
        faiss_batch_size: no effect on the rows.
        use_faiss: no effect on the rows.
        use_multi_process: no effect on the rows.
        verbose: show the progress, and at the end what was found.
        cache_folder: where runs are kept, each in a folder named by its corpus and model.
        as_triplets: deprecated; see `output_format`.
        margin: deprecated; see `absolute_margin`.
        run: the run directory, a local folder, which a second call reuses; None is a folder in `cache_folder`.
        engine: where the work runs.
        search_deeper: search again, deeper, for anchors that the filters leave short.
        seed: of the sample. The same seed gives the same sample.

    Returns:
        The dataset, in memory.

    Raises:
        InputError: an argument is wrong or refused, or the texts or the model cannot be worked on. It is a ValueError.
    """
    if as_triplets is not None:
        _deprecated("as_triplets", "output_format")
        output_format = "triplet" if as_triplets else "n-tuple"
    if margin is not None:
        _deprecated("margin", "absolute_margin")
        absolute_margin = margin
    if str(output_format) == "n-tuple-scores":
        _deprecated("output_format='n-tuple-scores'", "output_scores")
        output_format, output_scores = "n-tuple", True
    _refuse(cross_encoder, include_positives, output_format, faiss_batch_size)
    pairs = PairDataset.of(dataset, anchor_column_name, positive_column_name, corpus)
    pairs.check_names(output_format, num_negatives, output_scores)
    filters = {
        "max_score": max_score,
        "min_score": min_score,
        "absolute_margin": absolute_margin,
        "relative_margin": relative_margin,
    }
    depth = _depth(pairs, (range_min, range_max, num_negatives), filters)
    prompts = {
        "query_prompt": _prompt(model, query_prompt, query_prompt_name),
        "document_prompt": _prompt(model, corpus_prompt, corpus_prompt_name),
    }
    _refuse_distances(model)
    home = _home(run, cache_folder, pairs, model)
    draw: dict[str, Any] = {"strategy": sampling_strategy, "num_negatives": num_negatives, "seed": seed}
    if sampling_strategy == "random":
        draw["per"] = "query"
    sections = {
        "run": str(home),
        "clean": {"drop_empty": False, "exact_duplicates": "keep"},
        "encoder": {"dtype": "float32", "vector_dtype": "float32", "similarity": "cosine", **prompts},
        "index": "exact",
        "search": {"k": depth.k, "max_k": "auto" if search_deeper else depth.k},
        "select": {
            **filters,
            "margin_positive": "lowest",
            "range_min": range_min,
            "range_max": depth.range_max,
            "draws": [draw],
            "filters": [] if search_deeper else [{"filter": "max_rank", "limit": depth.k}],
        },
        "engine": {"name": engine},
    }
    _config(sections, "a model", {"pairs": "pairs"})  # a wrong argument is refused before anything is written
    config = _config(sections, _folder(model, home), pairs.written(home / "source"))
    mined = mine(config, until="select", progress=verbose)
    return pairs.with_negatives(mined, output_format, num_negatives, output_scores)


def _config(sections: Mapping[str, Any], model: str, data: Mapping[str, Any]) -> Config:
    encoder = {**sections["encoder"], "model": model}
    try:
        return Config.model_validate({**sections, "encoder": encoder, "data": data})
    except ValidationError as error:
        raise InputError(explained(error, Config, "mine_hard_negatives", [])) from None


def _deprecated(old: str, new: str) -> None:
    warnings.warn(f"{old} is deprecated; use {new}.", DeprecationWarning, stacklevel=3)


def _refuse(cross_encoder: object | None, include_positives: bool, output_format: str, faiss_batch_size: int) -> None:
    if cross_encoder is not None:
        raise InputError("cross_encoder: rescoring by a cross-encoder is not there yet; leave it out.")
    if include_positives:
        raise InputError("include_positives: a judged positive is never written as a negative; leave it out.")
    if output_format not in FORMATS:
        raise InputError(f"output_format: {output_format!r} is none of {', '.join(FORMATS)}.")
    if faiss_batch_size <= 0:
        raise InputError(f"faiss_batch_size: a positive integer is wanted, not {faiss_batch_size}.")


def _refuse_distances(model: "SentenceTransformer | str") -> None:
    name: object
    if isinstance(model, str):
        name = with_saved_settings(EncoderConfig(model=model), model_folder(model, None)).similarity
    else:
        name = model.similarity_fn_name
    if name in {"euclidean", "manhattan"}:
        raise InputError(
            f"model: it compares vectors by {name} distance, and sentence-transformers scales them to length 1 all the "
            f"same here. Set its similarity_fn_name to cosine, or write a configuration (encoder.similarity)."
        )


def _depth(pairs: PairDataset, window: tuple[int, int | None, int], filters: Mapping[str, float | None]) -> _Depth:
    """Return how deep sentence-transformers searches: `range_max`, and the largest number of positives on top of it."""
    range_min, range_max, num_negatives = window
    if num_negatives < 1:
        raise InputError(f"num_negatives: at least 1 is wanted, not {num_negatives}.")
    if range_min < 0:
        raise InputError(f"range_min: at least 0 is wanted, not {range_min}.")
    if range_max is None:
        drops = any(filters[name] is not None for name in ("absolute_margin", "relative_margin", "max_score"))
        range_max = range_min + num_negatives * (SPARE_FOR_EACH if drops else 1) + pairs.most_positives
    if num_negatives > range_max - range_min:
        raise InputError(
            f"num_negatives: {num_negatives} are more than the candidates that range_min ({range_min}) and range_max "
            f"({range_max}) leave. Lower num_negatives or range_min, or raise range_max."
        )
    return _Depth(range_max, range_max + pairs.most_positives)


def _prompt(model: "SentenceTransformer | str", prompt: str | None, name: str | None) -> str | None:
    """Return a prompt; None where it is the one that the model has for that side."""
    if prompt is not None or name is None:
        return prompt
    if isinstance(model, str):
        raise InputError(f"the prompt {name!r} is a name: give the prompt itself, or a SentenceTransformer.")
    if name not in model.prompts:
        raise InputError(f"the model has no prompt {name!r}. It has {', '.join(map(repr, model.prompts))}.")
    return str(model.prompts[name])


def _home(
    run: str | Path | None, cache_folder: str | None, pairs: PairDataset, model: "SentenceTransformer | str"
) -> Path:
    """Return the run directory: in a cache one for each corpus and name of a model."""
    if run is not None:
        if not str(run) or "://" in str(run) or Path(run).is_file():
            raise InputError("run: a folder on this machine is wanted. For object storage, write a configuration.")
        return Path(run).expanduser().absolute()
    name = model if isinstance(model, str) else type(model).__name__
    digest = xxhash.xxh3_64_hexdigest(f"{name} {pairs.corpus_digest}".encode())
    return Path(cache_folder or CACHE).expanduser().absolute() / digest


def _folder(model: "SentenceTransformer | str", home: Path) -> str:
    """Return the folder of a model; one in memory is saved, under the digest of its weights."""
    if isinstance(model, str):
        return model
    models = home / "model"
    unfinished = models / f"{uuid.uuid4().hex}.unfinished"
    try:
        with without_progress_bars():
            model.save_pretrained(str(unfinished), create_model_card=False)
        saved = models / weights_digest(unfinished)
        if not saved.is_dir():
            unfinished.rename(saved)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return str(saved)
