"""Both passes over one part of a batch."""

import math
from collections.abc import Callable
from typing import Any

from keras import ops

from keras_sam import backend
from keras_sam import vectors
from keras_sam.engine.examples import leading_examples
from keras_sam.engine.gradients import MethodView
from keras_sam.engine.gradients import zeros_like
from keras_sam.engine.loss import Pass
from keras_sam.engine.results import Inspection
from keras_sam.engine.results import Mean
from keras_sam.engine.results import PartResult
from keras_sam.methods.base import Method
from keras_sam.types import Batch
from keras_sam.types import Gradients
from keras_sam.types import State
from keras_sam.types import Tensor
from keras_sam.types import Vector


class TwoPasses:
    """The passes of a step, over whatever part of a batch.

    Args:
        loss: `TrainingLoss`, or anything with its `variables`, `run` and
            `update_metrics`.
        method: `Method`.
        roles: What each trainable variable is for.
        perturbed: The positions of those that are perturbed.
        weights: What the trainable variables read as.
        loss_scale: Scalar that the loss is multiplied by before it is
            differentiated, or `None`.
        ascent_fraction: Number in (0, 1].
        is_global: Whether replicas share one perturbation.
        call: Calls a function that does one pass.
        keep_gradients: Whether `Inspection` has the gradients at w and e.

    Attributes:
        view: `MethodView`.
        everything: The positions of all trainable variables.
    """

    def __init__(
        self,
        loss: Any,
        method: Method,
        roles: list[str],
        perturbed: list[int],
        weights: Vector,
        loss_scale: Tensor | None = None,
        ascent_fraction: float = 1.0,
        is_global: bool = False,
        call: Callable[[Callable[[], Any]], Any] = lambda pass_: pass_(),
        keep_gradients: bool = False,
    ) -> None:
        self.loss = loss
        self.method = method
        self.everything = list(range(len(roles)))
        # Keras divides the loss by the number of replicas.
        unit, num_replicas = loss_scale, backend.num_replicas()
        if num_replicas > 1:
            unit = (1.0 if loss_scale is None else loss_scale) / num_replicas
        self.view = MethodView(
            loss.variables, weights, method, roles, perturbed, unit
        )
        self._weights = weights
        self._loss_scale = loss_scale
        self._ascent_fraction = ascent_fraction
        self._is_global = is_global
        self._keep_gradients = keep_gradients
        self._is_compared = (
            method.combines or method.corrects or method.has_state
        )
        self._call = call

    def __call__(
        self,
        batch: Batch,
        state: list[Tensor],
        method_state: State,
        rho: Tensor,
        clean: Pass | None = None,
    ) -> tuple[PartResult, Inspection]:
        """Do both passes; only one if the method needs no gradients at w.

        Args:
            batch: `Batch`.
            state: Values of the state variables, from which both passes start.
            method_state: What the method stores.
            rho: Scalar > 0.
            clean: What `clean_pass` returned for the same batch and state, if
                it has been called.

        Returns:
            `PartResult` and `Inspection`.
        """
        method = self.method
        if not method.needs_gradients:
            return self._perturbed_pass_only(batch, state, method_state, rho)
        leading = leading_examples(batch, self._ascent_fraction)
        if clean is None:
            clean = self.clean_pass(leading or batch, state, self.view.wanted)
        g = self._shared(self.view.for_method(clean.gradients))
        has_length = self.view.has_length(g)
        is_finite_at_w = None
        if self._loss_scale is not None:
            is_finite_at_w = self.view.is_finite(clean.gradients)

        e = self._perturb(g, rho, method_state)
        weights = self.view.moved(e)
        reached = [t is not None for t in clean.gradients]
        overwriting = self.view.overwriting(clean.gradients)
        if not self._keep_gradients:
            # An eager step has the second pass use the memory that this frees.
            e, clean = [], clean._replace(gradients=[])
            g = g if self._is_compared else []
        perturbed = self._pass_at(weights, batch, state, leading)
        self._check_reached(reached, perturbed.gradients)
        h = self._shared_if_compared(perturbed.gradients)

        is_finite = self.view.is_finite(perturbed.gradients)
        is_sharp = ops.logical_and(has_length, is_finite)
        u = self._combined(g, h, perturbed.gradients, method_state, is_sharp)
        u = self._guarded(u, has_length, is_finite, is_finite_at_w)
        u = [overwriting.get(i, t) for i, t in enumerate(u)]

        rise = backend.unscale_loss_for_distribution(
            perturbed.loss - clean.loss
        )
        mean = self._mean(g, h, u, method_state, rise, has_length, is_sharp)
        backend.write_unlisted(clean.unlisted)
        return (
            PartResult(mean, clean.state, clean.auxiliary),
            Inspection(
                clean.loss, rise, clean.gradients, e, perturbed.gradients
            ),
        )

    def clean_pass(
        self, batch: Batch, state: list[Tensor], wanted: list[int]
    ) -> Pass:
        """Return the pass at w; its auxiliary result is the logs."""
        return self._logged_pass(self._weights, batch, state, wanted)

    def _logged_pass(
        self,
        weights: Vector,
        batch: Batch,
        state: list[Tensor],
        wanted: list[int],
    ) -> Pass:
        """Return a pass that updates metrics; auxiliary are the logs."""

        def run() -> Pass:
            logged = self.loss.run(
                batch, weights, state, wanted, self._loss_scale
            )
            logs, following = self.loss.update_metrics(logged, batch)
            return logged._replace(auxiliary=logs, state=following)

        return self._call(run)

    def plain(
        self, batch: Batch, state: list[Tensor], method_state: State
    ) -> PartResult:
        """Return what a step without a second pass gives."""
        clean = self.clean_pass(batch, state, self.everything)
        return self.plain_result(clean, method_state)

    def plain_result(self, clean: Pass, method_state: State) -> PartResult:
        """Return what a step gives whose only pass was `clean`."""
        g = self.view.for_method(clean.gradients)
        following = method_state
        if self.method.has_state:
            following = backend.select(
                self.view.has_length(g),
                lambda: self.method.next_state(g, None, method_state),
                lambda: method_state,
            )
        zero = ops.zeros((), "float32")
        correction = zeros_like(self._correction(g, g))
        backend.write_unlisted(clean.unlisted)
        return PartResult(
            Mean(clean.gradients, correction, following, zero, zero),
            clean.state,
            clean.auxiliary,
        )

    def _perturbed_pass_only(
        self,
        batch: Batch,
        state: list[Tensor],
        method_state: State,
        rho: Tensor,
    ) -> tuple[PartResult, Inspection]:
        """Do the one pass, at w + e.

        Without the loss at w, the rise is its first-order estimate `h . e`.

        Returns:
            As `__call__`.
        """
        e = self._perturb(self.view.zeros(), rho, method_state)
        only = self._logged_pass(
            self.view.moved(e), batch, state, self.everything
        )
        h = self._shared(self.view.for_method(only.gradients))
        is_sharp = self.view.has_length(h)
        u = self._combined(h, h, only.gradients, method_state, is_sharp)
        rise = vectors.dot(h, e)
        mean = self._mean(h, h, u, method_state, rise, is_sharp, is_sharp)
        backend.write_unlisted(only.unlisted)
        return (
            PartResult(mean, only.state, only.auxiliary),
            Inspection(only.loss, rise, only.gradients, e, only.gradients),
        )

    def _pass_at(
        self,
        weights: Vector,
        batch: Batch,
        state: list[Tensor],
        leading: Batch | None,
    ) -> Pass:
        """Return the pass at w + e; its loss is that of what `clean` saw."""

        def run() -> Pass:
            perturbed = self.loss.run(
                batch, weights, state, self.everything, self._loss_scale
            )
            loss = perturbed.loss
            if leading is not None:
                loss = self.loss.of_leading(
                    leading, batch, perturbed.auxiliary, weights, state
                )
            # Whatever the pass has written is thrown away.
            return perturbed._replace(
                loss=loss, auxiliary=None, state=[], unlisted=[]
            )

        return self._call(run)

    def _perturb(self, g: Vector, rho: Tensor, method_state: State) -> Vector:
        masked, weights = self.view.masked, self.view.weights
        return masked(
            self.method.perturb(masked(g), weights, rho, method_state)
        )

    def _combined(
        self,
        g: Vector,
        h: Vector,
        gradients: Gradients,
        method_state: State,
        is_sharp: Tensor,
    ) -> Gradients:
        """Return u; without a perturbation h is the plain gradient."""
        if not self.method.combines:
            return gradients
        combined = self.method.combine(g, h, method_state)
        dense = self.view.dense(gradients)
        return backend.select(
            is_sharp,
            lambda: self.view.for_optimizer(combined, dense),
            lambda: dense,
        )

    def _guarded(
        self,
        u: Gradients,
        has_length: Tensor,
        is_finite: Tensor,
        is_finite_at_w: Tensor | None,
    ) -> Gradients:
        """Return u, without what the second pass alone has made infinite.

        With loss scaling, which makes an optimizer skip what is not finite, it
        has to see that of either pass.
        """
        if is_finite_at_w is None:
            is_lost = ops.logical_and(has_length, ops.logical_not(is_finite))
            return self._unless(is_lost, 0.0, u)
        return self._unless(ops.logical_not(is_finite_at_w), math.nan, u)

    def _unless(
        self, condition: Tensor, value: float, gradients: Gradients
    ) -> Gradients:
        """Return gradients, or some of the same value if a condition holds."""
        return backend.select(
            condition,
            lambda: [
                None if t is None else backend.filled_like(t, value)
                for t in gradients
            ],
            lambda: gradients,
        )

    def _mean(
        self,
        g: Vector,
        h: Vector,
        u: Gradients,
        method_state: State,
        rise: Tensor,
        has_length: Tensor,
        is_sharp: Tensor,
    ) -> Mean:
        """Return what a part gives: of a plain step, if it was none other."""
        correction, following = self._correction(g, h), method_state
        if self.method.has_state:
            following = self.method.next_state(g, h, method_state)
        if self.method.has_state or self.method.corrects:
            correction, following = backend.select(
                is_sharp,
                lambda: (correction, following),
                lambda: (zeros_like(correction), method_state),
            )
        # A step that loss scaling skips for h alone still shows its rise.
        rise = ops.cast(rise, "float32")
        counts = ops.logical_and(has_length, ops.isfinite(rise))
        return Mean(
            u,
            correction,
            following,
            ops.where(counts, rise, 0.0),
            ops.cast(counts, "float32"),
        )

    def _correction(self, g: Vector, h: Vector) -> Gradients:
        correction = self.method.correct(g, h)
        return [] if correction is None else self.view.by_position(correction)

    def _check_reached(self, reached: list[bool], gradients: Gradients) -> None:
        """Check that the second pass read w + e, and not w.

        Raises:
            ValueError: Naming a variable of which it did not.
        """
        for i in self.view.perturbed:
            if reached[i] and gradients[i] is None:
                path = self.loss.variables[i].path
                raise ValueError(
                    "The second pass cannot replace the value of a weight: "
                    "what reads it was traced before (`@tf.function`, a "
                    "loaded model), reads it inside a `keras.StatelessScope` "
                    "of its own, or is no part of Keras. Remove the decorator "
                    "or scope, or leave the weight unperturbed with a "
                    f"callable `perturb`. Received: {path}"
                )

    def _shared_if_compared(self, gradients: Gradients) -> Vector:
        """Return what a method that compares h with g sees of it."""
        if not self._is_compared:
            return []
        return self._shared(self.view.for_method(gradients))

    def _shared(self, vector: Vector) -> Vector:
        """Return what replicas that share a perturbation agree on."""
        return backend.mean_over_replicas(vector) if self._is_global else vector
