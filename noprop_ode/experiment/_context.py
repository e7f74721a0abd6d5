import functools
import zlib
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
import jax.random as jr

from .. import AbstractLabelEmbedding, AbstractVectorField, nn
from .._types import Key
from ..data import Dataset
from ._config import ModelConfig
from ._errors import ConfigError


@dataclass(frozen=True)
class DataSpec:
    """What a model must know of its data: shape, classes and pixel statistics."""

    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    mean: float
    std: float

    @staticmethod
    def from_plain(values: dict[str, Any]) -> "DataSpec":
        """From plain values, as `dataclasses.asdict` gives them."""
        return DataSpec(
            image_shape=tuple(values["image_shape"]),
            class_names=tuple(values["class_names"]),
            mean=values["mean"],
            std=values["std"],
        )


@dataclass(frozen=True)
class Context:
    """What a registered builder may need to know; the first argument of most of them.

    - `config`: the `model` section of the configuration.
    - `data`: shape, classes and pixel statistics of the data.
    - `key`: randomness of this component alone.
    - `train`: the training set; `None` when only shapes matter, because the values are read from a file.
    - `discrete`: whether a network is one block of a discrete-time model, and so need not see the time.
    """

    config: ModelConfig
    data: DataSpec
    root: Key
    key: Key
    train: Dataset | None = None
    discrete: bool = False

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return len(self.data.class_names)

    @property
    def num_blocks(self) -> int:
        """The number of blocks of a discrete-time model, which a grid of noise levels should have, too.

        **Raises:** `ConfigError` for a model without blocks.
        """
        if "num_blocks" not in self.config.variant.settings:
            raise ConfigError("model.schedule: with a variant that has no blocks, give the grid its own num_blocks.")
        return self.config.variant.settings["num_blocks"]

    @functools.cached_property
    def embedding(self) -> AbstractLabelEmbedding:
        """The label embeddings of the model."""
        return self.build("embedding")

    @property
    def label_dim(self) -> int:
        """The dimension of the label embeddings, the size of the state."""
        return self.embedding.dim

    @property
    def label_shape(self) -> tuple[int, int, int] | None:
        """The shape of the state where it is an image, with prototype embeddings; `None` otherwise."""
        return self.data.image_shape if self.config.embedding.type == "prototype" else None

    def fold(self, name: str) -> Key:
        """A key for a part of this component, by name."""
        return jr.fold_in(self.key, zlib.crc32(name.encode()))

    def build(self, kind: str) -> Any:
        """Another part of the model, from its section; each kind has a key of its own."""
        key = jr.fold_in(self.root, zlib.crc32(kind.encode()))
        # Only the embedding is made from images; for the others its shape is enough.
        train = self.train if kind == "embedding" else None
        return getattr(self.config, kind).build(kind, replace(self, key=key, train=train))

    def build_field(self) -> AbstractVectorField:
        """The network, in the precision asked for."""
        return self._in_precision(self.build("field"))

    def build_block(self, key: Key) -> AbstractVectorField:
        """One network of a discrete-time model."""
        context = replace(self, key=key, discrete=True, train=None)
        return self._in_precision(self.config.field.build("field", context))

    def _in_precision(self, field: AbstractVectorField) -> AbstractVectorField:
        return field if self.config.precision == "float32" else nn.LowPrecision(field, dtype=jnp.bfloat16)

    def gaussian_parts(self) -> dict[str, Any]:
        """The arguments that NoPropDT and NoPropCT share."""
        return {
            "embedding": self.embedding,
            "schedule": self.build("schedule"),
            "readout": self.build("readout"),
            "end_state": self.build("end_state"),
            "objective": self.build("objective"),
        }
