"""A perturbation for each shard of a batch, where one step sees all shards.

On JAX a step is one program for all devices. Each group of devices that shares
a perturbation then has a copy of the weights of its own: tensors get a first
axis, of one entry for each group, that lies across the devices as the batch
does. Only the loss and what is left of the gradients in the end cross them.
"""

from collections.abc import Callable
from typing import Any
from typing import Protocol

import keras
from keras import ops

from keras_sam import backend
from keras_sam.engine.loss import Passes
from keras_sam.engine.loss import Seen
from keras_sam.engine.loss import set_masks
from keras_sam.engine.two_passes import Climb
from keras_sam.engine.two_passes import Climber
from keras_sam.engine.two_passes import Gradients
from keras_sam.engine.two_passes import Look
from keras_sam.methods.base import Method
from keras_sam.types import Batch
from keras_sam.types import State
from keras_sam.types import Tensor
from keras_sam.types import Vector
from keras_sam.types import Weight


class Shards(Protocol):
    """How a batch lies on groups of devices.

    Attributes:
        count: Integer > 1, the number of groups.
    """

    count: int

    def stack(self, vector: Vector) -> Vector:
        """Return tensors of shape `(count, ...)`: a copy for each group."""

    def map(
        self, function: Callable[..., Any], copies: Vector, same: Any, x: Any
    ) -> Any:
        """Call a function on the devices of each group.

        Args:
            function: Takes the number of the group, its copies, `same`, and
                its examples. Returns a nest of tensors.
            copies: Tensors of shape `(count, ...)`.
            same: Nest of tensors that all groups take.
            x: Nest of tensors of shape `(batch_size, ...)`.

        Returns:
            The nest, its tensors concatenated along their first axis.
        """


class ShardPasses(Passes):
    """Passes in which each example sees the weights of its group.

    Layers see the shard of a group alone, as on a device of its own: so
    batches are normalized over it, and statistics are averaged in the end.
    What layers count, as seeds do, goes on from group to group, as if they
    came one after another. The loss is that of the whole batch.

    Args:
        model: A compiled, built model.
        batch: `Batch`.
        shards: `Shards`.

    Attributes:
        batch_size: Integer, the size of a shard: `Rows` are those of each.
    """

    def __init__(
        self, model: keras.Model, batch: Batch, shards: Shards
    ) -> None:
        super().__init__(model, batch)
        self.shards = shards
        self.batch_size = self.batch_size // shards.count

    def forward(self, weights: Vector, state: list[Tensor], x: Any) -> Seen:
        """Return what the model in training mode makes of x."""
        written: list[int] = []

        def one_group(
            group: Tensor, weights: Vector, state: list[Tensor], x: Any
        ) -> Any:
            weights = [ops.squeeze(weight, 0) for weight in weights]
            start = self._start(group, weights, state, x)
            seen = super(ShardPasses, self).forward(weights, start, x)
            written[:] = [
                i for i, new in enumerate(seen.state) if new is not start[i]
            ]
            predictions = keras.tree.flatten(seen.y_pred)
            masks = [backend.get_keras_mask(p) for p in predictions]
            single = [*seen.losses, *(seen.state[i] for i in written)]
            return seen.y_pred, masks, [ops.expand_dims(t, 0) for t in single]

        y_pred, masks, rest = self.shards.map(one_group, weights, state, x)
        set_masks(y_pred, masks)
        num_losses = len(rest) - len(written)
        following = list(state)
        for i, ends in zip(written, rest[num_losses:]):
            following[i] = ends[-1] if _counts(ends) else _mean(ends)
        return Seen(y_pred, [_mean(t) for t in rest[:num_losses]], following)

    def loss(
        self,
        weights: Vector,
        seen: Seen,
        batch: Batch,
        share: Tensor | None = None,
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the loss of all shards; see `Passes`.

        A loss that uses weights directly gets the mean of the copies.
        """
        mean = [_mean(weight) for weight in weights]
        return super().loss(mean, seen, batch, share)

    def take_at(self, nest: Any, index: Tensor) -> Any:
        """Return the examples at `index` of every shard."""

        def take(tensor: Tensor | None) -> Tensor | None:
            if tensor is None:
                return None
            rest = tensor.shape[1:]
            shards = ops.reshape(tensor, (self.shards.count, -1, *rest))
            return ops.reshape(ops.take(shards, index, axis=1), (-1, *rest))

        return keras.tree.map_structure(take, nest)

    def spread(self, flags: Tensor) -> Tensor:
        """Return the flags of one shard, repeated for each."""
        return ops.tile(flags, self.shards.count)

    def positions(self, index: Tensor) -> Tensor:
        """Return where examples of every shard are in the whole batch."""
        starts = self.batch_size * ops.arange(self.shards.count)
        index = ops.expand_dims(index, 1) + ops.reshape(starts, (1, -1, 1))
        return super().positions(index)

    def _start(
        self, group: Tensor, weights: Vector, state: list[Tensor], x: Any
    ) -> list[Tensor]:
        """Return the state that the groups before this one leave.

        How far a pass moves what it counts is seen in a pass of which a
        compiler drops all else.
        """
        if not any(map(_counts, state)):
            return state
        still = [ops.stop_gradient(weight) for weight in weights]
        ends = super().forward(still, state, x).state
        return [
            old + ops.cast(group, old.dtype) * (new - old)
            if new is not old and _counts(old)
            else old
            for old, new in zip(state, ends)
        ]


class ShardClimber(Climber):
    """A climber on a copy of the weights for each shard.

    Args:
        passes: `ShardPasses`.
        method: `Method`.
        weights: Vector, the values of all trainable variables.
        kinds: What each of them is for.
        perturbed: The positions of those that are perturbed.
        loss_scale: Scalar that the loss is multiplied by before it is
            differentiated, or `None`.
    """

    def __init__(
        self,
        passes: ShardPasses,
        method: Method,
        weights: Vector,
        kinds: list[str],
        perturbed: list[int],
        loss_scale: Tensor | None,
    ) -> None:
        shards = passes.shards
        per_shard: Any = PerShard(method)
        super().__init__(
            passes,
            per_shard,
            shards.stack(weights),
            kinds,
            perturbed,
            loss_scale,
            num_copies=shards.count,
        )
        self._count = shards.count

    def merged(self, look: Look) -> Look:
        """Return a look whose gradients are those of the weights."""
        return look._replace(gradients=_summed(look.gradients))

    def _climbed(self, look: Look, *args: Any) -> Climb:
        climb = super()._climbed(look, *args)
        rise = climb.rise
        if not self.method.needs_gradients:
            rise = rise / self._count  # the sum of the estimates of the shards
        correction, method_state = keras.tree.map_structure(
            _mean, (climb.correction, climb.method_state)
        )
        return climb._replace(
            gradients=_summed(climb.gradients),
            correction=correction,
            method_state=method_state,
            rise=rise,
        )


class PerShard:
    """A method, applied to each entry along the first axis of its vectors."""

    def __init__(self, method: Method) -> None:
        self._method = method
        self.needs_gradients = method.needs_gradients
        self.has_own = method.has_own

    def perturb(
        self,
        gradients: Vector,
        weights: list[Weight],
        rho: Tensor,
        state: State,
    ) -> Vector:
        """Return the perturbation of each shard."""

        def perturb(vectors: tuple[Vector, Vector]) -> Vector:
            gradients, values = vectors
            shard = [Weight(v, w.kind) for v, w in zip(values, weights)]
            return self._method.perturb(gradients, shard, rho, state)

        values = [weight.value for weight in weights]
        return ops.vectorized_map(perturb, (gradients, values))

    def combine(
        self, gradients: Vector, perturbed_gradients: Vector, state: State
    ) -> Vector:
        """Return what each shard follows."""
        return ops.vectorized_map(
            lambda vectors: self._method.combine(vectors[0], vectors[1], state),
            (gradients, perturbed_gradients),
        )

    def correct(
        self, gradients: Vector, perturbed_gradients: Vector
    ) -> Vector | None:
        """Return what each shard subtracts past the optimizer."""
        if not self.has_own("correct"):
            return None
        return ops.vectorized_map(
            lambda vectors: self._method.correct(*vectors),
            (gradients, perturbed_gradients),
        )

    def next_state(
        self, gradients: Vector, perturbed_gradients: Vector, state: State
    ) -> State:
        """Return what each shard would remember."""
        return ops.vectorized_map(
            lambda vectors: self._method.next_state(
                vectors[0], vectors[1], state
            ),
            (gradients, perturbed_gradients),
        )

    def statistic(self, gradients: Vector) -> Tensor:
        """Return the mean over the shards."""
        return ops.mean(
            ops.vectorized_map(self._method.statistic, gradients), axis=0
        )


def _summed(gradients: Gradients) -> Gradients:
    """Return the sums over shards; each has its share of the loss."""
    return {i: ops.sum(gradient, axis=0) for i, gradient in gradients.items()}


def _mean(copies: Tensor) -> Tensor:
    return ops.mean(copies, axis=0)


def _counts(tensor: Tensor) -> bool:
    return "int" in keras.backend.standardize_dtype(tensor.dtype)
