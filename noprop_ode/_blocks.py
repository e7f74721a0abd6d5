"""T networks on a leading axis, and which of them a step trains."""

import abc
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jax.core import Tracer
from jaxtyping import Array, Float, Int, PyTree, Shaped

from ._numbers import plain_numbers
from ._types import Features, Image, Key, Latent, Logits, Scalar
from ._vector_field import AbstractSizedField, AbstractVectorField, FieldSizes


class Blocks(AbstractSizedField):
    r"""T independent networks, piecewise constant in time: block k of 1..T owns the interval
    $[(k - 1) / T,\, k / T)$.

    A wrapper: the networks are built alike, and their arrays are stacked on a leading axis T. As a vector field it
    picks the block that owns the time, so that every sampler runs on it.
    """

    stacked: AbstractVectorField
    num_blocks: int = eqx.field(static=True)

    def __init__(self, make: Callable[[Key], AbstractVectorField], num_blocks: int, *, key: Key):
        """**Arguments:**

        - `make`: builds one block from a key, each with the same settings.
        - `num_blocks`: the number T of blocks.
        - `key`: split into one key for each block.

        **Raises:** `ValueError` for fewer than one block, and for blocks that differ in more than their numbers.
        """
        if num_blocks < 1:
            raise ValueError(f"Expected at least one block; got num_blocks={num_blocks}.")
        self.stacked = _stacked(make, jr.split(key, num_blocks))
        self.num_blocks = num_blocks

    @property
    def sizes(self) -> FieldSizes | None:
        """Those of a block, with the features of all of them stacked."""
        shapes = jax.tree.map(
            lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype) if eqx.is_array(a) else a, self.stacked
        )
        if not isinstance(shapes, AbstractSizedField) or (sizes := shapes.sizes) is None:
            return None
        return sizes._replace(
            features=jax.tree.map(lambda a: jax.ShapeDtypeStruct((self.num_blocks, *a.shape), a.dtype), sizes.features)
        )

    def block(self, k: int | Int[Array, ""]) -> AbstractVectorField:
        """One block.

        **Arguments:** its position `k`, 0 to T - 1. **Returns:** the network.

        **Raises:** `ValueError` for a whole number out of range. An array out of range does not raise: a negative one
        counts from the end, any other is taken for the nearest position.
        """
        if isinstance(k, int) and not 0 <= k < self.num_blocks:
            raise ValueError(f"Expected a block from 0 to {self.num_blocks - 1}; got k={k}.")
        return jax.tree.map(lambda a: a[k] if eqx.is_array(a) else a, self.stacked)

    def owner(self, t: Scalar) -> Int[Array, ""]:
        """Which block owns a time; the last one owns t = 1 too.

        **Arguments:** a time `t` in [0, 1]. **Returns:** the position of the block, 0 to T - 1.
        """
        # In float32 the product k / T * T falls just short of k for many k and T, and `floor` would then pick the
        # block before. A thousandth of a block is far above that rounding (T eps) and far below any step.
        k = jnp.floor(t * self.num_blocks + 1e-3).astype(jnp.int32)
        return jnp.clip(k, 0, self.num_blocks - 1)

    def map(self, function: Callable[[int, AbstractVectorField], PyTree[Any]]) -> PyTree[Any]:
        """Applies a function to each block, and stacks the results on a leading axis T.

        The blocks are unrolled: as a `vmap` their convolutions would become one grouped convolution, which is 12
        times slower on CPU.

        **Arguments:**

        - `function`: of the position, 0 to T - 1, and the block.

        **Returns:** the results, stacked.
        """
        results = [function(k, self.block(k)) for k in range(self.num_blocks)]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *results)

    def encode(self, x: Image, *, key: Key | None = None) -> Features:
        """The features of all blocks, stacked.

        In one program, which is right within your own `jit`. [`noprop_ode.predict_log_proba`][] calls one compiled
        function for each block instead, so that compilation and memory do not grow with their number.
        """
        keys = [None] * self.num_blocks if key is None else jr.split(key, self.num_blocks)
        return self.map(lambda k, block: block.encode(x, key=keys[k]))

    def __call__(self, t: Scalar, z: Latent, features: Features) -> Logits:
        """The logits of the block that owns `t`."""
        k = self.owner(t)
        own = jax.tree.map(lambda a: a[k], features)
        return self.block(k)(t, z, own)


def _stacked(make: Callable[[Key], AbstractVectorField], keys: Shaped[Key, " blocks"]) -> AbstractVectorField:
    if isinstance(keys, Tracer):
        return eqx.filter_vmap(make)(keys)
    # The same bits one after another, at half the compilation and memory: what draws one block draws all.
    made = [plain_numbers(make(key)) for key in keys]
    _refuse_unlike(made)
    first, *others = [eqx.partition(block, eqx.is_array) for block in made]
    del made
    arrays = [jax.tree.leaves(block) for block, _ in (first, *others)]
    structure, static = jax.tree.structure(first[0]), first[1]
    del first, others
    for i in range(structure.num_leaves):
        arrays[0][i] = jnp.stack([own[i] for own in arrays])
        for own in arrays[1:]:
            own[i] = None  # so that there is never more than one array twice
    return eqx.combine(jax.tree.unflatten(structure, arrays[0]), static)


def _refuse_unlike(blocks: Sequence[AbstractVectorField]) -> None:
    """Stacked, they have the settings of the first."""
    expected = dict(_settings(blocks[0]))
    for k, block in enumerate(blocks[1:], 1):
        found = dict(_settings(block))
        for name in {**expected, **found}:
            own, its = repr(found.get(name)), repr(expected.get(name))  # where NaN is like NaN
            if own != its:
                raise ValueError(
                    f"Blocks differ in their numbers alone, and share one structure: block {k} has {name}={own}, block "
                    f"0 {name}={its}. Build each with the same settings, or keep what differs in an array."
                )


def _settings(node: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Plain values within a module, and the shapes and types of its arrays, each by its path."""
    if isinstance(node, eqx.Module):
        for field in dataclasses.fields(node):
            yield from _settings(getattr(node, field.name, None), f"{name}.{field.name}".lstrip("."))
    elif isinstance(node, dict | list | tuple):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from _settings(value, f"{name}[{key!r}]")
    elif eqx.is_array(node):
        yield name, f"{node.dtype}{list(node.shape)}"
    elif node is None or isinstance(node, bool | int | float | complex | str):
        yield name, node


class AbstractBlockPlan(eqx.Module):
    """Which blocks a training step works on. Blocks that take no part have a gradient of exactly zero, and
    [`noprop_ode.blockwise`][] leaves them as they are.

    `apart` says whether a step is the mean over all blocks, so that what each contributes may be computed elsewhere:
    in a call of its own, on a device of its own, or in a run of its own ([`noprop_ode.OneBlock`][]). `one_at_a_time`
    says whether it is of one block in turn, so that a block takes part in one step of T.
    """

    apart: ClassVar[bool] = False
    one_at_a_time: ClassVar[bool] = False

    @abc.abstractmethod
    def average(
        self, loss: Callable[[int | Int[Array, ""]], Float[Array, ""]], num_blocks: int, *, key: Key
    ) -> Float[Array, ""]:
        """An estimate of the mean over blocks of a loss.

        **Arguments:**

        - `loss`: the loss of a block, by position 0 to T - 1.
        - `num_blocks`: the number T of blocks.
        - `key`: chooses blocks, where there is a choice.

        **Returns:** the estimate.
        """


class AllBlocks(AbstractBlockPlan):
    """All blocks on the same batch: each has its own noise, and their gradients are independent.

    [`noprop_ode.train`][] takes a step in calls of one compiled function, one for each block, in the memory of one.
    Where the loss is one program (`train_step`, several steps a call) the blocks are unrolled, which is fastest; XLA
    may then keep what each computes until all are through, and [`noprop_ode.BlocksInTurn`][] needs the memory of one.
    """

    apart: ClassVar[bool] = True

    def average(
        self, loss: Callable[[int | Int[Array, ""]], Float[Array, ""]], num_blocks: int, *, key: Key
    ) -> Float[Array, ""]:
        return jnp.mean(jnp.stack([loss(k) for k in range(num_blocks)]))


class BlocksInTurn(AbstractBlockPlan):
    """All blocks on the same batch like [`noprop_ode.AllBlocks`][], one after another: the memory and the compilation
    of one block, however many there are. A block is evaluated a second time for its gradient. On CPU convolutions
    within such a loop are many times slower; there [`noprop_ode.AllBlocks`][] in [`noprop_ode.train`][], one step a
    call, has the memory of one block too.
    """

    def average(
        self, loss: Callable[[int | Int[Array, ""]], Float[Array, ""]], num_blocks: int, *, key: Key
    ) -> Float[Array, ""]:
        # Without the checkpoint the loop would keep the intermediate results of every block for its backward pass.
        return jnp.mean(jax.lax.map(jax.checkpoint(loss), jnp.arange(num_blocks)))


class SampledBlock(AbstractBlockPlan):
    """One block a step, drawn uniformly: a forward and backward pass costs as much as one block. The optimiser still
    goes over the weights of all.

    An optimiser that is applied to each block on its own counts the steps that the block took part in, one in T: a
    schedule of the learning rate for [`noprop_ode.blockwise`][] spans a T-th of the run.
    """

    one_at_a_time: ClassVar[bool] = True

    def average(
        self, loss: Callable[[int | Int[Array, ""]], Float[Array, ""]], num_blocks: int, *, key: Key
    ) -> Float[Array, ""]:
        return loss(jr.randint(key, (), 0, num_blocks))


class OnlyBlock(AbstractBlockPlan):
    """One given block: the paper's Algorithm 1 trains the blocks one after another. The position is an array, so going
    on to the next block does not compile again: `equinox.tree_at(lambda s: s.model.plan.k, state, jnp.asarray(k))`.

    **Arguments:**

    - `k`: position of the block, 0 to T - 1. The loss of another is NaN.
    """

    k: Int[Array, ""] = eqx.field(converter=jnp.asarray)

    def average(
        self, loss: Callable[[int | Int[Array, ""]], Float[Array, ""]], num_blocks: int, *, key: Key
    ) -> Float[Array, ""]:
        return jnp.where((self.k >= 0) & (self.k < num_blocks), loss(self.k), jnp.nan)
