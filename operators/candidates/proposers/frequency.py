"""Propose documents of the whole corpus in proportion to their popularity."""

import numpy as np
import numpy.typing as npt
from pydantic import Field

from operators.candidates.corpus_sampler import CorpusSampler, Weights


class Frequency(CorpusSampler):
    """A document is drawn in proportion to its frequency to the power of alpha.

    The unigram distribution of word2vec (Mikolov et al., arXiv 1310.4546, section 2.2), also used of items by their
    clicks. A popular document that was not judged relevant is more likely to be a true negative than one that nobody
    sees.

    Attributes:
        by: the metadata of documents with the frequency, such as clicks; where none is named, the number of queries
            that a document is judged relevant to.
        alpha: 0 makes all documents that occur as likely.
    """

    by: str | None = None
    alpha: float = Field(default=0.75, ge=0)

    @property
    def column(self) -> str | None:
        """The metadata with the frequency."""
        return self.by

    @property
    def counts_judgements(self) -> bool:
        """Whether the frequency is that in the judgements."""
        return self.by is None

    def weight(self, values: npt.NDArray[np.float64]) -> Weights:
        """Return frequency^alpha; 0 where the frequency is 0 or missing."""
        known = np.where(np.isnan(values), 0.0, values)
        return np.where(known == 0, 0.0, np.sign(known) * np.abs(known) ** self.alpha)
