"""The settings of an experiment, section by section."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from ._imports import import_components
from ._schema import Choice, component, parse_section, to_plain
from ._values import Interval


Count = Annotated[int, Interval("[1, 1000000]")]
Side = Annotated[int, Interval("[1, 4096]")]  # of an image
Positive = Annotated[float, Interval("(0, 1e38]")]


@dataclass(frozen=True)
class DataConfig:
    """What to learn from."""

    name: Choice = component("data", "digits")  # any prepared TFDS set, or a registered loader with its settings
    dir: Path | None = None  # where prepared sets are; the TFDS_DATA_DIR variable if not given
    image_size: tuple[Side, Side] | None = None  # resize all images to this height and width
    validation: Annotated[float, Interval("(0, 1)")] = 0.1  # share of the training set held out
    augmentation: Choice = component("augmentation", "none")
    stream: bool = False  # leave the images on disk and decode them as they are needed: for sets larger than memory
    workers: Annotated[int, Interval("[0, 1000]")] = 0  # processes that decode streamed images; 0 for a thread


@dataclass(frozen=True)
class ModelConfig:
    """What to train. The defaults are those of the constructors, most of them the paper's."""

    variant: Choice = component("variant", "ct")
    field: Choice = component("field", "conv")
    schedule: Choice = component("schedule", "cosine")
    embedding: Choice = component("embedding", "one-hot")
    readout: Choice = component("readout", "default")
    end_state: Choice = component("end_state", "marginal")
    objective: Choice = component("objective", "squared-error")
    weighting: Choice = component("weighting", "default")
    times: Choice = component("times", "uniform")
    plan: Choice = component("plan", "all-blocks")
    precision: Literal["float32", "bfloat16"] = "float32"  # inside the network; everything around it stays float32


@dataclass(frozen=True)
class OptimiserConfig:
    """How to train it. Each block is optimised separately, clipping included."""

    method: Choice = component("optimiser", "adamw")
    learning_rate: Positive = 1e-3  # the peak
    schedule: Choice = component("learning_rate", "warmup-cosine")
    clip: Positive | None = None  # maximum global norm of a gradient
    shared_learning_rate: Positive | None = None  # another peak for embedding, readout and schedule


@dataclass(frozen=True)
class TrainingConfig:
    """How long, and with what safeguards."""

    epochs: Count = 3
    batch_size: Count = 128
    seed: Annotated[int, Interval("[0, 4294967295]")] = 0  # initialisation, data order, noise and validation split
    warm_start: Path | None = None  # start from the weights of another run: its folder, or a file of weights
    one_block: Annotated[int, Interval("[0, 999]")] | None = None  # only this block, of a variant that has blocks
    average_decay: Annotated[float, Interval("[0, 1)")] | None = None  # of a moving average of weights, then evaluated
    validate_every: Count = 1  # in epochs
    patience: Count | None = None  # stop after this many validations without a better accuracy
    steps_per_call: Count | None = None  # several on GPU and TPU, one on CPU, if not given
    # On a non-finite loss: return to the start of the epoch, at half the learning rate, up to this many times.
    rollbacks: Annotated[int, Interval("[0, 1000]")] = 0


@dataclass(frozen=True)
class ParallelConfig:
    """How many devices train, and what is divided among them; a run may be resumed with another layout."""

    data: Count = 1  # devices that each batch is divided among
    block: Count = 1  # devices that the blocks of a discrete-time model are divided among
    shard_weights: bool = False  # divide weights and optimiser state along the data axis too
    sharded_checkpoints: bool = False  # every process writes its own part of a checkpoint
    distributed: bool = False  # one of several processes, which SLURM or JAX_COORDINATOR_ADDRESS etc. connect


@dataclass(frozen=True)
class PredictionConfig:
    """How the model predicts, on the validation split and in the headline figure."""

    protocol: str = "default"  # what the next six change: the model's default, or another of its predictions by name
    sampler: Choice = component("sampler", "default")
    start: Literal["default", "noise", "mean"] = "default"
    decoder: Literal["default", "denoiser", "readout", "posterior"] = "default"
    draws: Count | None = None
    mirror: bool | None = None  # average over the image and its mirror image
    shift: Annotated[int, Interval("[0, 100]")] | None = (
        None  # and over each shifted by this many pixels towards its corners
    )
    # Other predictions to compare on the test set, by name; null stands for all.
    protocols: Literal["all", "none"] | tuple[str, ...] | None = "all"
    paper_steps: Count | None = None  # ODE steps of the paper's protocol, if not the paper's 1000


@dataclass(frozen=True)
class OutputConfig:
    """What to keep."""

    dir: Path | None = None  # a new folder below runs/ if not given
    checkpoint_seconds: Annotated[float, Interval("[0, 1e38]")] = 60.0  # in addition to one after every epoch
    keep: Count = 2  # checkpoints besides the best
    tensorboard: bool = False
    wandb: bool = False


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
    parallel: ParallelConfig = field(default_factory=ParallelConfig)
    prediction: PredictionConfig = field(default_factory=PredictionConfig)
    output: OutputConfig = field(default_factory=OutputConfig)

    @staticmethod
    def from_plain(values: Any, *, trust_imports: bool = False, source: str = "The configuration") -> "Config":
        """From nested dictionaries of plain values, as in YAML and JSON; missing settings have their defaults.

        **Arguments:**

        - `values`: the settings.
        - `trust_imports`: whether the modules that they name under `imports` may be imported, which runs their code.
            Modules that are already imported need no trust.
        - `source`: where they are from, for messages.

        **Raises:** `ConfigError`, with the path of the setting, for unknown names, wrong types and bad values.
        """
        if isinstance(values, dict):
            import_components(values.get("imports"), trust_imports=trust_imports, source=source)
        return parse_section(Config, values, "")

    def to_plain(self) -> dict[str, Any]:
        """As nested dictionaries of plain values, from which `from_plain` restores the same settings."""
        return to_plain(self)

    def replace(self, **sections: Any) -> "Config":
        """The same settings with some changed, by section: `config.replace(training={"epochs": 5})`."""
        values = self.to_plain()
        for section, changes in sections.items():
            values[section] = {**values.get(section, {}), **changes} if isinstance(changes, dict) else changes
        # The imports of a configuration were imported when it was made.
        return parse_section(Config, values, "")
