"""Propose the neighbours of the positives."""

from operators.candidates.proposer import CandidateSource


class Cluster(CandidateSource):
    """The documents nearest to the positives of a query: the cluster that its positives are in.

    What is near to a positive and not to the query is missed by the search, and a model that separates queries well may
    not separate these (document-to-document negatives; Cohan et al., "SPECTER", arXiv 2004.07180, section 3.2, takes
    them from the citation graph). A neighbour is also the first place where positives lie that nobody judged: set
    `select.max_positive_similarity` beside it.

    Of several positives those neighbours come first that are nearest to any of them.
    """
