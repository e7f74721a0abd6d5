"""The components that configurations can name, and the settings of their constructors."""

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from ._errors import ConfigError, did_you_mean, show
from ._values import is_plain


# By kind, the parameters that are filled in by name.
KINDS: dict[str, tuple[str, ...]] = {
    "variant": (
        "field",
        "blocks",
        "embedding",
        "schedule",
        "readout",
        "objective",
        "times",
        "plan",
        "end_state",
        "key",
    ),
    "field": ("image_shape", "num_classes", "label_dim", "mean", "std", "label", "key"),
    "schedule": ("num_blocks", "key"),
    "embedding": ("num_classes", "images", "key"),
    "readout": ("dim", "num_classes", "key"),
    "objective": ("weighting", "key"),
    "weighting": ("key",),
    "times": ("key",),
    "end_state": ("key",),
    "plan": ("key",),
}
# The other kinds take these in order, and settings.
POSITIONAL: dict[str, tuple[str, ...]] = {
    "data": ("data_dir", "validation", "seed"),
    "optimiser": ("learning_rate",),
    "learning_rate": ("peak", "num_steps"),
    "augmentation": (),
    "sampler": (),
}


@dataclass(frozen=True)
class Component:
    """A registered class or function: the target, its `settings` (annotation and default, by name), those of its
    parameters that are `filled` by name (and whether they must be), and its twin for one block of a discrete-time
    model."""

    target: Callable[..., Any]
    settings: Mapping[str, tuple[Any, Any]]
    filled: Mapping[str, bool] | None
    takes: frozenset[str]
    block: "Component | None" = None

    def build(self, settings: Mapping[str, Any], *arguments: Any) -> Any:
        """Calls the target with these arguments, or by name with the values that it takes from a `Context`."""
        if self.filled is None:
            return self.target(*arguments, **settings)
        (context,) = arguments
        if context.discrete and self.block is not None:
            for name, value in settings.items():
                if name not in self.block.settings and value != self.settings[name][1]:
                    raise ValueError(f"{name}: one block of a discrete-time model has no such setting.")
            return self.block.build({k: v for k, v in settings.items() if k in self.block.settings}, context)
        values = {name: context.fill(name, settings) for name in self.filled}
        values = {name: value for name, value in values.items() if value is not None or self.filled[name]}
        # A setting that is `None` and that the context knows: the number of blocks of a grid.
        own = {k: context.fill(k, settings) if v is None else v for k, v in settings.items() if k in self.takes}
        return self.target(**values, **own)


_COMPONENTS: dict[str, dict[str, Component]] = {kind: {} for kind in (*KINDS, *POSITIONAL)}
_T = TypeVar("_T", bound=Callable[..., Any])


def register(kind: str, name: str, *, block: Callable[..., Any] | None = None, **defaults: Any) -> Callable[[_T], _T]:
    """Makes your class or function available to configurations, by name.

    !!! example

        ```python
        @register("field", "tiny")
        class TinyField(AbstractVectorField):
            def __init__(self, image_shape, num_classes, label_dim, *, width: int = 32, key): ...
        ```

        With `imports: [tiny.py]` a configuration may then say `field: {type: tiny, width: 64}`, and the command line
        `--model.field tiny --model.field.width 64`.

    These parameters are filled in by name, whatever their annotation: of a variant, `field`, `blocks`, `embedding`,
    `schedule`, `readout`, `objective`, `times`, `plan` and `end_state`, from their sections; of a field, `image_shape`,
    `num_classes`, `label_dim`, `mean`, `std` and `label`, the branch that sees the state; of an embedding,
    `num_classes`, and the `images` of prototypes; of a readout, `dim` and `num_classes`; of a schedule, `num_blocks`;
    of an objective, `weighting`; of all of these, a `key`. Others with annotations `bool`, `int`, `float`, `str`,
    `None`, `Literal[...]` and tuples of these are settings, with their own defaults.

    A function whose first parameter is `context` gets a [`noprop_ode.experiment.Context`][] instead, and all its other
    parameters are settings. A loader (`data`) is called with `data_dir, validation, seed`, an `optimiser` with the
    learning rate, a `learning_rate` with its peak and the number of steps, an `augmentation` and a `sampler` with
    settings only.

    **Arguments:**

    - `kind`: what it builds; one of `data`, `variant`, `field`, `schedule`, `embedding`, `readout`, `objective`,
        `weighting`, `times`, `end_state`, `plan`, `optimiser`, `learning_rate`, `augmentation` and `sampler`.
    - `name`: its name in configurations.
    - `block`: for a field that sees the time: its replacement as a block of a discrete-time model.
    - `defaults`: defaults for settings that have none, or another one.

    **Returns:** a decorator, which returns the class or function unchanged.

    **Raises:** `ConfigError` for an unknown kind, a name that is taken, or a setting without annotation or default.
    """
    if kind not in _COMPONENTS:
        raise ConfigError(f"Nothing registers as {show(kind)}. {did_you_mean(kind, _COMPONENTS)}")
    return functools.partial(_registered, kind, name, block, defaults)


def _registered(kind: str, name: str, block: Callable[..., Any] | None, defaults: dict[str, Any], target: _T) -> _T:
    taken = _COMPONENTS[kind].get(name)
    # The same file imported twice defines the same function again: not a clash.
    if taken is not None and _identity(taken.target) != _identity(target):
        raise ConfigError(f"A {kind} named {name!r} is registered already, by {taken.target.__module__}.")
    twin = None if block is None else _examine(kind, name, block, {})
    _COMPONENTS[kind][name] = _examine(kind, name, target, defaults, twin)
    return target


def component_of(kind: str, name: str, path: str = "") -> Component:
    """The component that is registered under a name.

    **Raises:** `ConfigError` for an unknown name; `path` says where it was written.
    """
    if name not in _COMPONENTS[kind]:
        where = f"{path}: " if path else ""
        raise ConfigError(f"{where}no {kind} is named {show(name)}. {did_you_mean(name, _COMPONENTS[kind])}")
    return _COMPONENTS[kind][name]


def settings_of(kind: str, name: str, path: str = "") -> Mapping[str, tuple[Any, Any]]:
    """The settings of the component that is registered under a name, with the annotation and default of each. Data
    without a registered loader are a TFDS set, which has no settings.

    **Raises:** as for `component_of`.
    """
    return {} if kind == "data" and name not in _COMPONENTS[kind] else component_of(kind, name, path).settings


def names_of(kind: str) -> list[str]:
    """The names registered for a kind."""
    return sorted(_COMPONENTS[kind])


def _identity(target: Any) -> tuple[str, str]:
    return target.__module__, target.__qualname__


def _examine(
    kind: str, name: str, target: Callable[..., Any], defaults: dict[str, Any], block: Component | None = None
) -> Component:
    parameters = list(inspect.signature(target, eval_str=True).parameters.values())
    by_name = kind in KINDS and not (parameters and parameters[0].name == "context")
    skipped = 0 if by_name else 1 if kind in KINDS else len(POSITIONAL[kind])
    # A default for something that is not a parameter says how to fill one: the number of `blocks`.
    settings = {k: (type(v), v) for k, v in defaults.items() if k not in {p.name for p in parameters}}
    filled: dict[str, bool] = {}
    for p in parameters[skipped:]:
        default = defaults.get(p.name, p.default)
        if by_name and p.name in KINDS[kind] and p.name not in defaults:
            filled[p.name] = p.default is p.empty
        elif is_plain(p.annotation) and default is not p.empty:
            settings[p.name] = (p.annotation | None if default is None else p.annotation, default)
        elif p.annotation is p.empty or default is p.empty:
            raise ConfigError(
                f"{kind} {name!r}: its setting {p.name!r} needs an annotation and a default, so that configurations "
                "can be checked and printed in full."
            )
    takes = frozenset(p.name for p in parameters)
    return Component(target, settings, filled if by_name else None, takes, block)
