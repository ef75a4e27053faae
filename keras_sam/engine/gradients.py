"""What a method sees of the gradients, and what becomes of what it gives."""

import keras
from keras import ops

from keras_sam import backend
from keras_sam import vectors
from keras_sam.engine.loss import times
from keras_sam.engine.roles import overwritten
from keras_sam.methods.base import Method
from keras_sam.types import Gradients
from keras_sam.types import Tensor
from keras_sam.types import Vector
from keras_sam.types import Weight


class MethodView:
    """The trainable variables as a method sees them.

    `Gradients` have an entry for each trainable variable. The vectors of a
    method have one for each of `seen`: for each that has a gradient in truth if
    the method combines gradients, else for each that is perturbed.

    Args:
        variables: The trainable variables.
        weights: What they read as.
        method: `Method`.
        roles: What each of them is for.
        perturbed: The positions of those that are perturbed.
        unit: Scalar that the gradients are multiplied by; `None` for 1.

    Attributes:
        seen: The positions of those that the method sees.
        weights: The `Weight` of each of `seen`.
        wanted: The positions of those whose gradients at w are of use.
    """

    def __init__(
        self,
        variables: list[keras.Variable],
        weights: Vector,
        method: Method,
        roles: list[str],
        perturbed: list[int],
        unit: Tensor | None,
    ) -> None:
        self._variables = variables
        self._weights = weights
        self._values = [backend.as_tensor(weight) for weight in weights]
        self._unit = unit
        self.perturbed = perturbed
        self._overwritten = overwritten(variables)
        self.seen = seen_by(method, variables, perturbed)
        self.wanted = sorted({*self.seen, *self._overwritten})
        self.weights = [Weight(self._values[i], roles[i]) for i in self.seen]

    def zeros(self) -> Vector:
        """Return a vector of zeros."""
        return [ops.zeros_like(weight.value) for weight in self.weights]

    def for_method(self, gradients: Gradients) -> Vector:
        """Return what the method sees: unscaled, dense, without gaps."""
        return [
            ops.zeros_like(self._values[i])
            if gradients[i] is None
            else self._unscaled(backend.densify(gradients[i], self._values[i]))
            for i in self.seen
        ]

    def dense(self, gradients: Gradients) -> Gradients:
        """Return the gradients, none of them sparse."""
        return [
            None if gradient is None else backend.densify(gradient, value)
            for gradient, value in zip(gradients, self._values)
        ]

    def for_optimizer(self, vector: Vector, gradients: Gradients) -> Gradients:
        """Return `gradients`, with those that the method sees replaced."""
        replaced = list(gradients)
        for i, tensor in zip(self.seen, vector):
            if gradients[i] is not None:
                replaced[i] = times(self._unit, tensor)
        return replaced

    def overwriting(self, clean: Gradients) -> dict[int, Tensor]:
        """Return the next values that gradients at w hold, by position."""
        return {i: clean[i] for i in self._overwritten}

    def masked(self, vector: Vector) -> Vector:
        """Return the vector, zero for what is not perturbed."""
        if len(self.perturbed) == len(self.seen):
            return vector
        return [
            t if i in self.perturbed else ops.zeros_like(t)
            for i, t in zip(self.seen, vector)
        ]

    def moved(self, e: Vector) -> Vector:
        """Return w + e, what the trainable variables are to read as."""
        if len(self.perturbed) < len(self.seen):
            e = [t for i, t in zip(self.seen, e) if i in self.perturbed]
        moved = backend.perturbed_weights(
            [self._variables[i] for i in self.perturbed],
            [self._values[i] for i in self.perturbed],
            e,
        )
        weights = list(self._weights)
        for i, weight in zip(self.perturbed, moved):
            weights[i] = weight
        return weights

    def by_position(self, vector: Vector) -> Gradients:
        """Return what a method gives, by position in the trainable ones."""
        found: Gradients = [None] * len(self._values)
        for i, tensor in zip(self.seen, vector):
            found[i] = tensor
        return found

    def reached(self, gradients: Gradients) -> list[int]:
        """Return the positions of what is perturbed and has a gradient."""
        return [i for i in self.perturbed if gradients[i] is not None]

    def check_replaced(self, reached: list[int], gradients: Gradients) -> None:
        """Check that the second pass read w + e, and not w.

        Args:
            reached: The positions of perturbed weights that the first pass
                read.
            gradients: Those of the second pass.

        Raises:
            ValueError: Naming a variable of which it did not.
        """
        for i in reached:
            if gradients[i] is None:
                raise ValueError(
                    "The second pass cannot replace the value of a weight: "
                    "what reads it was traced before (`@tf.function`, a "
                    "loaded model), reads it inside a `keras.StatelessScope` "
                    "of its own, or is no part of Keras. Remove the decorator "
                    "or scope, or leave the weight unperturbed with a "
                    f"callable `perturb`. Received: {self._variables[i].path}"
                )

    def has_length(self, g: Vector) -> Tensor:
        """Return whether what is perturbed has a length to divide by."""
        g = [t for i, t in zip(self.seen, g) if i in self.perturbed]
        square = vectors.dot(g, g)
        return ops.logical_and(square > 0, ops.isfinite(square))

    def is_finite(self, gradients: Gradients) -> Tensor:
        """Return whether the sum of all squares is."""
        found = [
            self._unscaled(backend.stored_values(gradient))
            for gradient in gradients
            if gradient is not None
        ]
        return ops.isfinite(vectors.dot(found, found))

    def _unscaled(self, gradient: Tensor) -> Tensor:
        if self._unit is None:
            return gradient
        return gradient / ops.cast(self._unit, gradient.dtype)


def seen_by(
    method: Method, variables: list[keras.Variable], perturbed: list[int]
) -> list[int]:
    """Return the positions of the variables that a method sees.

    Args:
        method: `Method`.
        variables: The trainable variables.
        perturbed: The positions of those that are perturbed.
    """
    if not method.combines:
        return perturbed
    return sorted({*range(len(variables))} - {*overwritten(variables)})


def zeros_like(gradients: Gradients) -> Gradients:
    """Return zeros where there is a gradient."""
    return [None if t is None else ops.zeros_like(t) for t in gradients]


def replaced_if(
    condition: Tensor, value: float, gradients: Gradients
) -> Gradients:
    """Return gradients, each element of them `value` if a condition holds."""
    return backend.select(
        condition,
        lambda: [
            None if t is None else backend.filled_like(t, value)
            for t in gradients
        ],
        lambda: gradients,
    )
