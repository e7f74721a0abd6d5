from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ._errors import ConfigError
from ._schema import Choice, component, parse_section, to_plain


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)


@dataclass(frozen=True)
class DataConfig:
    """What to learn from."""

    name: str = "digits"  # `digits`, a registered loader, or any image-classification set of TFDS that is prepared
    dir: Path | None = None  # where prepared sets are; the TFDS_DATA_DIR variable if not given
    image_size: tuple[int, int] | None = None  # bring images of many sizes to this height and width
    validation: float = 0.1  # share of the training set held out
    augmentation: Choice = component("augmentation", "none")

    def __post_init__(self):
        _require(
            0 < self.validation < 1,
            f"validation is a share of the training set, in (0, 1); got validation={self.validation}.",
        )


@dataclass(frozen=True)
class ModelConfig:
    """What to train."""

    variant: Choice = component("variant", "ct")
    field: Choice = component("field", "conv")
    schedule: Choice = component("schedule", "cosine")
    embedding: Choice = component("embedding", "one-hot")
    readout: Choice = component("readout", "default")
    end_state: Choice = component("end_state", "marginal")
    objective: Choice = component("objective", "cross-entropy")
    weighting: Choice = component("weighting", "default")
    times: Choice = component("times", "uniform")
    plan: Choice = component("plan", "all-blocks")
    precision: Literal["float32", "bfloat16"] = "float32"  # inside the network; everything around it stays float32


@dataclass(frozen=True)
class OptimiserConfig:
    """How to train it. Blocks are optimised each on its own, clipping included."""

    method: Choice = component("optimiser", "adamw")
    learning_rate: float = 1e-3  # the peak
    schedule: Choice = component("learning_rate", "warmup-cosine")
    clip: float | None = None  # greatest global norm of a gradient
    shared_learning_rate: float | None = None  # another peak for embedding, readout and schedule

    def __post_init__(self):
        for name in ("learning_rate", "clip", "shared_learning_rate"):
            value = getattr(self, name)
            _require(value is None or value > 0, f"{name} must be positive; got {name}={value}.")


@dataclass(frozen=True)
class TrainingConfig:
    """How long, and with what safeguards."""

    epochs: int = 3
    batch_size: int = 128
    seed: int = 0  # of initialisation, data order, noise and the validation split
    average_decay: float | None = None  # of a moving average of the weights, which is then what is evaluated
    validate_every: int = 1  # epochs
    patience: int | None = None  # stop after so many validations without a better accuracy
    steps_per_call: int | None = None  # several on GPU and TPU, one on CPU, if not given
    rollbacks: int = 0  # on a loss that is not finite: go back to the last checkpoint, at half the rate, so often

    def __post_init__(self):
        for name in ("epochs", "batch_size", "validate_every", "patience", "steps_per_call"):
            value = getattr(self, name)
            _require(value is None or value >= 1, f"{name} must be at least 1; got {name}={value}.")
        _require(self.seed >= 0, f"seed must be at least 0; got seed={self.seed}.")
        _require(self.rollbacks >= 0, f"rollbacks must be at least 0; got rollbacks={self.rollbacks}.")
        decay = self.average_decay
        _require(decay is None or 0 <= decay < 1, f"average_decay must lie in [0, 1); got average_decay={decay}.")


@dataclass(frozen=True)
class PredictionConfig:
    """How the model predicts, on the validation split and in the headline figure; the model's own way by default."""

    sampler: Choice = component("sampler", "default")
    start: Literal["default", "noise", "mean"] = "default"
    decoder: Literal["default", "denoiser", "readout", "posterior"] = "default"
    draws: int = 1
    protocols: tuple[str, ...] | None = None  # others to compare with on the test set; all of them if not given
    paper_steps: int = 1000  # Euler steps of the paper's protocol for CT and FM

    def __post_init__(self):
        for name in ("draws", "paper_steps"):
            value = getattr(self, name)
            _require(value >= 1, f"{name} must be at least 1; got {name}={value}.")


@dataclass(frozen=True)
class OutputConfig:
    """What to keep."""

    dir: Path | None = None  # a new folder below runs/ if not given
    checkpoint_seconds: float = 60.0  # besides one after every epoch
    keep: int = 2  # checkpoints besides the best
    tensorboard: bool = False
    wandb: bool = False

    def __post_init__(self):
        _require(self.keep >= 1, f"keep must be at least 1; got keep={self.keep}.")
        _require(
            self.checkpoint_seconds >= 0,
            f"checkpoint_seconds must be at least 0; got checkpoint_seconds={self.checkpoint_seconds}.",
        )


@dataclass(frozen=True)
class Config:
    """The settings of one experiment, complete and checked."""

    name: str = "experiment"
    description: str = ""
    imports: tuple[str, ...] = ()  # modules, or files ending in .py, that register components
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    prediction: PredictionConfig = field(default_factory=PredictionConfig)
    output: OutputConfig = field(default_factory=OutputConfig)

    @staticmethod
    def from_plain(values: Any) -> "Config":
        """From nested dictionaries of plain values, as YAML and JSON give them; what is missing has its default.

        **Raises:** `ConfigError`, with the path of the setting, for unknown names, wrong types and bad values.
        """
        return parse_section(Config, values, "")

    def to_plain(self) -> dict[str, Any]:
        """As nested dictionaries of plain values; `from_plain` gives the same settings back."""
        return to_plain(self)

    def replace(self, **sections: dict[str, Any]) -> "Config":
        """The same settings with some changed, by section: `config.replace(training={"epochs": 5})`."""
        values = self.to_plain()
        for section, changes in sections.items():
            values[section] = {**values[section], **changes}
        return Config.from_plain(values)
