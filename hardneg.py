"""The Python API of hardneg: see `pipelines`."""

from pipelines import (
    HardNegativeMiner,
    Mined,
    WeightedSampler,
    evaluate,
    image_weights,
    load_config,
    mine,
    mine_hard_negatives,
    plan,
    status,
    verify,
)

__all__ = [
    "HardNegativeMiner",
    "Mined",
    "WeightedSampler",
    "evaluate",
    "image_weights",
    "load_config",
    "mine",
    "mine_hard_negatives",
    "plan",
    "status",
    "verify",
]
