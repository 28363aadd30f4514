"""Propose the documents that a second encoder finds nearest to the query."""

from pydantic import Field

from operators.candidates.proposer import CandidateSource, SourceName
from operators.settings import Place
from operators.vectors.encoder import EncoderConfig
from operators.vectors.index import IndexConfig
from operators.vectors.search import SearchConfig


class EncoderOfSource(EncoderConfig):
    """The encoder of a proposer: what is wrong with it is said with the name of its source.

    Attributes:
        source: of the proposer. It decides no vector, so it is not among the settings that are written down.
    """

    source: SourceName = Field(exclude=True)

    def key(self, name: str) -> str:
        """Return a key as messages name it, with its section."""
        return f"proposers.{self.source}.{name}"


class SecondEncoder(CandidateSource, EncoderConfig):
    """The best documents by another embedding model: it encodes the corpus and the queries, too, and is searched.

    Models err in different ways: what another one ranks first may be a hard negative that the search does not find
    (NV-Retriever compares negatives of several teacher models; Moreira et al., arXiv 2407.15831). What it names is
    scored by the encoder of the run. The keys of `encoder` have the same meaning here.

    Attributes:
        model: a sentence-transformers model: a folder or a hub id.
        index: how its vectors are searched: the section `index`, or a factory string alone.
        recall_target: the share of the `limit` nearest documents that an index with codes must find.
    """

    model: Place
    index: IndexConfig = IndexConfig()
    recall_target: float = Field(default=0.95, gt=0, le=1)

    @property
    def encoder(self) -> EncoderOfSource:
        """The encoder alone."""
        settings = self.model_dump(include=set(EncoderConfig.model_fields))
        return EncoderOfSource(source=self.source, **settings)

    @property
    def search(self) -> SearchConfig:
        """How deep, and how well, its vectors are searched."""
        return SearchConfig(k=self.limit, recall_target=self.recall_target)
