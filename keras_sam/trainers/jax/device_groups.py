"""The parts of a batch side by side, on groups of devices."""

import contextlib
import functools
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import jax
import keras
import numpy as np
from jax import numpy as jnp
from jax.sharding import Mesh
from jax.sharding import PartitionSpec

from keras_sam.engine.parts import PartFunction
from keras_sam.engine.results import PartResult
from keras_sam.types import Batch
from keras_sam.types import Tensor

_psum: Any = jax.lax.psum
_pmean: Any = jax.lax.pmean
_GROUP = "keras_sam_group"


def groups_of(perturbation: str | int) -> Callable[[Any, Any], Any] | None:
    """Return how a step splits its batch, to perturb for each part.

    Args:
        perturbation: As for `SAMModel`.

    Returns:
        Takes how the parts of a group's examples are averaged and the variables
        that a state is of, and returns `DeviceGroups`; or `None` if there is
        one perturbation for all.

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
    return functools.partial(DeviceGroups, mesh, axis, num_replicas // size)


class DeviceGroups:
    """Groups of devices along an axis of a mesh: `Parts` side by side.

    Each group does both passes over its examples, as if it were alone: so
    batches are normalized over them. Only what comes out crosses groups.

    Args:
        mesh: `jax.sharding.Mesh`.
        axis: The name of the axis that the batch lies along.
        count: Integer, how many groups of neighbours the axis is divided into.
        parts: How the parts of a group's examples are averaged.
        variables: Those that the state is of.
    """

    def __init__(
        self,
        mesh: Mesh,
        axis: str,
        count: int,
        parts: Any,
        variables: list[keras.Variable],
    ) -> None:
        self._parts = parts
        self._variables = variables
        position = mesh.axis_names.index(axis)
        shape, names = list(mesh.devices.shape), list(mesh.axis_names)
        shape[position : position + 1] = [count, shape[position] // count]
        # In a group, its devices are what the batch lies along.
        names[position : position + 1] = [_GROUP, axis]
        self._mesh = Mesh(np.reshape(mesh.devices, shape), names)

    def mean(
        self,
        function: PartFunction,
        batch: Batch,
        state: list[Tensor],
        constants: Any,
    ) -> PartResult:
        """Return the mean over the groups; see `keras_sam.engine.parts`."""
        variables = self._variables

        def on_group(
            batch: Batch, state: list[Tensor], constants: Any
        ) -> PartResult:
            start = [*map(_with_own_seed, variables, state)]
            with _distribution_of_group():
                result = self._parts.mean(function, batch, start, constants)
            merged = [*map(_merged, variables, state, start, result.state)]
            return PartResult(
                jax.tree.map(_mean, result.mean),
                merged,
                jax.tree.map(_mean, result.logs),
            )

        # What a group reads has to come in as an argument: an array from
        # outside is laid out on the mesh of the distribution.
        return jax.shard_map(
            on_group,
            mesh=self._mesh,
            in_specs=(_spec(_GROUP), _spec(), _spec()),
            out_specs=_spec(),
            axis_names={_GROUP},
            check_vma=False,
        )(batch, state, constants)


@contextlib.contextmanager
def _distribution_of_group() -> Iterator[None]:
    """Let layers lay out what they compute over the devices of their group."""
    distribution = keras.distribution.distribution()
    keras.distribution.set_distribution(_GroupDistribution(distribution))
    try:
        yield
    finally:
        keras.distribution.set_distribution(distribution)


class _GroupDistribution:
    """A distribution as a group has it: with the mesh of the group.

    Args:
        distribution: That of all groups.
    """

    def __init__(self, distribution: Any) -> None:
        self._distribution = distribution
        self.device_mesh = _GroupMesh()

    def get_tensor_layout(self, path: str) -> Any:
        """Return the layout of a layer's output, or `None`."""
        layout = self._distribution.get_tensor_layout(path)
        if layout is None:
            return None
        return keras.distribution.TensorLayout(layout.axes, self.device_mesh)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._distribution, name)


class _GroupMesh(keras.distribution.DeviceMesh):
    """The devices of the group that is being traced."""

    def __init__(self) -> None:
        mesh = jax.sharding.get_abstract_mesh()
        self._abstract_mesh = mesh
        own = {n: size for n, size in mesh.shape.items() if n != _GROUP}
        devices = np.arange(np.prod([*own.values()]))
        super().__init__([*own.values()], [*own], devices)

    @property
    def backend_mesh(self) -> Any:
        """The mesh that JAX traces the group with."""
        return self._abstract_mesh


def _with_own_seed(variable: keras.Variable, value: Tensor) -> Tensor:
    """Return the value that a group starts from: seeds of its own."""
    if not _is_seed(variable):
        return value
    group = jax.lax.axis_index(_GROUP).astype(value.dtype)
    # Any odd number: the first word of the seed differs, not the counter.
    return value.at[0].add(group * np.uint32(0x9E3779B9))


def _merged(
    variable: keras.Variable, old: Tensor, start: Tensor, new: Tensor
) -> Tensor:
    """Return a value for all groups, as replicas on TensorFlow do.

    Metrics are sums over the groups, statistics means. Counters, which advance
    alike everywhere, keep their value.
    """
    if new is start:
        return old
    if _is_seed(variable):
        return old + (new - start)
    if variable.aggregation == "sum":
        return old + _psum(new - start, _GROUP)
    return _mean(new)


def _mean(tensor: Tensor) -> Tensor:
    """Return the mean over the groups, of integers their common value."""
    if not jnp.issubdtype(tensor.dtype, jnp.inexact):
        return tensor
    return _pmean(tensor, _GROUP)


def _is_seed(variable: keras.Variable) -> bool:
    return variable.dtype == "uint32" and tuple(variable.shape) == (2,)


def _spec(*axes: Any) -> PartitionSpec:
    make: Any = PartitionSpec
    return make(*axes)
