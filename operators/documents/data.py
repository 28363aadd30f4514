"""Which sources hold documents, queries and judgements, or pairs: the data of a run, and of an evaluation set."""

import json
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from operators.documents.sources import COMPRESSIONS, SourceConfig, SourceFile, list_files
from operators.errors import InputError
from operators.settings import AtLeastOne, Place, Settings
from operators.storage import as_input_error, check_storage, info_of, open_uri

Kind = Literal["corpus", "queries", "judgements"]


class Collection(Settings):
    """A BEIR folder, or sources for corpus, queries and judgements, or one of pairs.

    Attributes:
        beir: a folder (any fsspec URI) with corpus.jsonl, queries.jsonl and qrels/<split>.tsv, each maybe .gz.
        corpus: the documents.
        queries: the queries.
        judgements: which document answers which query; a score above 0 is a positive.
        pairs: (query, positive[, negative]) rows; positives and negatives are the corpus. A list is as many pairs.
        split: of a BEIR folder; other data has none.
        positive_labels: the labels that make a document a positive, where labels are words; others make it none.
        storage_options: what fsspec needs to open a BEIR folder.
    """

    beir: Place | None = None
    corpus: SourceConfig | None = None
    queries: SourceConfig | None = None
    judgements: SourceConfig | None = None
    pairs: SourceConfig | None = None
    split: str = "train"
    positive_labels: tuple[str, ...] = ()
    storage_options: dict[str, Any] = Field(default_factory=dict, repr=False, exclude=True)

    @field_validator("corpus", "queries", "judgements", "pairs", mode="before")
    @classmethod
    def _a_path_is_a_source(cls, value: object) -> object:
        return {"path": value} if isinstance(value, str | list) else value

    @field_validator("positive_labels", mode="before")
    @classmethod
    def _labels_are_texts(cls, value: object) -> object:
        if not isinstance(value, list | tuple):
            raise ValueError("a list of labels is wanted")
        return tuple(json.dumps(one) if isinstance(one, bool | int | float) else one for one in value)

    @model_validator(mode="after")
    def _pairs_have_no_labels(self) -> Self:
        if self.pairs is not None and self.positive_labels:
            raise ValueError("positive_labels are of judgements, and pairs have none; leave them out")
        return self

    @property
    def layouts(self) -> int:
        """How many of the three ways to name the sources are in use."""
        separate = (self.corpus, self.queries, self.judgements)
        return sum([self.beir is not None, any(separate), self.pairs is not None])

    def options(self) -> dict[str, dict[str, Any]]:
        """Return the storage options of all sources: kind -> options."""
        sources = ((kind, getattr(self, kind)) for kind in ("corpus", "queries", "judgements", "pairs"))
        return {"beir": self.storage_options, **{kind: one.storage_options for kind, one in sources if one is not None}}

    def files(self, kind: Kind, section: str = "data") -> list[SourceFile]:
        """Find the files of one kind; of pairs, all three are in the same files.

        Args:
            kind: which.
            section: of the configuration that this is, for messages.

        Raises:
            InputError: as `list_files` does.
        """
        if self.pairs is not None:
            return list_files("pairs", self.pairs, section)
        source: SourceConfig | None = getattr(self, kind)
        if source is not None:
            return list_files(kind, source, section)
        files = list_files(kind, self._beir_source(kind, section), section)
        return [file.model_copy(update={"of_beir": True}) for file in files]

    def _beir_source(self, kind: str, section: str) -> SourceConfig:
        names = {"corpus": "corpus.jsonl", "queries": "queries.jsonl", "judgements": f"qrels/{self.split}.tsv"}
        plain = f"{str(self.beir).rstrip('/')}/{names[kind]}"
        check_storage(f"{section}.beir", plain, self.storage_options)
        with as_input_error(f"{section}.beir", plain, self.storage_options):
            fs, root = open_uri(plain, self.storage_options)
            endings = ("", *(f".{ending}" for ending in COMPRESSIONS))
            path = next((plain + ending for ending in endings if info_of(fs, root + ending) is not None), None)
        if path is None:
            raise InputError(f"{section}.beir: {plain} does not exist (nor compressed). {self._splits()}")
        return SourceConfig(path=(path,), storage_options=self.storage_options)

    def _splits(self) -> str:
        fs, root = open_uri(f"{str(self.beir).rstrip('/')}/qrels", self.storage_options)
        found = (
            sorted(name.rpartition("/")[2].split(".")[0] for name in fs.ls(root, detail=False))
            if fs.isdir(root)
            else []
        )
        return (
            f"Splits there: {', '.join(found)}."
            if found
            else "A BEIR folder has corpus.jsonl, queries.jsonl and qrels/."
        )


class DataConfig(Collection):
    """What there is to mine from.

    Attributes:
        on_dangling: `refuse` stops at judgements that name an unknown document or query, `drop` counts them.
        partition_rows: how many rows a partition holds: what a worker does at a time, and what a kill may cost.
            `auto` goes by their size: 2 MiB of texts, or 16 MiB where vectors came with them, and at most 16,384 rows;
            of queries a 64th, between 1,024 and 16,384.
    """

    on_dangling: Literal["refuse", "drop"] = "refuse"
    partition_rows: Literal["auto"] | AtLeastOne = "auto"

    @model_validator(mode="after")
    def _one_layout(self) -> Self:
        separate = (self.corpus, self.queries, self.judgements)
        if self.layouts != 1 or (any(separate) and not all(separate)):
            raise ValueError("give either beir, or corpus, queries and judgements together, or pairs")
        return self

    def has_vectors(self, kind: Literal["corpus", "queries"]) -> bool:
        """Tell whether the vectors of one kind come as a column, so that nothing is encoded."""
        source: SourceConfig | None = getattr(self, kind)
        return source is not None and "vector" in source.columns
