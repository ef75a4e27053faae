"""How a batch lies on the devices of a `keras.distribution`."""

from collections.abc import Callable
from typing import Any

import jax
import keras
import numpy as np
from jax.sharding import Mesh
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec

from keras_sam.types import Vector

_GROUP = "keras_sam_group"
_MEMBER = "keras_sam_member"


def shards_of(perturbation: str | int) -> "DeviceShards | None":
    """Return how a step splits its batch, to perturb for each part.

    Args:
        perturbation: As for `SAMModel`.

    Returns:
        `DeviceShards`, or `None` if there is one perturbation for all.

    Raises:
        ValueError: If the replicas cannot be divided into such groups.
    """
    distribution = keras.distribution.distribution()
    if distribution is None or perturbation == "global":
        return None
    mesh = distribution.device_mesh.backend_mesh
    axis = distribution.batch_dim_name
    if axis not in mesh.shape:
        return None
    num_replicas = mesh.shape[axis]
    size = 1 if perturbation == "replica" else int(perturbation)
    if num_replicas > 1 and num_replicas % size != 0:
        raise ValueError(
            "`perturbation` must divide the number of replicas, "
            f"{num_replicas}. Received: perturbation={perturbation}"
        )
    if num_replicas <= size:
        return None
    return DeviceShards(mesh, axis, num_replicas // size)


class DeviceShards:
    """Groups of devices along an axis of a mesh; see `engine`.

    Args:
        mesh: `jax.sharding.Mesh`.
        axis: The name of the axis that the batch lies along.
        count: Integer, how many groups of neighbours the axis is divided into.
    """

    def __init__(self, mesh: Mesh, axis: str, count: int) -> None:
        self.count = count
        position = mesh.axis_names.index(axis)
        shape, names = list(mesh.devices.shape), list(mesh.axis_names)
        shape[position : position + 1] = [count, shape[position] // count]
        names[position : position + 1] = [_GROUP, _MEMBER]
        self._mesh = Mesh(np.reshape(mesh.devices, shape), names)

    def stack(self, vector: Vector) -> Vector:
        """Return arrays of shape `(count, ...)`: a copy for each group."""
        return [self._placed(tensor) for tensor in vector]

    def map(
        self, function: Callable[..., Any], copies: Vector, same: Any, x: Any
    ) -> Any:
        """Call a function on the devices of each group.

        Args:
            function: See `keras_sam.engine.device_groups.Shards`.
            copies: Arrays of shape `(count, ...)`.
            same: Nest of arrays that all groups take.
            x: Nest of arrays of shape `(batch_size, ...)`.

        Returns:
            The nest that `function` returns, of all groups.
        """

        def on_group(copies: Vector, same: Any, x: Any) -> Any:
            return function(jax.lax.axis_index(_GROUP), copies, same, x)

        split, whole = _spec(_GROUP), _spec()
        return jax.shard_map(
            on_group,
            mesh=self._mesh,
            in_specs=(split, whole, split),
            out_specs=split,
            axis_names={_GROUP},
            check_vma=False,
        )(copies, same, x)

    def _placed(self, tensor: Any) -> Any:
        stacked = jax.numpy.broadcast_to(tensor, (self.count, *tensor.shape))
        rest = [PartitionSpec.UNCONSTRAINED] * tensor.ndim
        sharding = NamedSharding(self._mesh, _spec(_GROUP, *rest))
        constrain: Any = jax.lax.with_sharding_constraint
        return constrain(stacked, sharding)


def _spec(*axes: Any) -> PartitionSpec:
    make: Any = PartitionSpec
    return make(*axes)
