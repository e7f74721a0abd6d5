"""From settings to models and predictions."""

import math
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr

from .. import (
    ODE,
    AbstractModel,
    DenoiserDecoder,
    OneBlock,
    Parallel,
    PosteriorDecoder,
    Prediction,
    ReadoutDecoder,
    Supervised,
    predict_one,
)
from .._block_model import AbstractBlockModel
from .._model import name_of
from .._prediction.prediction import complete
from .._training.arguments import check_layout
from .._types import Key
from ..data import Dataset
from ._config import Config, ModelConfig, PredictionConfig
from ._context import KEYS, Context, DataSpec
from ._errors import ConfigError, did_you_mean, show, within


_MAX_NUMBERS = 10**9


def build_model(
    config: Config, spec: DataSpec, *, key: Key | None = None, train: Dataset | None = None
) -> AbstractModel:
    """The untrained model of an experiment.

    **Arguments:**

    - `config`: the settings.
    - `spec`: shape, classes and pixel statistics of the data.
    - `key`: initialises the weights; `jax.random.key(config.training.seed)` by default. The field, or the blocks, are
        built with this key itself, and every other part with `jax.random.fold_in(key, n)`: n is 101 for the embedding,
        102 for the schedule, 103 for the readout.
    - `train`: the training set, which some embeddings are made from; not needed if only shapes matter.

    **Returns:** the model.

    **Raises:** `ConfigError` for settings that do not fit together, or a model of more than a thousand million numbers.
    """
    key = jr.key(config.training.seed) if key is None else key

    def make(key: Key, train: Dataset | None = None) -> AbstractModel:
        context = Context(config.model, spec, root=key, key=jr.fold_in(key, KEYS["variant"]), train=train)
        model = config.model.variant.build("variant", context)
        if not isinstance(model, AbstractModel):
            raise TypeError(f"a variant builds an AbstractModel; got {show(type(model).__name__)}")
        _refuse_unused(config, context, model)
        return model if config.training.one_block is None else _one_block(model, config)

    with within("model"):
        # First only its shapes, which take no memory.
        shapes = jax.tree.leaves(eqx.filter_eval_shape(make, key))
        count = sum(math.prod(s.shape) for s in shapes if isinstance(s, jax.ShapeDtypeStruct))
        if count > _MAX_NUMBERS:
            raise ValueError(f"expected at most {_MAX_NUMBERS} numbers in a model; these settings make {count}")
        return make(key, train)


def _one_block(model: AbstractModel, config: Config) -> OneBlock:
    training, k = config.training, config.training.one_block
    assert k is not None
    for name, value, does in (("patience", training.patience, "stop"), ("rollbacks", training.rollbacks, "slow down")):
        if value:
            raise ConfigError(
                f"training.{name}: a block that trains alone would {does} when it likes, and not fit the others; "
                "leave it out."
            )
    with within("training.one_block"):
        if not isinstance(model, AbstractBlockModel):
            raise ConfigError(f"training.one_block: {type(model).__name__} has no blocks to train apart; leave it out.")
        return OneBlock(model, k)


def _refuse_unused(config: Config, context: Context, model: AbstractModel) -> None:
    """Refuses settings that change nothing, because they mislead."""
    defaults = ModelConfig()
    for kind in KEYS.keys() - {"variant", "label"} - context.built.keys():
        if (choice := getattr(config.model, kind)) != getattr(defaults, kind):
            raise ConfigError(f"model.{kind}: this variant has none, and {choice.type} would change nothing.")
    if isinstance(model, Supervised) and config.model.weighting != defaults.weighting:
        raise ConfigError(
            f"model.weighting: nothing is denoised here, and {config.model.weighting.type} would change nothing."
        )


def build_parallel(config: Config, model: AbstractModel) -> Parallel | None:
    """The layout of a run on several devices; `None` for one device.

    **Arguments:** the settings, and the model.

    **Raises:** `ConfigError` if there are fewer devices, if they do not divide the batch or the blocks, or if several
    processes have no layout.
    """
    section, found = config.parallel, None
    with within("parallel"):
        if section.data * section.block > 1 or section.sharded_checkpoints:
            found = Parallel(
                data=section.data,
                block=section.block,
                shard_weights=section.shard_weights,
                sharded_checkpoints=section.sharded_checkpoints,
            )
        check_layout(found, model, config.training.batch_size)
    return found


def build_prediction(config: Config, model: AbstractModel, spec: DataSpec) -> Prediction:
    """How an experiment predicts: the model's default, with the changes in the settings.

    **Arguments:** the settings, the model and the description of the data.

    **Returns:** start, sampler, decoder and draws.

    **Raises:** `ConfigError` for settings that do not suit the model.
    """
    section, ways = _section(config), _ways(config, model)
    decoders = {"denoiser": DenoiserDecoder(), "readout": ReadoutDecoder(), "posterior": PosteriorDecoder()}
    if section.protocol not in ways:
        raise ConfigError(f"prediction.protocol: {_unknown(section.protocol, ways)}")
    sampler = section.sampler.build("sampler")
    with within("prediction"):
        found = complete(
            model,
            None if section.protocol == "default" else ways[section.protocol],
            start=None if section.start == "default" else section.start,
            sampler=sampler,
            decoder=decoders.get(section.decoder),
            draws=section.draws,
            mirror=section.mirror,
            shift=section.shift,
        )
        _trace(model, found, spec)
    return found


def protocols(config: Config, model: AbstractModel, spec: DataSpec) -> dict[str, Prediction]:
    """The predictions that the final evaluation compares, each traced once to check that it suits the model.

    **Arguments:**

    - `config`: the settings; `prediction.protocols` chooses among those of the model.
    - `model`: the model, which has a default prediction and others by name (`protocols`).
    - `spec`: the description of the data.

    **Returns:** the predictions by name; the first is `"default"`, the one in the settings.

    **Raises:** `ConfigError` for an unknown name, or a prediction that does not suit the model.
    """
    found = {**_ways(config, model), "default": build_prediction(config, model, spec)}
    chosen = _section(config).protocols
    names = tuple(found) if chosen in ("all", None) else () if chosen == "none" else chosen
    for name in names:
        if name not in found:
            raise ConfigError(f"prediction.protocols: {_unknown(name, found)}")
    found = {name: how for name, how in found.items() if name == "default" or name in names}
    for name, how in found.items():
        with within(f"prediction.protocols: {name}"):
            _trace(model, how, spec)
    return found


def _section(config: Config) -> PredictionConfig:
    """The prediction settings; for a single block the defaults, since the settings are for the model of all blocks."""
    return config.prediction if config.training.one_block is None else PredictionConfig()


def _ways(config: Config, model: AbstractModel) -> dict[str, Prediction]:
    ways = {"default": model.default_prediction, **model.protocols}
    if "paper" in ways:
        ways["paper"] = paper_prediction(config, model)
    return ways


def paper_prediction(config: Config, model: AbstractModel) -> Prediction:
    """The paper's protocol, with as many steps as the settings say.

    **Arguments:** the settings, and the model.
    """
    found, steps = model.paper_prediction, _section(config).paper_steps
    if steps is None or model.own_steps_only or not isinstance(found.sampler, ODE):
        return found
    return found._replace(sampler=ODE(found.sampler.solver, steps=steps))


def warn_of_paper_steps(config: Config, model: AbstractModel) -> None:
    """Warns if the settings have a number of steps that changes nothing. It is no error: one command may run several
    variants.

    **Arguments:** the settings, and the model.
    """
    steps, paper = config.prediction.paper_steps, model.protocols.get("paper")
    if steps is not None and (paper is None or not isinstance(paper.sampler, ODE)):
        print(
            f"warning: prediction.paper_steps: {steps} changes nothing, since the paper's protocol for "
            f"{name_of(model)} has its own steps.",
            file=sys.stderr,
        )


def _unknown(name: str, ways: dict[str, Prediction]) -> str:
    return f"{show(name)} is no way in which this model predicts. {did_you_mean(name, ways)}"


def _trace(model: AbstractModel, prediction: Prediction, spec: DataSpec) -> None:
    """Traces without running: a sampler or a decoder that does not suit the model fails here, not after an epoch."""
    image = jax.ShapeDtypeStruct(spec.image_shape, jnp.uint8)
    eqx.filter_eval_shape(predict_one, model, image, key=jr.key(0), prediction=prediction)
