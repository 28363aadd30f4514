"""hardneg: hard negatives for training retrieval models. The names here are the Python API."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipelines.config import load as load_config
    from pipelines.detection.miner import HardNegativeMiner
    from pipelines.detection.sampler import WeightedSampler, image_weights
    from pipelines.results import Mined
    from pipelines.run import mine, plan, status, verify
    from pipelines.text.evaluation import evaluate
    from pipelines.text.hard_negatives import mine_hard_negatives

# Imported when it is first asked for: torch, Ray and FAISS load only where they are needed.
_NAMES = {
    "HardNegativeMiner": "pipelines.detection.miner:HardNegativeMiner",
    "Mined": "pipelines.results:Mined",
    "WeightedSampler": "pipelines.detection.sampler:WeightedSampler",
    "evaluate": "pipelines.text.evaluation:evaluate",
    "image_weights": "pipelines.detection.sampler:image_weights",
    "load_config": "pipelines.config:load",
    "mine": "pipelines.run:mine",
    "mine_hard_negatives": "pipelines.text.hard_negatives:mine_hard_negatives",
    "plan": "pipelines.run:plan",
    "status": "pipelines.run:status",
    "verify": "pipelines.run:verify",
}
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


def __getattr__(name: str) -> Any:  # noqa: ANN401 - any of these
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    module, _, attribute = _NAMES[name].partition(":")
    return getattr(importlib.import_module(module), attribute)
