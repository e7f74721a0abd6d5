"""From settings to objects."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import optax

from .. import (
    AbstractModel,
    DenoiserDecoder,
    PosteriorDecoder,
    Prediction,
    ReadoutDecoder,
    blockwise,
    partitioned,
    predict_one,
)
from .._predict import complete
from .._types import Key
from ..data import Dataset
from ._config import Config
from ._context import Context, DataSpec
from ._errors import ConfigError


def build_model(config: Config, spec: DataSpec, *, key: Key, train: Dataset | None = None) -> AbstractModel:
    """The untrained model of an experiment.

    **Arguments:**

    - `config`: the settings.
    - `spec`: shape, classes and pixel statistics of the data.
    - `key`: initialises the weights.
    - `train`: the training set, which some embeddings are made from; not needed for shapes alone.

    **Returns:** the model.

    **Raises:** `ConfigError` for settings that do not go together.
    """
    context = Context(config.model, spec, root=key, key=jr.fold_in(key, 0), train=train)
    try:
        return config.model.variant.build("variant", context)
    except ConfigError:
        raise
    except (ValueError, TypeError) as error:
        # Constructors say what is wrong with their arguments; the reader of a configuration must know it is there.
        raise ConfigError(f"model: {error}") from error


def build_optimiser(config: Config, num_steps: int, *, rate_scale: float = 1.0) -> optax.GradientTransformation:
    """The optimiser of an experiment.

    **Arguments:**

    - `config`: the settings.
    - `num_steps`: steps of the whole run.
    - `rate_scale`: multiplies the learning rate, below 1 after a rollback.

    **Returns:** the transformation.

    **Raises:** `ConfigError` for settings that do not go together.
    """
    section = config.optimiser

    def method(peak: float) -> optax.GradientTransformation:
        rate = section.schedule.build("learning_rate", rate_scale * peak, num_steps)
        inner = section.method.build("optimiser", rate)
        return inner if section.clip is None else optax.chain(optax.clip_by_global_norm(section.clip), inner)

    try:
        field = method(section.learning_rate)
        rest = None if section.shared_learning_rate is None else method(section.shared_learning_rate)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"optimiser: {error}") from error
    if config.model.variant.type == "dt":
        return blockwise(field, rest)
    return field if rest is None else partitioned(field, rest)


def build_prediction(config: Config, model: AbstractModel, spec: DataSpec) -> Prediction:
    """How an experiment predicts: the model's own way, with what the settings change of it.

    **Arguments:** the settings, the model and the description of the data.

    **Returns:** start, sampler, decoder and number of draws.

    **Raises:** `ConfigError` for settings that do not suit the model.
    """
    section = config.prediction
    decoders = {
        "denoiser": DenoiserDecoder(),
        "readout": ReadoutDecoder(),
        "posterior": PosteriorDecoder(),
        "default": None,
    }
    try:
        sampler = section.sampler.build("sampler")
        start = None if section.start == "default" else section.start
        decoder = decoders[section.decoder]
        found = complete(model, start=start, sampler=sampler, decoder=decoder, draws=section.draws)
        # Traced, not run: a sampler or a decoder that does not suit the model says so here, not after an epoch.
        image = jnp.zeros(spec.image_shape, jnp.uint8)
        eqx.filter_eval_shape(predict_one, model, image, key=jr.key(0), prediction=found)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"prediction: {error}") from error
    return found
