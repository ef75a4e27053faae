"""Both passes over one part of a batch."""

import math
from typing import Any

from keras import ops

from keras_sam import backend
from keras_sam import vectors
from keras_sam.engine.examples import leading_examples
from keras_sam.engine.gradients import replaced_if
from keras_sam.engine.gradients import zeros_like
from keras_sam.engine.loss import Pass
from keras_sam.engine.passes import Passes
from keras_sam.engine.results import Inspection
from keras_sam.engine.results import Mean
from keras_sam.engine.results import PartResult
from keras_sam.types import Batch
from keras_sam.types import Gradients
from keras_sam.types import State
from keras_sam.types import Tensor
from keras_sam.types import Vector


class TwoPasses(Passes):
    """The passes of a sharp step, over whatever part of a batch.

    Args:
        *passes: The arguments of `Passes`.
        ascent_fraction: Number in (0, 1].
        is_global: Whether replicas share one perturbation.
        keep_gradients: Whether `Inspection` has the gradients at w and e.
        ascent: Options of the pass that the perturbation is computed from;
            see `TrainingLoss.run`.
    """

    def __init__(
        self,
        *passes: Any,
        ascent_fraction: float = 1.0,
        is_global: bool = False,
        keep_gradients: bool = False,
        ascent: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(*passes)
        self._ascent = ascent or {}
        self._ascent_fraction = ascent_fraction
        self._is_global = is_global
        self._keep_gradients = keep_gradients
        method = self.method
        self._is_compared = (
            method.combines or method.corrects or method.has_state
        )

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
            clean: What `ascent_pass` returned for the same batch and state,
                if it has been called.

        Returns:
            `PartResult` and `Inspection`.
        """
        view = self.view
        if not self.method.needs_gradients:
            return self._perturbed_pass_only(batch, state, method_state, rho)
        leading = leading_examples(batch, self._ascent_fraction)
        if clean is None:
            clean = self.ascent_pass(leading or batch, state, view.wanted)
        g = self._shared(view.for_method(clean.gradients))
        has_length = view.has_length(g)
        is_finite_at_w = None
        if self.loss_scale is not None:
            is_finite_at_w = view.is_finite(clean.gradients)

        e = self._perturb(g, rho, method_state)
        weights = view.moved(e)
        reached = view.reached(clean.gradients)
        overwriting = view.overwriting(clean.gradients)
        if not self._keep_gradients:
            # An eager step has the second pass use the memory that this frees.
            e, clean = [], clean._replace(gradients=[])
            g = g if self._is_compared else []
        perturbed = self.perturbed_pass(
            weights, batch, state, leading, clean.by_outputs
        )
        view.check_replaced(reached, perturbed.gradients)
        h = self._shared_if_compared(perturbed.gradients)

        is_finite = view.is_finite(perturbed.gradients)
        is_sharp = ops.logical_and(has_length, is_finite)
        u = self._combined(g, h, perturbed.gradients, method_state, is_sharp)
        u = _guarded(u, has_length, is_finite, is_finite_at_w)
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

    def ascent_pass(
        self, batch: Batch, state: list[Tensor], wanted: list[int]
    ) -> Pass:
        """Return the clean pass that the perturbation is computed from."""
        return self.clean_pass(batch, state, wanted, **self._ascent)

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
        only = self.logged_pass(
            self.view.moved(e), batch, state, self.all_positions
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
        correction, following = self.correction(g, h), method_state
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

    def _shared_if_compared(self, gradients: Gradients) -> Vector:
        """Return what a method that compares h with g sees of it."""
        if not self._is_compared:
            return []
        return self._shared(self.view.for_method(gradients))

    def _shared(self, vector: Vector) -> Vector:
        """Return what replicas that share a perturbation agree on."""
        return backend.mean_over_replicas(vector) if self._is_global else vector


def _guarded(
    u: Gradients,
    has_length: Tensor,
    is_finite: Tensor,
    is_finite_at_w: Tensor | None,
) -> Gradients:
    """Return u, without what the second pass alone has made infinite.

    With loss scaling, which makes an optimizer skip what is not finite, it has
    to see that of either pass.
    """
    if is_finite_at_w is None:
        is_lost = ops.logical_and(has_length, ops.logical_not(is_finite))
        return replaced_if(is_lost, 0.0, u)
    return replaced_if(ops.logical_not(is_finite_at_w), math.nan, u)
