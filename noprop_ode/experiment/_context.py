"""What components are built from: the description of the data, the keys, and each other."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import jax.numpy as jnp
import jax.random as jr
import numpy as np

from .. import AbstractLabelEmbedding, AbstractVectorField, Blocks, PrototypeEmbedding, nn, prototypes
from .._types import Key
from ..data import Dataset
from ._config import ModelConfig
from ._errors import ConfigError, within


# The field, or the blocks, get the key of the model itself; other parts `jr.fold_in(key, n)`. Small n would give the
# keys that `jr.split` gives to the layers of the field.
KEYS = {
    "embedding": 101,
    "schedule": 102,
    "readout": 103,
    "end_state": 104,
    "objective": 105,
    "weighting": 106,
    "times": 107,
    "plan": 108,
    "variant": 109,
    "label": 202,
}


@dataclass(frozen=True)
class DataSpec:
    """What a model must know about its data: shape, classes and pixel statistics."""

    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    mean: float
    std: float

    @staticmethod
    def from_plain(values: dict[str, Any]) -> "DataSpec":
        """From plain values, as `dataclasses.asdict` gives them."""
        shape, names = tuple(values["image_shape"]), tuple(values["class_names"])
        return DataSpec(image_shape=shape, class_names=names, mean=values["mean"], std=values["std"])


@dataclass(frozen=True)
class Context:
    """What a registered component may need to know.

    - `config`: the `model` section of the configuration.
    - `data`: shape, classes and pixel statistics of the data.
    - `root`: the key of the model.
    - `key`: randomness for this component only.
    - `train`: the training set, of which `train.sample()` is in memory; `None` when only shapes matter, because the
        values are read from a file.
    - `discrete`: whether a network is one block of a discrete-time model, and so need not see the time.
    - `built`: the parts of the model that already exist, by kind.
    """

    config: ModelConfig
    data: DataSpec
    root: Key
    key: Key
    train: Dataset | None = None
    discrete: bool = False
    built: dict[str, Any] = field(default_factory=dict)

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return len(self.data.class_names)

    @property
    def num_blocks(self) -> int:
        """The number of blocks of a discrete-time model, which a grid of noise levels should also have.

        **Raises:** `ConfigError` for a model without blocks.
        """
        if "num_blocks" not in self.config.variant.settings:
            raise ConfigError("model.schedule: with a variant that has no blocks, give the grid its own num_blocks.")
        return self.config.variant.settings["num_blocks"]

    @property
    def embedding(self) -> AbstractLabelEmbedding:
        """The label embeddings of the model."""
        return self.build("embedding")

    @property
    def label_dim(self) -> int:
        """The dimension of the label embeddings, the size of the state."""
        return self.embedding.dim

    @property
    def label_shape(self) -> tuple[int, int, int] | None:
        """The shape of the state if it is an image, with prototype embeddings; `None` otherwise."""
        return self.data.image_shape if isinstance(self.embedding, PrototypeEmbedding) else None

    def fold(self, name: str) -> Key:
        """A key for a part of this component, by name: `"label"`."""
        return jr.fold_in(self.key, KEYS[name])

    def build(self, kind: str) -> Any:
        """Another part of the model, from its section; each kind has its own key, and is built once."""
        if kind not in self.built:
            with within(f"model.{kind}"):
                key = jr.fold_in(self.root, KEYS[kind])
                self.built[kind] = getattr(self.config, kind).build(kind, replace(self, key=key, discrete=False))
        return self.built[kind]

    def build_field(self) -> AbstractVectorField:
        """The network, in the configured precision."""
        return self._network(self.root, discrete=False)

    def build_blocks(self, num_blocks: int) -> Blocks:
        """The networks of a discrete-time model."""
        if not 1 <= num_blocks <= 1000:
            raise ConfigError(f"model.variant.num_blocks: expected a whole number in [1, 1000]; got {num_blocks}.")
        _ = self.embedding  # so that it is not built inside the mapping over the blocks
        return Blocks(lambda key: self._network(key, discrete=True), num_blocks, key=self.root)

    def _network(self, key: Key, *, discrete: bool) -> AbstractVectorField:
        with within("model.field"):
            field = self.config.field.build("field", replace(self, key=key, discrete=discrete))
            return field if self.config.precision == "float32" else nn.LowPrecision(field, dtype=jnp.bfloat16)

    def fill(self, name: str, settings: Mapping[str, Any]) -> Any:
        """The value for a parameter of this name; `None` for the default of the constructor."""
        return _FILL[name](self, settings) if name in _FILL else self.build(name) if name in KEYS else None


def _images(context: Context) -> Any:
    if context.train is None:
        return jnp.zeros((context.num_classes, *context.data.image_shape), jnp.float32)
    train = context.train.sample()
    return prototypes(np.asarray(train.images), train.labels, context.num_classes)


def _label(context: Context, settings: Mapping[str, Any]) -> nn.ConvLabelBranch | None:
    if context.label_shape is None:
        return None
    size = {"size": settings["width"]} if "width" in settings else {}
    return nn.ConvLabelBranch(context.label_shape, key=context.fold("label"), **size)


_FILL: dict[str, Callable[[Context, Mapping[str, Any]], Any]] = {
    "key": lambda context, _: context.key,
    "image_shape": lambda context, _: context.data.image_shape,
    "mean": lambda context, _: context.data.mean,
    "std": lambda context, _: context.data.std,
    "num_classes": lambda context, _: context.num_classes,
    "num_blocks": lambda context, _: context.num_blocks,
    "label_dim": lambda context, _: context.label_dim,
    "dim": lambda context, _: context.label_dim,
    "images": lambda context, _: _images(context),
    "field": lambda context, _: context.build_field(),
    "blocks": lambda context, settings: context.build_blocks(settings.get("num_blocks", 10)),
    "label": _label,
}
