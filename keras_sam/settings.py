"""The arguments of `SAMModel`, checked."""

import dataclasses
import numbers
from collections.abc import Callable
from typing import Any

import keras

from keras_sam import methods
from keras_sam import schedules
from keras_sam.engine import roles
from keras_sam.types import Tensor

_PERTURBATIONS = ("replica", "global")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """How a model perturbs its weights. See `SAMModel` for the arguments."""

    method: Any = "sam"
    rho: Any = None
    perturb: str | Callable[[keras.Variable], bool] = "all"
    perturbation: str | int = "replica"
    num_microbatches: int = 1
    ascent_fraction: float = 1.0

    def __post_init__(self) -> None:
        set_field = object.__setattr__
        set_field(self, "method", methods.get(self.method))
        set_field(self, "rho", _check_rho(self.rho, self.method.default_rho))
        set_field(self, "perturb", roles.check(_deserialized(self.perturb)))
        _check_perturbation(self.perturbation)
        _check_num_microbatches(self.num_microbatches)
        _check_ascent_fraction(self.ascent_fraction)
        set_field(self, "num_microbatches", int(self.num_microbatches))
        set_field(self, "ascent_fraction", float(self.ascent_fraction))
        if _is_integer(self.perturbation):
            set_field(self, "perturbation", int(self.perturbation))

    def rho_at(self, optimizer: keras.Optimizer) -> Tensor:
        """Return the radius of the coming step: a float if it is constant."""
        return schedules.rho_at(self.rho, optimizer)

    @property
    def is_plain(self) -> bool:
        """Whether no step has a second pass."""
        return isinstance(self.rho, float) and self.rho == 0

    @property
    def is_conditional(self) -> bool:
        """Whether the iteration and the radius decide on the second pass."""
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

    def get_config(self) -> dict[str, Any]:
        """Return the arguments, serialized."""
        return {
            field.name: keras.saving.serialize_keras_object(
                getattr(self, field.name)
            )
            for field in dataclasses.fields(self)
        }


def _deserialized(value: Any) -> Any:
    if isinstance(value, dict):
        return keras.saving.deserialize_keras_object(value)
    return value


def _check_rho(rho: Any, default: float) -> Any:
    rho = default if rho is None else _deserialized(rho)
    if schedules.is_schedule(rho):
        return rho
    return schedules.nonnegative("rho", rho)


def _check_perturbation(perturbation: Any) -> None:
    is_group_size = _is_integer(perturbation) and perturbation >= 1
    if perturbation not in _PERTURBATIONS and not is_group_size:
        raise ValueError(
            '`perturbation` must be "replica", "global", or an integer >= 1. '
            f"Received: perturbation={perturbation!r}"
        )


def _check_num_microbatches(num_microbatches: Any) -> None:
    if not _is_integer(num_microbatches) or num_microbatches < 1:
        raise ValueError(
            "`num_microbatches` must be an integer >= 1. "
            f"Received: num_microbatches={num_microbatches!r}"
        )


def _check_ascent_fraction(ascent_fraction: Any) -> None:
    is_number = isinstance(ascent_fraction, numbers.Real)
    if not is_number or not 0 < ascent_fraction <= 1:
        raise ValueError(
            "`ascent_fraction` must be a number in (0, 1]. "
            f"Received: ascent_fraction={ascent_fraction!r}"
        )


def _is_integer(value: Any) -> bool:
    is_number = isinstance(value, numbers.Integral)
    return is_number and not isinstance(value, bool)
