"""`verify`: a report on the passes of one sharpness-aware step."""

import dataclasses
import math
from typing import Any
from typing import ClassVar

import numpy as np
from keras import ops

from keras_sam import backend
from keras_sam import vectors
from keras_sam.diagnosis.own_step import passed_on
from keras_sam.display import Displayed
from keras_sam.engine import roles
from keras_sam.engine.examples import leading_examples
from keras_sam.engine.loss import state_variables
from keras_sam.engine.results import Inspection
from keras_sam.engine.step import Step
from keras_sam.sam_model import SAMModel
from keras_sam.sharpness.data import batches
from keras_sam.types import Batch
from keras_sam.types import Vector


@dataclasses.dataclass(frozen=True)
class Verification(Displayed):
    """A report on one step. Prints as a table.

    `keras_sam.verify` returns it. `plot` draws it with
    `keras_sam.plots.verification`, `save` writes it as JSON, and a notebook
    displays tables and picture.

    Attributes:
        rho: The radius of the step.
        loss: The training loss at w.
        perturbed_loss: The training loss at w + e.
        perturbation_norm: The Euclidean norm of e over all weights.
        relative_sizes: For each perturbed variable, by path, the norm of e
            divided by that of the weights (infinite for weights of zero).
        angle: Degrees between the gradients at w and at w + e, over the
            perturbed variables. With `ascent_loss`, that at w is of this loss.
            `nan` for a method with one pass.
        num_perturbed: The number of perturbed weights.
        num_weights: The number of trainable weights.
        left_after_rounding: The fraction of e that remains in w + e:
            `(((w + e) - w) . e) / ||e||^2`. 1 up to rounding, except for
            weights in float16 or bfloat16.
        noise: The absolute difference of two evaluations of the loss at w.
            More than rounding if layers draw random numbers that are not
            Keras' (`tf.random`, `random`), which no pass can repeat: then
            `sharpness` is noise.
        guessed_roles: The roles of variables that are guessed from their
            shape, by path, because no name distinguishes kernels from biases.
            `perturb` by role and ASAM depend on them.
    """

    rho: float
    loss: float
    perturbed_loss: float
    perturbation_norm: float
    relative_sizes: dict[str, float]
    angle: float
    num_perturbed: int
    num_weights: int
    left_after_rounding: float = 1.0
    noise: float = 0.0
    guessed_roles: dict[str, str] = dataclasses.field(default_factory=dict)

    measure: ClassVar[str] = "verification"

    @property
    def rise(self) -> float:
        """L(w + e) - L(w)."""
        return self.perturbed_loss - self.loss

    def __str__(self) -> str:
        relative = self.rise / abs(self.loss) if self.loss else math.inf
        lines = [
            f"rho                    {self.rho:.4g}",
            f"perturbed weights      {self.num_perturbed} of "
            f"{self.num_weights}",
            f"loss at w              {self.loss:.6g}",
            f"loss at w + e          {self.perturbed_loss:.6g} "
            f"({relative:+.2%})",
            f"norm of e              {self.perturbation_norm:.4g}",
            f"angle between g and h  {self.angle:.2f} degrees",
            *self._doubts(),
            "norm of e / norm of w  by variable:",
        ]
        width = max(len(path) for path in self.relative_sizes)
        lines += [
            f"  {path:<{width}}  {size:.3g}"
            for path, size in self.relative_sizes.items()
        ]
        if self.guessed_roles:
            lines.append("roles guessed from shapes:")
        lines += [f"  {path}: {r}" for path, r in self.guessed_roles.items()]
        return "\n".join(lines)

    def _doubts(self) -> list[str]:
        lines = []
        if abs(self.left_after_rounding - 1) > _MUCH_ROUNDING:
            lines.append(
                f"left of e in w + e     {self.left_after_rounding:.0%}"
            )
        if self.noise > _SAME_LOSS * abs(self.loss):
            lines.append(
                f"the loss at w again    differs by {self.noise:.3g}: layers "
                "draw random numbers outside Keras"
            )
        return lines


_MUCH_ROUNDING = 0.01
"""With weights in float32, `left_after_rounding` is closer to 1 than this."""

_SAME_LOSS = 1e-5
"""Two sums of the same thousands of float32 numbers are closer than this."""


def verify(
    model: Any, x: Any, y: Any = None, sample_weight: Any = None
) -> Verification:
    """Compute the passes of one step on a batch, and report on them.

    Nothing is trained: weights, statistics, seeds, metrics and optimizer are
    not changed. The batch counts as one (micro-)batch. A custom `train_step`
    is applied to it up to its call of `super().train_step`.

    Args:
        model: A compiled `SAMModel`.
        x: As for `fit`: inputs of shape `(batch_size, ...)`, or a nest of
            them; or an iterable of batches, of which the first is used.
        y: Targets of shape `(batch_size, ...)`, or a nest of them.
        sample_weight: Weights of shape `(batch_size,)`, or `None`.

    Returns:
        `Verification`.

    Example:
    >>> inputs = keras.Input((2,))
    >>> layer = keras.layers.Dense(1, kernel_initializer="ones", name="layer")
    >>> model = keras_sam.SAMModel(inputs, layer(inputs))
    >>> model.compile("sgd", "mse")
    >>> x, y = np.array([[0.6, 0.8]]), np.zeros((1, 1))
    >>> print(keras_sam.verify(model, x, y))
    rho                    0.05
    perturbed weights      3 of 3
    loss at w              1.96
    loss at w + e          2.16299 (+10.36%)
    norm of e              0.05
    angle between g and h  0.00 degrees
    norm of e / norm of w  by variable:
      layer/kernel  0.025
      layer/bias    inf

    Raises:
        TypeError: If `model` is not a `SAMModel`.
        ValueError: If `model` is not compiled, or if the step would not differ
            from a plain one; with the reason.
    """
    batch = as_batch(model, x, y, sample_weight)
    rho = float(ops.convert_to_numpy(model.sam.rho_at(model.optimizer)))
    iteration = int(model.optimizer.iterations)
    if not rho > 0:
        raise ValueError(
            f"`rho` is {rho:g} at iteration {iteration}, so that the step is a "
            f"plain one. Received: rho={model.sam.rho!r}"
        )
    batch = passed_on(model, batch)
    state = [backend.read(v) for v in state_variables(model)]
    step = Step(model, batch)
    inspection = step.inspect(state, rho)
    check_effect(model, inspection)
    # The loss at w once more, on the examples and at the weights of the first
    # pass, which draws the same numbers of Keras' generators.
    if model.sam.method.needs_gradients:
        batch = leading_examples(batch, model.sam.ascent_fraction) or batch
    again = step.two_passes.clean_pass(batch, state, [])
    noise = abs(float(again.loss) - float(inspection.loss))
    return _summary(model, step, inspection, rho, noise)


def as_batch(model: Any, x: Any, y: Any, sample_weight: Any) -> Batch:
    """Return the first batch that `fit` would make; check and build the model.

    Args:
        model: A compiled `SAMModel`.
        x: Inputs.
        y: Targets.
        sample_weight: Weights.

    Returns:
        `Batch`.

    Raises:
        TypeError: If `model` is not a `SAMModel`.
        ValueError: If `model` is not compiled.
    """
    if not isinstance(model, SAMModel):
        raise TypeError(
            "`model` must be a `SAMModel`: `SAMModel.from_model` makes one. "
            f"Received: model={model!r} (of type {type(model)})"
        )
    if not model.compiled or model.optimizer is None:
        raise ValueError(
            "`model` must be compiled with an optimizer: call "
            f"`model.compile()` first. Received: model={model!r}"
        )
    [(batch, _)] = batches(model, x, y, sample_weight, _ALL, limit=1)
    backend.build(model, tuple(batch))
    model.build_method_state()
    return batch


_ALL = 2**31 - 1
"""A size of batches for which no array is split."""


def check_effect(model: SAMModel, inspection: Inspection) -> None:
    """Check that the perturbation has an effect.

    Raises:
        ValueError: With the reason, if it has none.
    """
    clean = [g for g in inspection.clean_gradients if g is not None]
    if model.sam.method.needs_gradients and not np.isfinite(_norm(clean)):
        raise ValueError(
            "The gradient at w is not finite, so that no step can be made. "
            f"Received: a gradient of norm {_norm(clean)}"
        )
    if _norm(inspection.perturbation) == 0:
        raise ValueError(
            "SAM has no effect: the perturbation is zero, because the loss "
            "does not depend on the perturbed variables on this batch, or its "
            "gradient (for a method with momentum: its state) is zero. "
            f"Received: perturb={model.sam.perturb!r}"
        )
    relative = relative_size(model, inspection)
    if relative < np.finfo("float32").eps:
        raise ValueError(
            "SAM has no effect: the perturbation is lost in the rounding of "
            f"the weights. Received: rho={model.sam.rho!r}, a perturbation of "
            f"{relative:.1e} times the norm of the weights"
        )


def relative_size(model: SAMModel, inspection: Inspection) -> float:
    """Return the norm of e divided by that of the perturbed weights."""
    _, perturbed = roles.of_sam_model(model)
    weights = [model.trainable_variables[i] for i in perturbed]
    return _quotient(_norm(inspection.perturbation), _flat(weights))


def _summary(
    model: SAMModel,
    step: Step,
    inspection: Inspection,
    rho: float,
    noise: float,
) -> Verification:
    weights = model.trainable_variables
    _, perturbed = roles.of_sam_model(model)
    e = dict(zip(step.two_passes.view.seen, inspection.perturbation))
    loss = float(inspection.loss)
    return Verification(
        rho=rho,
        loss=loss,
        perturbed_loss=loss + float(inspection.rise),
        perturbation_norm=_norm(inspection.perturbation),
        relative_sizes={
            weights[i].path: _quotient(_norm([e[i]]), _flat([weights[i]]))
            for i in perturbed
        },
        angle=_angle(model, step, inspection),
        num_perturbed=sum(math.prod(weights[i].shape) for i in perturbed),
        num_weights=sum(math.prod(v.shape) for v in weights),
        left_after_rounding=_left_after_rounding(
            [weights[i] for i in perturbed], [e[i] for i in perturbed]
        ),
        noise=noise,
        guessed_roles=roles.guessed(model),
    )


def _left_after_rounding(weights: list[Any], perturbation: Vector) -> float:
    # The coefficient of e in the projection of (w + e) - w, in the dtype of
    # the weights, onto e: it is 1 if the sum is exact and 0 if e is lost.
    product, square = 0.0, 0.0
    for weight, tensor in zip(weights, perturbation):
        e = ops.cast(tensor, weight.dtype)
        left = _flat([weight.value + e]) - _flat([weight.value])
        product += float(left @ _flat([e]))
        square += float(_flat([e]) @ _flat([e]))
    return product / square


def _angle(model: SAMModel, step: Step, inspection: Inspection) -> float:
    if not model.sam.method.needs_gradients:
        return math.nan
    first, second = (
        _unit(model, step, step.two_passes.view.for_method(gradients))
        for gradients in (
            inspection.clean_gradients,
            inspection.perturbed_gradients,
        )
    )
    # For unit vectors, |a - b| = 2 sin(angle / 2) and |a + b| = 2 cos(angle /
    # 2). Unlike the arc cosine of a . b, whose derivative at 1 is infinite,
    # this is exact for small angles; `nan` for a zero vector.
    half = math.atan2(
        np.linalg.norm(first - second), np.linalg.norm(first + second)
    )
    return math.degrees(2 * half)


def _unit(model: SAMModel, step: Step, gradients: Vector) -> Any:
    """Return the direction over the perturbed weights, a float64 vector."""
    _, perturbed = roles.of_sam_model(model)
    pairs = zip(step.two_passes.view.seen, gradients)
    vector = _flat([gradient for i, gradient in pairs if i in perturbed])
    norm = np.linalg.norm(vector)
    return vector / norm if norm else np.full_like(vector, np.nan)


def _norm(vector: Vector) -> float:
    return float(vectors.norm(list(vector)))


def _flat(vector: Vector) -> Any:
    """Return tensors as one float64 vector."""
    arrays = [np.asarray(ops.convert_to_numpy(t), "float64") for t in vector]
    return np.concatenate([array.ravel() for array in arrays])


def _quotient(size: float, weight: Any) -> float:
    norm = float(np.linalg.norm(weight))
    return size / norm if norm else math.inf
