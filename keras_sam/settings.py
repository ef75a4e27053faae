"""The arguments of `SAMModel`, checked."""

import dataclasses
from collections.abc import Callable
from typing import Any
from typing import TypedDict

import keras

from keras_sam import methods
from keras_sam import schedules
from keras_sam import validation
from keras_sam.engine import roles
from keras_sam.types import Tensor

_PERTURBATIONS = ("replica", "global")


class SettingsArguments(TypedDict, total=False):
    """The types of the arguments, for functions that pass them on by name."""

    method: str | methods.Method
    rho: float | keras.optimizers.schedules.LearningRateSchedule | None
    perturb: str | Callable[[keras.Variable], bool]
    perturbation: str | int
    num_microbatches: int
    ascent_fraction: float
    ascent_loss: Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """The checked arguments of a `SAMModel`, which documents them."""

    method: Any = "sam"
    rho: Any = None
    perturb: str | Callable[[keras.Variable], bool] = "all"
    perturbation: str | int = "replica"
    num_microbatches: int = 1
    ascent_fraction: float = 1.0
    ascent_loss: Any = None

    def __post_init__(self) -> None:
        method = methods.get(self.method)
        validation.set_fields(
            self,
            method=method,
            rho=schedules.number_or_schedule(
                "rho", method.default_rho if self.rho is None else self.rho
            ),
            perturb=roles.check(_deserialized(self.perturb)),
            perturbation=_check_perturbation(self.perturbation),
            num_microbatches=validation.integer(
                "num_microbatches", self.num_microbatches
            ),
            ascent_fraction=validation.number(
                "ascent_fraction", self.ascent_fraction, "(0, 1]"
            ),
            ascent_loss=_check_ascent_loss(
                _deserialized(self.ascent_loss), method
            ),
        )
        if method.holds_outputs and self.ascent_fraction < 1:
            raise ValueError(
                "`ascent_fraction` must be 1 for a method that needs the "
                "predictions for all examples in its first pass. Received: "
                f"ascent_fraction={self.ascent_fraction}, method={method!r}"
            )

    def rho_at(self, optimizer: keras.Optimizer) -> Tensor:
        """Return the radius of the coming step: a float if it is constant."""
        return schedules.rho_at(self.rho, optimizer)

    @property
    def is_plain(self) -> bool:
        """Whether no step has a second pass."""
        return isinstance(self.rho, float) and self.rho == 0

    @property
    def is_conditional(self) -> bool:
        """Whether radius and iteration decide before the first pass."""
        method = self.method
        return not isinstance(self.rho, float) or (
            method.decides and not method.needs_statistic
        )

    @property
    def has_control_flow(self) -> bool:
        """Whether a step branches or loops at run time."""
        return not self.is_plain and (
            self.is_conditional
            or self.method.decides
            or self.num_microbatches > 1
        )

    @property
    def has_parts(self) -> bool:
        """Whether a pass may run on some of the examples of a batch."""
        return self.num_microbatches > 1 or self.ascent_fraction < 1

    def get_config(self) -> dict[str, Any]:
        """Return the arguments, serialized."""
        return {
            field.name: keras.saving.serialize_keras_object(
                getattr(self, field.name)
            )
            for field in dataclasses.fields(self)
        }


def _deserialized(nest: Any) -> Any:
    """Return a nest with objects in the place of their configurations."""
    return keras.tree.traverse(_object, nest)


def _object(node: Any) -> Any:
    """Return what a configuration is of; `None` for another node."""
    if isinstance(node, dict) and {"class_name", "config"} <= node.keys():
        return keras.saving.deserialize_keras_object(node)
    return None


def _check_perturbation(perturbation: Any) -> str | int:
    if perturbation in _PERTURBATIONS:
        return perturbation
    return validation.integer(
        "perturbation", perturbation, alternative=', "replica" or "global"'
    )


def _check_ascent_loss(ascent_loss: Any, method: methods.Method) -> Any:
    """Check the loss for the perturbation.

    Returns:
        The same loss.

    Raises:
        ValueError: If Keras has no such loss, or the method cannot use one.
    """
    for loss in keras.tree.flatten(ascent_loss):
        try:
            keras.losses.get(loss)
        except ValueError as error:
            raise ValueError(
                "`ascent_loss` must be what `compile` takes as `loss`. "
                f"Received: ascent_loss={ascent_loss!r}"
            ) from error
    uses_one = not (method.combines or method.corrects or method.decides)
    if ascent_loss is not None and not (uses_one and method.needs_gradients):
        raise ValueError(
            "`ascent_loss` must be `None` for a method that uses the gradient "
            "of the training loss at w, or none. Received: "
            f"ascent_loss={ascent_loss!r}, method={method!r}"
        )
    return ascent_loss
