"""T networks stacked on a leading axis, and which of them a step trains."""

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

from ._allocator import release_freed_memory
from ._numbers import plain_numbers
from ._types import Features, Image, Key, Latent, Logits, Scalar
from ._vector_field import AbstractSizedField, AbstractVectorField, FieldSizes


class Blocks(AbstractSizedField):
    r"""T independent networks, piecewise constant in time: block k of 1..T owns the interval
    $[(k - 1) / T,\, k / T)$.

    This is a wrapper: the networks are built alike, and their arrays are stacked on a leading axis of size T. As a
    vector field, it evaluates the block that owns the given time, so every sampler runs on it.
    """

    stacked: AbstractVectorField
    num_blocks: int = eqx.field(static=True)

    def __init__(self, make: Callable[[Key], AbstractVectorField], num_blocks: int, *, key: Key):
        """**Arguments:**

        - `make`: builds one block from a key, each with the same settings.
        - `num_blocks`: the number T of blocks.
        - `key`: split into one key per block.

        **Raises:** `ValueError` for fewer than one block, and for blocks that differ in more than the values of their
        arrays.
        """
        if num_blocks < 1:
            raise ValueError(f"Expected at least one block; got num_blocks={num_blocks}.")
        self.stacked = _stacked(make, jr.split(key, num_blocks))
        self.num_blocks = num_blocks

    @property
    def sizes(self) -> FieldSizes | None:
        """The sizes of one block, with the features of all blocks stacked."""
        shapes = jax.tree.map(
            lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype) if eqx.is_array(a) else a, self.stacked
        )
        if not isinstance(shapes, AbstractSizedField) or (sizes := shapes.sizes) is None:
            return None
        return sizes._replace(
            features=jax.tree.map(lambda a: jax.ShapeDtypeStruct((self.num_blocks, *a.shape), a.dtype), sizes.features)
        )

    def block(self, k: int | Int[Array, ""]) -> AbstractVectorField:
        """The block at a given position.

        **Arguments:** its position `k`, 0 to T - 1. **Returns:** the network.

        **Raises:** `ValueError` for an integer out of range. An array out of range does not raise: a negative one
        counts from the end, and any other is clamped to the nearest position.
        """
        if isinstance(k, int) and not 0 <= k < self.num_blocks:
            raise ValueError(f"Expected a block from 0 to {self.num_blocks - 1}; got k={k}.")
        return jax.tree.map(lambda a: a[k] if eqx.is_array(a) else a, self.stacked)

    def owner(self, t: Scalar) -> Int[Array, ""]:
        """The position of the block that owns a time; the last block also owns t = 1.

        **Arguments:** a time `t` in [0, 1]. **Returns:** the position of the block, 0 to T - 1.
        """
        # In float32 the product k / T * T falls just short of k for many k and T, and `floor` would then pick the
        # previous block. A thousandth of a block is far above that rounding (T eps) and far below any step.
        k = jnp.floor(t * self.num_blocks + 1e-3).astype(jnp.int32)
        return jnp.clip(k, 0, self.num_blocks - 1)

    def map(self, function: Callable[[int, AbstractVectorField], PyTree[Any]]) -> PyTree[Any]:
        """Applies a function to each block, and stacks the results on a leading axis T.

        The blocks are unrolled: under `vmap`, their convolutions would become one grouped convolution, which is 12
        times slower on CPU.

        **Arguments:**

        - `function`: called with the position, 0 to T - 1, and the block.

        **Returns:** the results, stacked.
        """
        results = [function(k, self.block(k)) for k in range(self.num_blocks)]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *results)

    def encode(self, x: Image, *, key: Key | None = None) -> Features:
        """The features of all blocks, stacked.

        All blocks run in one program, which is right inside your own `jit`. [`noprop_ode.predict_log_proba`][] instead
        calls one compiled function per block, so that compilation and memory do not grow with their number.
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
    # One after another, the bits are the same at half the compilation and memory: one program draws every block.
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
            own[i] = None  # so that at most one array is held twice
    jax.block_until_ready(arrays[0])
    release_freed_memory(sum(a.nbytes for a in arrays[0]))  # of the blocks by themselves
    return eqx.combine(jax.tree.unflatten(structure, arrays[0]), static)


def _refuse_unlike(blocks: Sequence[AbstractVectorField]) -> None:
    """Refuses blocks with different settings: once stacked, all have those of the first."""
    expected = dict(_settings(blocks[0]))
    for k, block in enumerate(blocks[1:], 1):
        found = dict(_settings(block))
        for name in {**expected, **found}:
            own, its = repr(found.get(name)), repr(expected.get(name))  # as text, NaN equals NaN
            if own != its:
                raise ValueError(
                    f"Blocks differ in their numbers alone, and share one structure: block {k} has {name}={own}, block "
                    f"0 {name}={its}. Build each with the same settings, or keep what differs in an array."
                )


def _settings(node: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The plain values in a module, and the shapes and dtypes of its arrays, each with its path."""
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
    """Which blocks a training step trains. Blocks that do not take part have a gradient of exactly zero, and
    [`noprop_ode.blockwise`][] leaves them unchanged.

    `apart` says whether a step averages over all blocks, so that each block's contribution may be computed separately:
    in its own call, on its own device, or in its own run ([`noprop_ode.OneBlock`][]). `one_at_a_time` says whether a
    step trains a single block, so that each block takes part in one step out of T on average.
    """

    apart: ClassVar[bool] = False
    one_at_a_time: ClassVar[bool] = False

    @abc.abstractmethod
    def average(
        self, loss: Callable[[int | Int[Array, ""]], Float[Array, ""]], num_blocks: int, *, key: Key
    ) -> Float[Array, ""]:
        """An estimate of the mean of a loss over the blocks.

        **Arguments:**

        - `loss`: the loss of a block, by position 0 to T - 1.
        - `num_blocks`: the number T of blocks.
        - `key`: chooses the blocks, if there is a choice.

        **Returns:** the estimate.
        """


class AllBlocks(AbstractBlockPlan):
    """All blocks on the same batch: each has its own noise, and their gradients are independent.

    [`noprop_ode.train`][] calls one compiled function once per block, and so needs the memory of one block. Where the
    loss is a single program (`train_step`, several steps per call), the blocks are unrolled. This is fastest, but XLA
    may keep the intermediate results of every block; [`noprop_ode.BlocksInTurn`][] needs the memory of one.
    """

    apart: ClassVar[bool] = True

    def average(
        self, loss: Callable[[int | Int[Array, ""]], Float[Array, ""]], num_blocks: int, *, key: Key
    ) -> Float[Array, ""]:
        return jnp.mean(jnp.stack([loss(k) for k in range(num_blocks)]))


class BlocksInTurn(AbstractBlockPlan):
    """All blocks on the same batch, like [`noprop_ode.AllBlocks`][], but in a loop: the memory and compilation are
    those of one block, however many there are.

    Each block is evaluated a second time for its gradient. On CPU, convolutions inside such a loop are many times
    slower; there, [`noprop_ode.AllBlocks`][] in [`noprop_ode.train`][] with one step per call needs no more memory.
    """

    def average(
        self, loss: Callable[[int | Int[Array, ""]], Float[Array, ""]], num_blocks: int, *, key: Key
    ) -> Float[Array, ""]:
        # Without the checkpoint the loop would keep the intermediate results of every block for its backward pass.
        return jnp.mean(jax.lax.map(jax.checkpoint(loss), jnp.arange(num_blocks)))


class SampledBlock(AbstractBlockPlan):
    """One block per step, drawn uniformly: a forward and backward pass costs as much as one block. The optimiser still
    processes the weights of all blocks.

    An optimiser that is applied to each block separately counts only the steps that the block took part in, one in T:
    a learning rate schedule for [`noprop_ode.blockwise`][] should span 1/T of the steps of the run.
    """

    one_at_a_time: ClassVar[bool] = True

    def average(
        self, loss: Callable[[int | Int[Array, ""]], Float[Array, ""]], num_blocks: int, *, key: Key
    ) -> Float[Array, ""]:
        return loss(jr.randint(key, (), 0, num_blocks))


class OnlyBlock(AbstractBlockPlan):
    """One given block: the paper's Algorithm 1 trains the blocks one after another. The position is an array, so moving
    on to the next block does not recompile: `equinox.tree_at(lambda s: s.model.plan.k, state, jnp.asarray(k))`.

    **Arguments:**

    - `k`: position of the block, 0 to T - 1. For any other position the loss is NaN.
    """

    k: Int[Array, ""] = eqx.field(converter=jnp.asarray)

    def average(
        self, loss: Callable[[int | Int[Array, ""]], Float[Array, ""]], num_blocks: int, *, key: Key
    ) -> Float[Array, ""]:
        return jnp.where((self.k >= 0) & (self.k < num_blocks), loss(self.k), jnp.nan)
