"""The configuration of the false-negative probability."""

import json
from functools import cache
from pathlib import Path
from typing import Annotated

import fsspec
from pydantic import BeforeValidator, Field, ValidationError

from operators.candidates.false_negatives.model import FalseNegativeModel, Share
from operators.errors import shown
from operators.settings import Settings
from operators.settings_errors import what_is_wrong
from operators.storage import is_storage_error

DEFAULT = "default"
DEFAULT_FILE = Path(__file__).with_name("default.json")


def _model(given: object) -> object:
    """Read a model where its file is named: workers may not see that file, and its content decides what is selected.

    Raises:
        ValueError: there is no such file, or it holds no model.
    """
    if not isinstance(given, str):
        return given
    place = str(DEFAULT_FILE) if given == DEFAULT else given
    remedy = "Name the model.json that `hardneg calibrate` wrote, or `default`"
    if "@" in place.partition("://")[2].partition("/")[0]:
        raise ValueError("the URI holds credentials. Leave them to the environment")
    try:
        with fsspec.open(place, "rb") as file:
            read = json.loads(file.read())
    except FileNotFoundError:
        raise ValueError(f"there is no file {shown(place)}. {remedy}") from None
    except Exception as error:  # libraries below fsspec share no class of errors
        if not isinstance(error, OSError | ValueError | ImportError) and not is_storage_error(error):
            raise
        raise ValueError(f"{shown(place)} cannot be read ({type(error).__name__}). {remedy}") from None
    try:
        return FalseNegativeModel.model_validate(read)
    except ValidationError as error:
        said = what_is_wrong(error, FalseNegativeModel, lambda inner: f"{shown(place)}: {inner}")
        raise ValueError(f"{said.rstrip('.')}. {remedy}") from None


@cache
def shipped_model() -> FalseNegativeModel:
    """Return the model that is shipped."""
    return FalseNegativeModel.model_validate(_model(DEFAULT))


AnyModel = Annotated[FalseNegativeModel, BeforeValidator(_model)]


class FalseNegativeConfig(Settings):
    """How likely an unjudged candidate is relevant.

    Attributes:
        model: the file of a model that `hardneg calibrate` wrote; `default` is fitted on public collections, and its
            order of candidates carries over to others better than its numbers do.
        unjudged_share: which share of the documents that a judge of this collection would mark as relevant nobody
            judged. It is not known from judgements alone: a half supposes one more for each known positive.
    """

    model: AnyModel = Field(default_factory=shipped_model)
    unjudged_share: Share = 0.5
