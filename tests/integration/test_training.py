"""The written data opens with `datasets` and trains with sentence-transformers, without a rename."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from datasets import Dataset, load_dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import ContrastiveLoss, MultipleNegativesRankingLoss

from tests.integration.conftest import Collection, configuration, run

LAYOUTS = ["triplet", "n-tuple", "labeled-pair", "labeled-list", "flagembedding", "tevatron"]


@pytest.fixture(scope="module")
def mined(collection: Collection, static_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that wrote every format as Parquet, where it may be."""
    folder = tmp_path_factory.mktemp("mined")
    run(configuration(folder, collection, static_model, export={"formats": LAYOUTS}))
    return folder / "dataset"


@pytest.fixture
def opened(mined: Path, tmp_path: Path) -> Any:  # noqa: ANN401 - a function
    """Opens one format with `load_dataset`."""

    def load(layout: str, name: str | None = None) -> Dataset:
        return load_dataset(str(mined / layout), name, split="train", cache_dir=str(tmp_path / "cache"))

    return load


def test_the_cache_of_datasets_keeps_runs_and_selections_apart(
    collection: Collection, static_model: Path, tmp_path: Path
) -> None:
    """It names what it has cached after the folder and its card, whatever the path, the size or the time."""

    def opens(folder: str, file_format: str, skipped: int) -> None:
        export = {"formats": ["triplet"], "file_format": file_format}
        select = {"num_negatives": 1, "range_min": skipped}
        config = configuration(tmp_path / folder, collection, static_model, select=select, export=export)
        place = tmp_path / folder / "dataset" / "triplet"
        run(config)
        opened = load_dataset(str(place), "full", split="train", cache_dir=str(tmp_path / "cache"))
        streamed = load_dataset(str(place), "full", split="train", streaming=True)
        assert opened.to_list() == list(streamed)

    for file_format in ("parquet", "jsonl"):
        for folder in ("one", "two"):
            for skipped in (0, 1, 0):
                opens(folder, file_format, skipped + (folder == "two"))


@pytest.mark.parametrize(
    ("layout", "columns"),
    [
        ("triplet", ["query", "positive", "negative"]),
        ("n-tuple", ["query", "positive", "negative_1", "negative_2", "negative_3", "negative_4"]),
        ("labeled-pair", ["query", "document", "label"]),
        ("labeled-list", ["query", "documents", "labels"]),
    ],
)
def test_load_dataset_gives_the_columns_to_train_on_and_full_gives_all(
    opened: Any,  # noqa: ANN401
    layout: str,
    columns: list[str],
) -> None:
    assert opened(layout).column_names == columns
    full = opened(layout, "full")
    assert set(columns) < set(full.column_names)
    assert "query_id" in full.column_names
    assert opened(layout).num_rows == full.num_rows > 0


def test_jsonl_opens_too(collection: Collection, static_model: Path, tmp_path: Path) -> None:
    export = {"formats": ["triplet", "labeled-list"], "file_format": "jsonl"}
    run(configuration(tmp_path / "run", collection, static_model, export=export))
    for layout, column in (("triplet", "negative"), ("labeled-list", "documents")):
        folder = tmp_path / "run" / "dataset" / layout
        data = load_dataset(str(folder), split="train", cache_dir=str(tmp_path / "cache"))
        assert data.num_rows > 0
        assert {"query", column, "query_id"} <= set(data.column_names)


def lines_of(file: Path) -> list[str]:
    """The lines of a file; a text may hold what `splitlines` takes for the end of one."""
    return file.read_text(encoding="utf-8").split("\n")[:-1]


def test_flagembedding_and_tevatron_lines_have_their_keys(mined: Path, collection: Collection) -> None:
    flag, tevatron = (
        [json.loads(line) for file in sorted((mined / layout).glob("*.jsonl")) for line in lines_of(file)]
        for layout in ("flagembedding", "tevatron")
    )
    assert len(flag) == len(tevatron) == sum(len([s for s in j.values() if s]) for j in collection.judgements.values())
    for row, other in zip(flag, tevatron, strict=True):
        assert row["query"] == collection.queries[row["query_id"]] == other["query"]
        assert row["pos"] == [collection.documents[i] for i in row["pos_id"]]
        assert row["neg"] == [collection.documents[i] for i in row["neg_id"]] != []
        assert len(row["neg_scores"]) == len(row["neg"])
        assert [passage["docid"] for passage in other["negative_passages"]] == row["neg_id"]
        assert other["positive_passages"] == [{"docid": row["pos_id"][0], "title": "", "text": row["pos"][0]}]


def test_the_card_names_what_is_beside_it(mined: Path) -> None:
    for layout in LAYOUTS:
        text = (mined / layout / "README.md").read_text(encoding="utf-8")
        header = yaml.safe_load(text.split("---")[1])
        for entry in header["configs"]:
            assert list((mined / layout).glob(entry["data_files"]))


def trained(trainer: Any) -> list[float]:  # noqa: ANN401 - of either library class
    """Train; return the loss of every step."""
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def arguments(folder: Path, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - of the library
    return {
        "output_dir": str(folder),
        "num_train_epochs": 3,
        "per_device_train_batch_size": 32,
        "learning_rate": 1e-2,
        "report_to": [],
        "save_strategy": "no",
        "logging_steps": 1,
        "disable_tqdm": True,
        "use_cpu": True,
        **more,
    }


@pytest.mark.parametrize("layout", ["triplet", "n-tuple", "labeled-pair"])
@pytest.mark.filterwarnings("ignore::UserWarning:torch", "ignore::DeprecationWarning", "ignore::FutureWarning")
def test_the_trainer_trains_on_it_as_the_card_says(
    opened: Any,  # noqa: ANN401
    mined: Path,
    static_model: Path,
    tmp_path: Path,
    layout: str,
) -> None:
    torch.manual_seed(0)
    model = SentenceTransformer(str(static_model), device="cpu")
    loss = ContrastiveLoss(model) if layout == "labeled-pair" else MultipleNegativesRankingLoss(model)
    text = (mined / layout / "README.md").read_text(encoding="utf-8")
    sampler = {"batch_sampler": "no_duplicates"} if 'batch_sampler="no_duplicates"' in text else {}
    assert bool(sampler) == (layout != "labeled-pair")
    options = SentenceTransformerTrainingArguments(**arguments(tmp_path / "trained", **sampler))
    data = opened(layout).shuffle(seed=0).select(range(256))
    losses = trained(SentenceTransformerTrainer(model=model, args=options, train_dataset=data, loss=loss))
    assert sum(losses[-8:]) < sum(losses[:8]) * 0.9


@pytest.fixture(scope="module")
def cross_encoder(minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny cross-encoder with random weights."""
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("cross-encoder")
    tokenizer = AutoTokenizer.from_pretrained(str(minilm))
    sizes: dict[str, Any] = {
        "num_labels": 1,
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "hidden_dropout_prob": 0.0,  # its noise hides what so few steps learn
        "attention_probs_dropout_prob": 0.0,
    }
    config = BertConfig(vocab_size=len(tokenizer), max_position_embeddings=128, **sizes)
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("name", ["LambdaLoss", "ListNetLoss"])
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_cross_encoder_trains_on_the_lists(
    opened: Any,  # noqa: ANN401
    cross_encoder: Path,
    tmp_path: Path,
    name: str,
) -> None:
    from sentence_transformers import CrossEncoder, CrossEncoderTrainer, CrossEncoderTrainingArguments
    from sentence_transformers.cross_encoder import losses as listwise

    torch.manual_seed(0)
    model = CrossEncoder(str(cross_encoder), num_labels=1, max_length=32, device="cpu")
    more = {"num_train_epochs": 12, "per_device_train_batch_size": 8, "learning_rate": 5e-3}
    options = CrossEncoderTrainingArguments(**arguments(tmp_path / "trained", **more))
    data = opened("labeled-list").select(range(24))
    loss = getattr(listwise, name)(model)
    losses = trained(CrossEncoderTrainer(model=model, args=options, train_dataset=data, loss=loss))
    assert sum(losses[-6:]) < sum(losses[:6]) * 0.97
