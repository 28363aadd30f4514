"""The stages that prepare evaluation sets, made from the configuration."""

from collections.abc import Sequence

from operators.documents.data import Kind
from operators.documents.evaluation_sets import ContaminationConfig, EvaluationSet
from operators.documents.sources import SourceFile
from operators.errors import InputError
from pipelines.text.stages.prepare_evaluation import EvaluationFiles, PrepareEvaluation


def evaluation_stages(config: ContaminationConfig | None) -> list[PrepareEvaluation]:
    """Return the stage that prepares the queries of the sets, and the one for documents where some are of use.

    Raises:
        InputError: a file is not there, or a storage cannot be used.
    """
    if config is None:
        return []
    limits: dict[Kind, float] = {"queries": config.max_query_resemblance, "corpus": config.max_document_resemblance}
    found: dict[Kind, list[EvaluationFiles]] = {kind: [] for kind in limits}
    for name, one in config.sets.items():
        found["queries"].append(_files(name, one, "queries"))
        # Without judgements nothing is known of documents but that they are to be dropped.
        if one.names("corpus") and (one.names("judgements") or one.drop_documents):
            found["corpus"].append(_files(name, one, "corpus"))
    return [PrepareEvaluation(kind, sets, limits[kind]) for kind, sets in found.items() if sets]


def drops_documents(config: ContaminationConfig | None) -> bool:
    """Tell whether documents are left out of the corpus."""
    return config is not None and any(one.drop_documents for one in config.sets.values())


def _files(name: str, one: EvaluationSet, kind: Kind) -> EvaluationFiles:
    section = f"contamination.sets.{name}"
    judgements = one.files("judgements", section) if one.names("judgements") else []
    dropped = kind == "queries" or one.drop_documents
    return EvaluationFiles(name, section, one.files(kind, section), judgements, one.positive_labels, dropped)


def refuse_training_sets(
    stages: Sequence[PrepareEvaluation], queries: Sequence[SourceFile], judgements: Sequence[SourceFile]
) -> None:
    """Refuse an evaluation set of the very files that are trained on: no query would be left.

    Raises:
        InputError: there is such a set.
    """
    asked, judged = ({file.uri for file in files} for files in (queries, judgements))
    for one in (one for stage in stages if stage.kind == "queries" for one in stage.sets):
        same = asked <= {file.uri for file in one.texts}
        if same and (not one.judgements or judged <= {file.uri for file in one.judgements}):
            raise InputError(
                f"{one.section}: its queries are those of data, so none would be left to train on. Name the split, or "
                f"the judgements, that are held out for evaluation."
            )
