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
    mesh = distribution.device_mesh
    axis = distribution.batch_dim_name
    if axis not in mesh.axis_names:
        return None
    num_replicas = mesh.shape[mesh.axis_names.index(axis)]
    size = 1 if perturbation == "replica" else int(perturbation)
    if num_replicas > 1 and num_replicas % size != 0:
        raise ValueError(
            "`perturbation` must divide the number of replicas, "
            f"{num_replicas}. Received: perturbation={perturbation}"
        )
    if num_replicas <= size:
        return None
    return functools.partial(DeviceGroups, distribution, num_replicas // size)


class DeviceGroups:
    """Groups of devices along an axis of a mesh: `Parts` side by side.

    Each group does both passes over its examples, as if it were alone: so
    batches are normalized over them. Only what comes out crosses groups.

    Args:
        distribution: That of the model, with an axis that the batch lies along.
        count: Integer, how many groups of neighbours the axis is divided into.
        parts: How the parts of a group's examples are averaged.
        variables: Those that the state is of.
    """

    def __init__(
        self,
        distribution: Any,
        count: int,
        parts: Any,
        variables: list[keras.Variable],
    ) -> None:
        self._parts = parts
        self._variables = variables
        self._distribution = _WithinGroups(distribution, count)

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
            with self._distribution.scope():
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
            mesh=self._distribution.device_mesh.concrete_mesh,
            in_specs=(_spec(_GROUP), _spec(), _spec()),
            out_specs=_spec(),
            axis_names={_GROUP},
            check_vma=False,
        )(batch, state, constants)


class _GroupMesh(keras.distribution.DeviceMesh):
    """A mesh that layouts inside of `shard_map` are on."""

    @property
    def concrete_mesh(self) -> Any:
        """The mesh of devices."""
        return super().backend_mesh

    @property
    def backend_mesh(self) -> Any:
        """The mesh as it is in a group, which cannot reach the others."""
        return jax.sharding.get_abstract_mesh()


class _WithinGroups:
    """A distribution as it is for one group of devices.

    Layers ask the distribution in scope for the layout of their outputs, and
    JAX takes none on another mesh than that of `shard_map`. So the mesh is the
    same with one axis more, along which the groups lie; the axis of the batch
    keeps its name, and is as long as a group.

    Args:
        distribution: That of the model.
        count: Integer, how many groups there are.
    """

    def __init__(self, distribution: Any, count: int) -> None:
        self._whole = distribution
        mesh = distribution.device_mesh
        shape, names = list(mesh.shape), list(mesh.axis_names)
        position = names.index(distribution.batch_dim_name)
        shape[position : position + 1] = [count, shape[position] // count]
        names.insert(position, _GROUP)
        self.device_mesh = _GroupMesh(shape, names, mesh.devices.flatten())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._whole, name)

    @contextlib.contextmanager
    def scope(self) -> Iterator[None]:
        """Let layers find this distribution in place of the whole one."""
        around = keras.distribution.distribution()
        keras.distribution.set_distribution(self)
        try:
            yield
        finally:
            keras.distribution.set_distribution(around)

    def get_tensor_layout(self, path: str) -> Any:
        """Return how a group lays out a tensor; `None` for no matter."""
        layout = self._whole.get_tensor_layout(path)
        if layout is None:
            return None
        return keras.distribution.TensorLayout(layout.axes, self.device_mesh)


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
