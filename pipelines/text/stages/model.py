"""Try the model on a few texts, on a worker of the pool that will encode, before anything is prepared."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from operators.vectors.encoder import Device, EncoderConfig, Side
from operators.vectors.model_load import keep_model, load_model
from operators.vectors.model_trial import try_model
from pipelines.runtime.engines import Pool, Stats, Unit
from pipelines.runtime.execution import Execution
from pipelines.runtime.stage import Stage, Summary
from pipelines.text.stages.encoder_stages import OF_RUN, EncoderStages


@dataclass(frozen=True)
class TryModel(Stage):
    """A model -> what it was found to do: its prompts, routes, similarity and dimension, or one line why it cannot.

    Attributes:
        config: the encoder, with nothing left to `auto` or to what was saved with the model.
        weights: the digest of the model's files.
        sides: those whose texts it will encode.
        pool: the encoders.
        device: where they encode.
        stages: of the encoder.
    """

    config: EncoderConfig
    weights: str
    sides: tuple[Side, ...]
    pool: Pool
    device: Device
    stages: EncoderStages = OF_RUN

    kept_when_refused = False

    @property
    def name(self) -> str:  # type: ignore[override]
        """The name of the stage."""
        return self.stages.trial

    def settings(self) -> Mapping[str, Any]:
        """Return the weights (not the model's name), how it encodes, and for which sides."""
        beside = {"model", "revision", "batch_tokens"}
        return {"weights": self.weights, "sides": sorted(self.sides), **self.config.model_dump(exclude=beside)}

    def needs(self, manifest: Mapping[str, Any] | None) -> str:
        """Say what is used of the model."""
        del manifest
        return self.describe()

    def describe(self) -> str:
        """Say what is used of the model, as far as its configuration tells."""
        prompts = [f"{side} {json.dumps(prompt)}" for side in self.sides if (prompt := self.config.prompt(side))]
        return f"{self.config.similarity}, " + (f"prompts: {', '.join(prompts)}" if prompts else "no prompts")

    def run(self, execution: Execution) -> Summary:
        """Try the model on one worker."""
        stays = execution.engine.name == "local"
        trying = partial(Try, self, stays)
        (stats,) = execution.map("try", trying, [Unit("model", {})], replace(self.pool, workers=1))
        encoder = stats["encoder"]
        routes = f", routes {encoder['routes']}" if any(encoder["routes"].values()) else ""
        line = f"{encoder['dimension']} dimensions, {self.describe()}{routes}"
        return Summary(rows_in=0, rows_out=0, parts={}, facts={"encoder": encoder}, line=line)


class Try:
    """The trial, on the worker."""

    def __init__(self, stage: TryModel, stays: bool) -> None:
        self.stage, self.stays = stage, stays
        self.model = load_model(stage.config, stage.device, stage.weights)

    def __call__(self, unit: Unit) -> Stats:
        """Try the model; keep it where this process will encode."""
        del unit
        stage = self.stage
        used = try_model(stage.config, stage.sides, self.model)
        if self.stays:
            keep_model(stage.config, stage.device, stage.weights, self.model)
        return {"encoder": used}
