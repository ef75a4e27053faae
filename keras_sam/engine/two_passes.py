"""Both passes over one (micro-)batch."""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple

from keras import ops

from keras_sam import backend
from keras_sam import vectors
from keras_sam.engine.loss import Rows
from keras_sam.engine.loss import Seen
from keras_sam.methods.base import Method
from keras_sam.types import State
from keras_sam.types import Tensor
from keras_sam.types import Vector
from keras_sam.types import Weight

Gradients = dict[int, Tensor]
"""Gradients by position in `trainable_variables`, without the missing ones."""


class Look(NamedTuple):
    """The pass at w.

    Attributes:
        loss: Scalar, the loss at w.
        seen: `Seen`.
        gradients: `Gradients`, with loss scaling.
        rows: The examples that it saw; `None` for all.
    """

    loss: Tensor
    seen: Seen
    gradients: Gradients
    rows: Rows | None


class Climb(NamedTuple):
    """What both passes over one (micro-)batch give.

    Attributes:
        gradients: `Gradients` for the optimizer, with loss scaling.
        correction: `Gradients` to subtract past the optimizer.
        method_state: What the method remembers.
        loss: Scalar, the loss that the first pass saw.
        rise: Scalar, how much higher it is at w + e.
        seen: `Seen` of the first pass.
        perturbation: The perturbation by position. It and `clean_gradients`
            may be empty; see `Climber.is_watched`.
        clean_gradients: `Gradients` at w, without loss scaling.
        perturbed_gradients: `Gradients` at w + e, without loss scaling.
    """

    gradients: Gradients
    correction: Gradients
    method_state: State
    loss: Tensor
    rise: Tensor
    seen: Seen
    perturbation: Gradients
    clean_gradients: Gradients
    perturbed_gradients: Gradients


class Outcome(NamedTuple):
    """What a step hands to the optimizer and to `fit`.

    Attributes:
        gradients: `Gradients`, scaled as the optimizer's `scale_loss` scales.
        correction: `Gradients` to subtract, times the learning rate, past the
            optimizer.
        state: New values of `passes.state_variables(model)`.
        logs: What `keras.Model` logs, and `sharpness`.
    """

    gradients: Gradients
    correction: Gradients
    state: list[Tensor]
    logs: dict[str, Tensor]


class Climber:
    """What the passes over all (micro-)batches of one step share.

    Args:
        passes: `Passes`, or anything with its `loss_at`.
        method: `Method`.
        weights: Vector, the values of all trainable variables.
        kinds: What each of them is for.
        perturbed: The positions of those that are perturbed.
        loss_scale: Scalar that the loss is multiplied by before it is
            differentiated, or `None`.
        is_global: Whether replicas share one perturbation.
        num_copies: How many copies of the weights, along a first axis of each
            tensor, share the loss between them.

    Attributes:
        call: Calls a function that does one pass, and returns what it returns.
        add: Returns the sum of weights and a perturbation, which is needed
            until the next one.
        is_watched: Whether a `Climb` has the perturbation and the gradients at
            w even if nothing but who asked for it looks at them.
    """

    def __init__(
        self,
        passes: Any,
        method: Method,
        weights: Vector,
        kinds: list[str],
        perturbed: list[int],
        loss_scale: Tensor | None = None,
        is_global: bool = False,
        num_copies: int = 1,
    ) -> None:
        self.passes = passes
        self.method = method
        self.weights = weights
        self.everything = list(range(len(weights)))
        self.perturbed = perturbed
        self.domain = domain(method, self.everything, perturbed)
        self._kinds = kinds
        self._loss_scale = loss_scale
        self._is_global = is_global
        self.call: Callable[[Callable[[], Any]], Any] = lambda pass_: pass_()
        self.add: Callable[[Vector, Vector], Vector] = vectors.add
        self.is_watched = False
        # Keras divides the loss by the number of replicas.
        num_replicas = backend.num_replicas() * num_copies
        self._unit = loss_scale
        if num_replicas > 1:
            self._unit = 1.0 if loss_scale is None else loss_scale
            self._unit = self._unit / num_replicas

    def look(
        self, state: list[Tensor], rows: Rows | None, wanted: list[int]
    ) -> Look:
        """Return the gradients of the loss at w: of some examples, or all."""
        loss, seen, gradients = self._differentiate(
            lambda weights: self._loss(weights, state, rows, None),
            self.weights,
            wanted,
        )
        return Look(loss, seen, gradients, rows)

    def look_and_climb(
        self,
        state: list[Tensor],
        method_state: State,
        rho: Tensor,
        ascent: Rows | None,
        descent: Rows | None,
    ) -> Climb:
        """Do both passes; only one if the method needs no gradients at w.

        Args:
            state: Values of `state_variables`, from which both passes start.
            method_state: What the method remembers.
            rho: Scalar > 0.
            ascent: The examples of the first pass; `None` for all.
            descent: The examples of the second pass; `None` for all.

        Returns:
            `Climb`.
        """
        if not self.method.needs_gradients:
            return self._climb_blindly(state, method_state, rho, descent)
        return self.climb(
            self.look(state, ascent, self.domain),
            state,
            method_state,
            rho,
            descent,
        )

    def climb(
        self,
        look: Look,
        state: list[Tensor],
        method_state: State,
        rho: Tensor,
        descent: Rows | None,
    ) -> Climb:
        """Return both passes, the first done; see `look_and_climb`."""
        clean = self._shared(self.in_domain(look.gradients))
        perturbation = self._perturb(clean, method_state, rho)
        perturbed_weights = self._perturbed_weights(perturbation)
        # An eager step has the second pass use the memory that this frees.
        if not self.is_watched:
            perturbation = []
        if not self._looks_back():
            look, clean = look._replace(gradients={}), []
        loss, seen, gradients = self._differentiate(
            lambda weights: self._loss(
                weights, state, descent, look.seen.whole
            ),
            perturbed_weights,
            self.everything,
        )
        if look.rows is not None and look.rows is not descent:
            first = self.passes.first_rows(
                perturbed_weights, seen, look.rows, look.seen.whole
            )
            loss = self.passes.contribution(perturbed_weights, first, look.rows)
        rise = backend.unscale_loss_for_distribution(loss - look.loss)
        return self._climbed(
            look, clean, gradients, method_state, rise, perturbation
        )

    def in_domain(self, gradients: Gradients) -> Vector:
        """Return what the method sees: unscaled, dense, without gaps."""
        return [
            ops.zeros_like(self.weights[i])
            if i not in gradients
            else self._unscaled(backend.densify(gradients[i]))
            for i in self.domain
        ]

    def from_domain(self, vector: Vector, gradients: Gradients) -> Gradients:
        """Return `gradients`, with those that the method sees replaced."""
        replaced = {
            i: _times(self._unit, t)
            for i, t in zip(self.domain, vector)
            if i in gradients
        }
        return {**gradients, **replaced}

    def merged(self, look: Look) -> Look:
        """Return a look whose gradients are those of the weights."""
        return look

    def _climb_blindly(
        self,
        state: list[Tensor],
        method_state: State,
        rho: Tensor,
        rows: Rows | None,
    ) -> Climb:
        """Return the one pass, at w + e.

        Without the loss at w, the rise is its first-order estimate `h . e`.
        """
        zeros = [ops.zeros_like(self.weights[i]) for i in self.domain]
        perturbation = self._perturb(zeros, method_state, rho)
        loss, seen, gradients = self._differentiate(
            lambda weights: self._loss(weights, state, rows, None),
            self._perturbed_weights(perturbation),
            self.everything,
        )
        look = Look(loss, seen, gradients, rows)
        clean = self._shared(self.in_domain(gradients))
        by_position = dict(zip(self.domain, clean))
        rise = vectors.dot(
            [by_position[i] for i in self.perturbed], perturbation
        )
        return self._climbed(
            look, clean, gradients, method_state, rise, perturbation
        )

    def _climbed(
        self,
        look: Look,
        clean: Vector,
        gradients: Gradients,
        method_state: State,
        rise: Tensor,
        perturbation: Vector,
    ) -> Climb:
        perturbed = self.in_domain(gradients)
        if any(map(self.method.has_own, _SEE_BOTH)):
            perturbed = self._shared(perturbed)
        combined = gradients
        if self.method.has_own("combine"):
            combined = self.from_domain(
                self.method.combine(clean, perturbed, method_state), gradients
            )
        if self._loss_scale is not None:
            combined = _poisoned(combined, look.gradients)
        correction = self.method.correct(clean, perturbed) or []
        return Climb(
            gradients=combined,
            correction=dict(zip(self.domain, correction)),
            method_state=self.method.next_state(clean, perturbed, method_state),
            loss=look.loss,
            rise=ops.cast(rise, "float32"),
            seen=look.seen,
            perturbation=dict(zip(self.perturbed, perturbation)),
            clean_gradients=dict(zip(self.domain, clean)),
            perturbed_gradients=dict(zip(self.domain, perturbed)),
        )

    def _perturb(
        self, clean: Vector, method_state: State, rho: Tensor
    ) -> Vector:
        chosen = [k for k, i in enumerate(self.domain) if i in self.perturbed]
        gradients = [clean[k] for k in chosen]
        return self.method.perturb(
            gradients,
            [Weight(self.weights[i], self._kinds[i]) for i in self.perturbed],
            rho,
            {name: _chosen(v, chosen) for name, v in method_state.items()},
        )

    def _perturbed_weights(self, perturbation: Vector) -> Vector:
        weights = list(self.weights)
        moved = self.add([weights[i] for i in self.perturbed], perturbation)
        for i, weight in zip(self.perturbed, moved):
            weights[i] = weight
        return weights

    def _looks_back(self) -> bool:
        """Return whether gradients at w are needed after the second pass."""
        return (
            self.is_watched
            or self._loss_scale is not None
            or any(map(self.method.has_own, _SEE_BOTH))
        )

    def _loss(
        self,
        weights: Vector,
        state: list[Tensor],
        rows: Rows | None,
        filling: Any,
    ) -> tuple[Tensor, Seen]:
        if rows is None:
            return self.passes.loss_at(weights, state)
        return self.passes.loss_of_rows(weights, state, rows, filling)

    def _differentiate(
        self,
        loss: Callable[[Vector], tuple[Tensor, Seen]],
        weights: Vector,
        wanted: list[int],
    ) -> tuple[Tensor, Seen, Gradients]:
        def scaled(weights: Vector) -> tuple[Tensor, tuple[Tensor, Seen]]:
            value, seen = loss(weights)
            return _times(self._loss_scale, value), (value, seen)

        _, (value, seen), gradients = self.call(
            lambda: backend.value_and_gradients(scaled, weights, wanted)
        )
        found = {
            i: gradient
            for i, gradient in zip(wanted, gradients)
            if gradient is not None
        }
        return value, seen, found

    def _shared(self, vector: Vector) -> Vector:
        """Return what replicas that share a perturbation agree on."""
        return backend.mean_over_replicas(vector) if self._is_global else vector

    def _unscaled(self, gradient: Tensor) -> Tensor:
        if self._unit is None:
            return gradient
        return gradient / ops.cast(self._unit, gradient.dtype)


def domain(
    method: Method, everything: list[int], perturbed: list[int]
) -> list[int]:
    """Return the positions of the variables that the method sees."""
    return everything if method.has_own("combine") else perturbed


def _times(factor: Tensor | None, tensor: Tensor) -> Tensor:
    if factor is None:
        return tensor
    return tensor * ops.cast(factor, tensor.dtype)


def _chosen(entry: Any, positions: list[int]) -> Any:
    if isinstance(entry, list):
        return [entry[k] for k in positions]
    return entry


def _poisoned(gradients: Gradients, others: Gradients) -> Gradients:
    """Return gradients, one non-finite where any of the others is.

    An optimizer with dynamic loss scaling then skips the step.
    """
    zero = sum(
        ops.sum(ops.cast(backend.densify(g), "float32") * 0.0)
        for g in others.values()
    )
    first, gradient = next(iter(gradients.items()))
    one_or_nan = ops.cast(1.0 + zero, gradient.dtype)
    # Unlike a sum, a product with a scalar keeps a sparse gradient sparse.
    return {**gradients, first: ops.multiply(gradient, one_or_nan)}


_SEE_BOTH = ("combine", "correct", "next_state")
"""What a method does with the gradients at w and those at w + e."""
