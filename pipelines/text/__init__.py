"""The text pipeline: its configuration, how its stages are put together, and the stages."""

from collections.abc import Mapping

# The groups of its stages, in order, and what their commands do.
COMMANDS: Mapping[str, str] = {
    "prepare": "Read, check and clean corpus, queries and judgements.",
    "encode": "Encode the texts into vectors, after preparing them.",
    "index": "Build the index, after encoding.",
    "search": "Search the corpus for every query, and ask the proposers, after indexing.",
    "select": "Choose the negatives among the candidates. Needs no model: try thresholds in seconds.",
    "suspects": "Write the suspected false negatives with their texts, to be judged, after selecting.",
    "export": "Write the training data with its texts, after selecting.",
}
