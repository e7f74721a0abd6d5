import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from ._errors import ConfigError, did_you_mean


KINDS = {
    "data": "a loader: (data_dir, validation, seed) -> Splits",
    "variant": "a model: (context, **settings) -> AbstractModel",
    "field": "a network: (context, **settings) -> AbstractVectorField",
    "schedule": "a noise schedule: (context, **settings) -> AbstractNoiseSchedule",
    "embedding": "label embeddings: (context, **settings) -> AbstractLabelEmbedding",
    "readout": "a readout: (context, **settings) -> AbstractReadout, or None for that of the variant",
    "objective": "a denoising error: (context, **settings) -> AbstractObjective",
    "weighting": "a weighting: (context, **settings) -> AbstractWeighting, or None for that of the objective",
    "times": "a distribution of training times: (context, **settings) -> AbstractTimes",
    "end_state": "what the readout is trained on: (context, **settings) -> AbstractEndState",
    "plan": "which blocks a step trains: (context, **settings) -> AbstractBlockPlan",
    "optimiser": "an optimiser: (learning_rate, **settings) -> optax.GradientTransformation",
    "learning_rate": "a schedule of rates: (peak, num_steps, **settings) -> optax.Schedule",
    "augmentation": "random changes of images: (**settings) -> function of images and a key, or None for none",
    "sampler": "a sampler: (**settings) -> AbstractSampler, or None for that of the model",
}

_BUILDERS: dict[str, dict[str, Callable[..., Any]]] = {kind: {} for kind in KINDS}
_B = TypeVar("_B", bound=Callable[..., Any])


def register(kind: str, name: str) -> Callable[[_B], _B]:
    """Makes a function of yours available to configurations, by name.

    !!! example

        ```python
        @register("field", "tiny")
        def tiny(context, *, width: int = 32):
            return TinyField(context.data.image_shape, context.num_classes, context.label_dim, width, key=context.key)
        ```

        With `imports: [tiny.py]` a configuration may then say `field: {type: tiny, width: 64}`, and the command line
        `--model.field tiny --model.field.width 64`.

    Its keyword-only arguments, with their annotations and defaults, are its settings: `bool`, `int`, `float`,
    `str`, `None`, `Literal[...]` and tuples of these.

    **Arguments:**

    - `kind`: what it builds; one of `data`, `variant`, `field`, `schedule`, `embedding`, `readout`, `objective`,
        `weighting`, `times`, `end_state`, `plan`, `optimiser`, `learning_rate`, `augmentation` and `sampler`.
    - `name`: its name in configurations.

    **Returns:** a decorator, which gives the function back unchanged.

    **Raises:** `ConfigError` for an unknown kind, a name that is taken, or a setting without annotation or default.
    """
    if kind not in KINDS:
        raise ConfigError(f"Nothing registers as {kind!r}. {did_you_mean(kind, KINDS)}")

    def decorate(builder: _B) -> _B:
        taken = _BUILDERS[kind].get(name)
        # The same file imported twice defines the same function again: not a clash.
        if taken is not None and (taken.__module__, taken.__qualname__) != (builder.__module__, builder.__qualname__):
            raise ConfigError(f"A {kind} named {name!r} is registered already, by {taken.__module__}.")
        for parameter in _settings(builder):
            if parameter.annotation is parameter.empty or parameter.default is parameter.empty:
                raise ConfigError(
                    f"{kind} {name!r}: its setting {parameter.name!r} needs an annotation and a default, so that "
                    "configurations can be checked and printed in full."
                )
        _BUILDERS[kind][name] = builder
        return builder

    return decorate


def builder_of(kind: str, name: str, path: str = "") -> Callable[..., Any]:
    """The function registered under a name.

    **Raises:** `ConfigError` for an unknown name; `path` says where it was written.
    """
    known = _BUILDERS[kind]
    if name not in known:
        where = f"{path}: " if path else ""
        raise ConfigError(f"{where}no {kind} is named {name!r}. {did_you_mean(name, known)}")
    return known[name]


def names_of(kind: str) -> list[str]:
    """The names registered for a kind."""
    return sorted(_BUILDERS[kind])


def settings_of(kind: str, name: str, path: str = "") -> dict[str, tuple[Any, Any]]:
    """The settings of a registered function: annotation and default, by name."""
    return {p.name: (p.annotation, p.default) for p in _settings(builder_of(kind, name, path))}


def _settings(builder: Callable[..., Any]) -> list[inspect.Parameter]:
    parameters = inspect.signature(builder, eval_str=True).parameters.values()
    return [p for p in parameters if p.kind is p.KEYWORD_ONLY]
