"""What parts and steps give."""

from typing import NamedTuple

from keras_sam.types import Gradients
from keras_sam.types import State
from keras_sam.types import Tensor
from keras_sam.types import Vector


class Mean(NamedTuple):
    """What a step averages over the parts of a batch.

    Attributes:
        gradients: `Gradients` for the optimizer, with loss scaling.
        correction: `Gradients` to subtract past the optimizer; empty for none.
        method_state: What the method stores.
        rise: Scalar, how much higher the loss is at w + e; 0 for a part
            without a perturbation.
        is_sharp: Scalar, 1 if the part was perturbed, else 0.
    """

    gradients: Gradients
    correction: Gradients
    method_state: State
    rise: Tensor
    is_sharp: Tensor


class PartResult(NamedTuple):
    """What one part of a batch gives.

    Attributes:
        mean: `Mean`.
        state: Values of the state variables.
        logs: What `keras.Model` logs.
    """

    mean: Mean
    state: list[Tensor]
    logs: dict[str, Tensor]


class Inspection(NamedTuple):
    """What `verify` looks at.

    Attributes:
        loss: Scalar, the loss at w.
        rise: Scalar, how much higher it is at w + e.
        clean_gradients: `Gradients` at w.
        perturbation: e, for each variable that the method sees.
        perturbed_gradients: `Gradients` at w + e.
    """

    loss: Tensor
    rise: Tensor
    clean_gradients: Gradients
    perturbation: Vector
    perturbed_gradients: Gradients


class StepResult(NamedTuple):
    """What a step hands to the optimizer and to `fit`.

    Attributes:
        gradients: `Gradients`, scaled as the optimizer's `scale_loss` scales.
        correction: `Gradients` to subtract, times the learning rate, past the
            optimizer; empty for none.
        state: New values of `state_variables`.
        logs: What `keras.Model` logs, and `sharpness`.
    """

    gradients: Gradients
    correction: Gradients
    state: list[Tensor]
    logs: dict[str, Tensor]
