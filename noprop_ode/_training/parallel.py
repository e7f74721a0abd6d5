"""How a step of training is laid out over devices."""

import functools
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from .._block_model import AbstractBlockModel
from .._blocks import Blocks
from .._model import AbstractModel, name_of
from .blockwise import is_blockwise_state
from .checkpoint import is_key
from .copies import copied
from .processes import placed
from .step import TrainState


@dataclass(frozen=True)
class Parallel:
    """Trains on `data` x `block` devices: each takes a share of every batch, and a share of the blocks.

    Blocks on different devices exchange nothing: the gradient of a block is computed where the block is, without any
    communication over the `block` axis except for what blocks share (a learned embedding or schedule: one sum per step)
    and a few numbers for the logs. The `data` axis sums gradients, as in data parallelism. The results are those of one
    device, up to rounding.

    - `data`: devices that a batch is divided among.
    - `block`: devices that the blocks of a [`noprop_ode.NoPropDT`][] are divided among.
    - `shard_weights`: also divide weights and optimiser state among the devices of the data axis, each array along its
        longest axis that divides (FSDP); otherwise every device holds those of its blocks in full.
    - `sharded_checkpoints`: every process writes what its devices hold to the checkpoints of a run, which are folders
        written by Orbax, instead of sending it to the first. All processes must see the folder of the run. A run can
        continue from either kind, on any number of devices.
    """

    data: int = 1
    block: int = 1
    shard_weights: bool = False
    sharded_checkpoints: bool = False

    def __post_init__(self):
        if self.data < 1 or self.block < 1:
            raise ValueError(f"Expected at least one device on each axis; got data={self.data}, block={self.block}.")

    @functools.cached_property
    def mesh(self) -> Mesh:
        """The first `data` x `block` devices, with axes of these names.

        **Raises:** `ValueError` if there are not enough.
        """
        devices, needed = jax.devices(), self.data * self.block
        if len(devices) < needed:
            raise ValueError(
                f"data={self.data} and block={self.block} need {needed} devices; JAX sees {len(devices)} "
                f"({devices[0].platform}). Ask for fewer, or, to try it on a CPU, set JAX_PLATFORMS=cpu and "
                f"JAX_NUM_CPU_DEVICES={needed} in the environment."
            )
        if jax.process_count() > 1 and len(devices) != needed:
            raise ValueError(
                f"data={self.data} and block={self.block} need {needed} devices; the {jax.process_count()} processes "
                f"have {len(devices)}, and train on all of them. Choose axes whose product is {len(devices)}."
            )
        own = len(devices) // jax.process_count()
        if jax.process_count() > 1 and own % self.data and self.data % own:
            raise ValueError(
                f"data={self.data} would share a group of data with part of another process; choose a divisor or a "
                f"multiple of the {own} devices of a process."
            )
        # Devices come process by process. Those that sum gradients, on the data axis, are neighbours, within a host
        # where they fit into one; blocks exchange next to nothing, so what links hosts may be slow.
        grid = np.asarray(devices[:needed]).reshape(self.block, self.data).T
        return Mesh(grid, ("data", "block"), axis_types=(AxisType.Auto, AxisType.Auto))

    def check(self, model: AbstractModel, batch_size: int) -> None:
        """Refuses batches and blocks that do not divide evenly.

        **Arguments:** the model, and the number of images in a batch.

        **Raises:** `ValueError` or `TypeError`, saying what would.
        """
        self.check_batch(batch_size)
        self._check_blocks(model)

    def check_batch(self, batch_size: int) -> None:
        """Refuses batches that do not divide evenly. **Raises:** `ValueError`."""
        if batch_size % self.data:
            raise ValueError(
                f"A batch of {batch_size} images does not divide among data={self.data} devices; choose a batch size "
                f"that is a multiple of {self.data}."
            )

    def _check_blocks(self, model: AbstractModel) -> None:
        if self.block > 1:
            if not isinstance(model, AbstractBlockModel) or not model.plan.apart:
                has = name_of(model.plan) if isinstance(model, AbstractBlockModel) else "no blocks"
                raise TypeError(
                    f"block={self.block} divides the blocks of a step, all of which train in it (AllBlocks); "
                    f"{name_of(model)} has {has}. Use block=1, and data=... for the batch."
                )
            if model.field.num_blocks % self.block:
                raise ValueError(
                    f"{model.field.num_blocks} blocks do not divide among block={self.block} devices; choose a divisor "
                    f"of {model.field.num_blocks}."
                )
        _ = self.mesh

    def place(self, state: TrainState) -> TrainState:
        """The state on the devices; the arrays given stay valid."""
        self._check_blocks(state.model)
        # Arrays that share a buffer, like those of a moving average at the start, must be separate to be donated. To
        # copy each on the way, as `device_put` can, is not enough: copies for several devices may share one.
        return eqx.combine(placed(*self._laid_out(copied(state))), state)

    def constrain(self, state: TrainState) -> TrainState:
        """Inside a compiled step: gives the next state the same layout as the last one."""
        return eqx.combine(jax.lax.with_sharding_constraint(*self._laid_out(state)), state)

    def place_batch(self, array: Any, *, steps: bool = False) -> jax.Array:
        """A batch, or batches of several `steps` on a leading axis, divided among the devices of the data axis.

        Where there are several processes, `array` is the share of this one, or an array that lies on all of them.
        """
        sharding = NamedSharding(self.mesh, PartitionSpec(None, "data") if steps else PartitionSpec("data"))
        if jax.process_count() == 1 or lies_on_several(array):
            return jax.device_put(array, sharding)
        return jax.make_array_from_process_local_data(sharding, np.asarray(array))

    def share(self, size: int) -> slice:
        """Which images of a batch belong to the devices of this process; all of them if there is only one process."""
        own = self._rows
        return slice(own[0] * size // self.data, (own[-1] + 1) * size // self.data)

    def whole(self, share: Any) -> int:
        """The size of the batch that an array is this process's share of."""
        return len(share) if lies_on_several(share) else len(share) * self.data // len(self._rows)

    @functools.cached_property
    def _rows(self) -> list[int]:
        # Devices come process by process, so the rows that have some of this one are neighbours.
        own = [[d.process_index == jax.process_index() for d in row] for row in self.mesh.devices]
        return [i for i, row in enumerate(own) if any(row)]

    def _laid_out(self, state: TrainState) -> tuple[PyTree[Any], PyTree[NamedSharding]]:
        arrays = eqx.filter(state, eqx.is_array)
        return arrays, jax.tree.map(self._sharding, arrays, block_specs(arrays))

    def _sharding(self, array: jax.Array, spec: PartitionSpec) -> NamedSharding:
        axes: list[str | None] = [*spec, *[None] * (array.ndim - len(spec))]
        free = [i for i, axis in enumerate(axes) if axis is None and array.shape[i] % self.data == 0]
        if self.shard_weights and free and not is_key(array):
            axes[max(free, key=lambda i: array.shape[i])] = "data"
        return NamedSharding(self.mesh, PartitionSpec(*axes))


def lies_on_several(array: Any) -> bool:
    """Whether an array lies on the devices of several processes."""
    return isinstance(array, jax.Array) and not array.is_fully_addressable


def block_specs(tree: PyTree[Any]) -> PyTree[PartitionSpec]:
    """Where the arrays of a PyTree go on the block axis: those of [`noprop_ode.Blocks`][] by their leading axis."""

    def of_node(node: Any) -> PyTree[PartitionSpec]:
        stacked = node.stacked if isinstance(node, Blocks) else node.blocks if is_blockwise_state(node) else None
        specs = jax.tree.map(lambda _: PartitionSpec(), node)
        if stacked is None:
            return specs
        # The state of an optimiser for blocks that are all frozen is not stacked.
        own = jax.tree.map(lambda a: PartitionSpec("block") if a.ndim else PartitionSpec(), stacked)
        return eqx.tree_at(lambda n: n.blocks if is_blockwise_state(n) else n.stacked, specs, own)

    return jax.tree.map(of_node, tree, is_leaf=lambda node: isinstance(node, Blocks) or is_blockwise_state(node))
