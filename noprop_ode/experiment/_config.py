import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class Config:
    """The settings of one experiment. Every field is a command-line flag of the scripts."""

    data: str = "digits"
    """Data set: `digits` (embedded), or any image-classification set of TFDS that has been prepared."""
    data_dir: Path | None = None
    """Where prepared data sets are; the TFDS_DATA_DIR variable if not given."""
    out: Path | None = None
    """Output folder; a new one below runs/ if not given."""
    seed: int = 0
    """Seeds initialisation, data order, noise and the validation split."""
    validation: float = 0.1
    """Share of the training set held out for validation."""

    epochs: int = 3
    """Passes over the training set."""
    batch_size: int = 128
    """Images a step."""
    learning_rate: float = 1e-3
    """Peak of the learning rate: linear warm-up over the first 5 % of the steps, then cosine decay to zero."""
    weight_decay: float = 1e-3
    """Decoupled weight decay of AdamW."""
    average_decay: float | None = None
    """Keep a moving average of the weights with this decay a step, and evaluate that."""

    field: Literal["conv", "mlp"] = "conv"
    """Network: the paper's convolutional one for continuous time, or a perceptron."""
    dropout: float = 0.2
    """Dropout rate in the image branch of the convolutional network."""
    schedule: Literal["cosine", "linear", "sigmoid", "learned"] = "cosine"
    """Noise schedule."""
    log_snr: float = 7.0
    """The log-SNR runs from minus this to plus this, in nats."""
    objective: Literal["cross-entropy", "squared-error"] = "cross-entropy"
    """Denoising error: of the class logits, or of the predicted embedding (the paper's)."""
    weighting: Literal["uniform", "elbo", "min-snr", "sigmoid"] = "uniform"
    """What multiplies the denoising error at time t; `elbo` is the paper's."""
    time_power: float = 1.0
    """Training times are a uniform number to this power: above 1, more of them near pure noise."""
    eta: float = 1.0
    """Multiplies the denoising term."""

    protocols: tuple[str, ...] | None = None
    """Names of the ways of predicting to compare at the end, besides `default`; all of them if not given."""
    evaluation_steps: int = 1000
    """Euler steps of the paper's protocol in the final evaluation."""

    def __post_init__(self):
        if self.epochs < 1 or self.batch_size < 1:
            raise ValueError(
                f"epochs and batch_size must be at least 1; got epochs={self.epochs}, batch_size={self.batch_size}."
            )
        if not 0 < self.validation < 1:
            raise ValueError(f"validation is a share of the training set, in (0, 1); got {self.validation}.")

    def to_json(self) -> dict[str, Any]:
        """The settings as plain values."""
        values = dataclasses.asdict(self)
        return {k: str(v) if isinstance(v, Path) else list(v) if isinstance(v, tuple) else v for k, v in values.items()}

    @staticmethod
    def from_json(values: dict[str, Any]) -> "Config":
        """The settings from plain values, as `to_json` gives them.

        **Raises:** `ValueError` for a name that is no setting.
        """
        names = {field.name for field in dataclasses.fields(Config)}
        if unknown := sorted(set(values) - names):
            raise ValueError(f"Unknown settings {unknown}; this version knows {sorted(names)}.")
        paths: dict[str, Any] = {k: Path(values[k]) for k in ("data_dir", "out") if values.get(k) is not None}
        names_of = {} if values.get("protocols") is None else {"protocols": tuple(values["protocols"])}
        return Config(**{**values, **paths, **names_of})
