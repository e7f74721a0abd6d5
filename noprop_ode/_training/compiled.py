"""Training programs: what they may overwrite, and how XLA compiles them for a CPU."""

import functools
import os
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp


_P = ParamSpec("_P")
_T = TypeVar("_T")
_FLAG = "xla_cpu_experimental_ynn_fusion_type"


class donating(Generic[_P, _T]):
    """`equinox.filter_jit` with all arguments but the first donated: their buffers become those of the results.

    On a CPU, convolutions use all of its cores. By default, XLA hands each to YNNPACK, which computes one of up to 128
    output channels on a single core, whatever the batch. XLA's own, from Eigen, take as long on one core but share the
    work, so that on two cores a step of the paper's network takes three quarters of the time.

    **Arguments:** `function`, of arrays and other values; recompiled if a value or a shape changes.
    """

    def __init__(self, function: Callable[_P, _T]):
        functools.update_wrapper(self, function)
        self._function = function

    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        return self._compiled(*args, **kwargs)

    def lower(self, *args: _P.args, **kwargs: _P.kwargs) -> Any:
        """The program for these arguments, not compiled yet; see `equinox.filter_jit`."""
        return self._compiled.lower(*args, **kwargs)

    @functools.cached_property
    def _compiled(self) -> Any:
        jit: Any = eqx.filter_jit  # its signature does not name what it passes on to `jax.jit`
        return jit(self._function, donate="all-except-first", compiler_options=compiler_options())


@functools.cache
def compiler_options() -> dict[str, str] | None:
    """XLA's options for compiling a training step, on the devices of this process.

    **Returns:** options for `jax.jit`; `None` on an accelerator, if `XLA_FLAGS` already sets them, and for a version of
    XLA that does not know them.
    """
    if jax.default_backend() != "cpu" or _FLAG in os.environ.get("XLA_FLAGS", ""):
        return None
    options = {_FLAG: "LIBRARY_FUSION_TYPE_DOT,LIBRARY_FUSION_TYPE_REDUCE"}
    try:
        jax.jit(lambda x: x, compiler_options=options).lower(jnp.zeros((), jnp.float32)).compile()
    except (RuntimeError, ValueError):
        return None
    return options
