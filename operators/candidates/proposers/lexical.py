"""Propose the documents that BM25 ranks first."""

from pydantic import Field

from operators.candidates.proposer import CandidateSource
from operators.lexical.tokenize import TokenizerConfig


class Lexical(CandidateSource):
    """The best documents by BM25 (Lucene's variant; operators/lexical/bm25.py).

    What shares rare words with the query and is far from it in meaning is hard for an embedding model, and the search
    does not find it (the BM25 negatives of DPR, arXiv 2004.04906, section 3.2).

    Attributes:
        k1: how fast further occurrences of a term count less.
        b: how much the length of a document counts, from 0 to 1.
        tokenizer: how texts become terms.
    """

    k1: float = Field(default=1.5, ge=0)
    b: float = Field(default=0.75, ge=0, le=1)
    tokenizer: TokenizerConfig = TokenizerConfig()
