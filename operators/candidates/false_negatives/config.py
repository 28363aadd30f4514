"""The configuration of the false-negative probability."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import fsspec
from pydantic import BeforeValidator, Field, ValidationError, ValidationInfo

from operators.candidates.false_negatives.model import FalseNegativeModel, Share
from operators.errors import shown
from operators.settings import Settings
from operators.settings_errors import what_is_wrong
from operators.storage import is_storage_error, refuse_credentials

DEFAULT = "default"
DEFAULT_FILE = Path(__file__).with_name("default.json")


def _model(given: object, info: ValidationInfo) -> object:
    """Read a model where its file is named: workers may not see that file, and its content decides what is selected."""
    return _read(given, info.data.get("storage_options", {})) if isinstance(given, str) else given


def _read(given: str, options: Mapping[str, Any]) -> FalseNegativeModel:
    """Read a model.

    Raises:
        ValueError: there is no such file, or it holds no model.
        InputError: the URI holds a credential.
    """
    place = str(DEFAULT_FILE) if given == DEFAULT else given
    remedy = (
        "Name the model.json that `hardneg calibrate` wrote, or `default`; to make one: `hardneg calibrate CONFIG "
        "--set false_negatives.model=default`"
    )
    refuse_credentials("false_negatives.model", place)
    try:
        with fsspec.open(place, "rb", **options) as file:
            read = json.loads(file.read())
    except FileNotFoundError:
        raise ValueError(f"there is no file {shown(place)}. {remedy}") from None
    except Exception as error:  # libraries below fsspec share no class of errors
        if not isinstance(error, OSError | ValueError | ImportError) and not is_storage_error(error):
            raise
        raise ValueError(f"{shown(place)} cannot be read ({type(error).__name__}). {remedy}") from None
    if not isinstance(read, dict) or "coefficients" not in read:  # such as the calibration.json beside it
        raise ValueError(f"{shown(place)} holds no model. {remedy}")
    try:
        return FalseNegativeModel.model_validate(read)
    except ValidationError as error:
        said = what_is_wrong(error, FalseNegativeModel, lambda inner: f"{shown(place)}: {inner}")
        raise ValueError(f"{said.rstrip('.')}. {remedy}") from None


@cache
def shipped_model() -> FalseNegativeModel:
    """Return the model that is shipped."""
    return _read(DEFAULT, {})


AnyModel = Annotated[FalseNegativeModel, BeforeValidator(_model)]


class FalseNegativeConfig(Settings):
    """How likely an unjudged candidate is relevant.

    Attributes:
        model: the file of a model that `hardneg calibrate` wrote; `default` is fitted on public collections, and its
            order of candidates carries over to others better than its numbers do.
        unjudged_share: which share of the documents that a judge of this collection would mark as relevant nobody
            judged. It is not known from judgements alone: a half supposes one more for each known positive.
        storage_options: what fsspec needs to open the model (endpoint, profile, ...). Never written to a manifest.
    """

    storage_options: dict[str, Any] = Field(default_factory=dict, repr=False, exclude=True)
    model: AnyModel = Field(default_factory=shipped_model)
    unjudged_share: Share = 0.5
