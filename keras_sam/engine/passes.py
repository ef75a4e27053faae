"""One pass over a part of a batch, at the weights or near them."""

from collections.abc import Callable
from typing import Any

from keras import ops

from keras_sam import backend
from keras_sam.engine.gradients import MethodView
from keras_sam.engine.gradients import zeros_like
from keras_sam.engine.loss import Pass
from keras_sam.engine.results import Mean
from keras_sam.engine.results import PartResult
from keras_sam.methods.base import Method
from keras_sam.types import Batch
from keras_sam.types import Gradients
from keras_sam.types import State
from keras_sam.types import Tensor
from keras_sam.types import Vector


class Passes:
    """The passes that a step is made of, and a step of one.

    Args:
        loss: `TrainingLoss`, or anything with its `variables`, `run` and
            `update_metrics`.
        method: `Method`.
        roles: What each trainable variable is for.
        perturbed: The positions of those that are perturbed.
        weights: What the trainable variables read as.
        loss_scale: Scalar that the loss is multiplied by before it is
            differentiated, or `None`.
        call: Calls a function that does one pass.

    Attributes:
        view: `MethodView`.
        all_positions: The positions of all trainable variables.
    """

    def __init__(
        self,
        loss: Any,
        method: Method,
        roles: list[str],
        perturbed: list[int],
        weights: Vector,
        loss_scale: Tensor | None = None,
        call: Callable[[Callable[[], Any]], Any] = lambda pass_: pass_(),
    ) -> None:
        self.loss = loss
        self.method = method
        self.all_positions = list(range(len(roles)))
        # Keras divides the loss by the number of replicas.
        unit, num_replicas = loss_scale, backend.num_replicas()
        if num_replicas > 1:
            unit = (1.0 if loss_scale is None else loss_scale) / num_replicas
        self.view = MethodView(
            loss.variables, weights, method, roles, perturbed, unit
        )
        self.loss_scale = loss_scale
        self._weights = weights
        self._call = call

    def clean_pass(
        self,
        batch: Batch,
        state: list[Tensor],
        wanted: list[int],
        **options: Any,
    ) -> Pass:
        """Return the pass at w; its auxiliary result is the logs."""
        return self.logged_pass(self._weights, batch, state, wanted, **options)

    def logged_pass(
        self,
        weights: Vector,
        batch: Batch,
        state: list[Tensor],
        wanted: list[int],
        **options: Any,
    ) -> Pass:
        """Return a pass that updates metrics; auxiliary are the logs."""

        def run() -> Pass:
            logged = self.loss.run(
                batch, weights, state, wanted, self.loss_scale, **options
            )
            logs, following = self.loss.update_metrics(logged, batch)
            return logged._replace(auxiliary=logs, state=following)

        return self._call(run)

    def perturbed_pass(
        self,
        weights: Vector,
        batch: Batch,
        state: list[Tensor],
        leading: Batch | None,
        by_outputs: Gradients | None,
    ) -> Pass:
        """Return the pass at w + e; its loss is that of what `clean` saw."""
        options = {}
        if by_outputs is not None:
            options["objective"] = self.loss.objectives.linear(by_outputs)

        def run() -> Pass:
            perturbed = self.loss.run(
                *(batch, weights, state, self.all_positions, self.loss_scale),
                **options,
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

    def plain(
        self, batch: Batch, state: list[Tensor], method_state: State
    ) -> PartResult:
        """Return the result of a step without a second pass."""
        clean = self.clean_pass(batch, state, self.all_positions)
        return self.plain_result(clean, method_state)

    def plain_result(self, clean: Pass, method_state: State) -> PartResult:
        """Return the result of a step whose only pass was `clean`."""
        g = self.view.for_method(clean.gradients)
        following = method_state
        if self.method.has_state:
            following = backend.select(
                self.view.has_length(g),
                lambda: self.method.next_state(g, None, method_state),
                lambda: method_state,
            )
        zero = ops.zeros((), "float32")
        correction = zeros_like(self.correction(g, g))
        backend.write_unlisted(clean.unlisted)
        return PartResult(
            Mean(clean.gradients, correction, following, zero, zero),
            clean.state,
            clean.auxiliary,
        )

    def correction(self, g: Vector, h: Vector) -> Gradients:
        """Return what the method subtracts past the optimizer."""
        correction = self.method.correct(g, h)
        return [] if correction is None else self.view.by_position(correction)
