"""The functions of a `SAMModel` that run a step.

They are kept apart from those of a plain view of the same model, and that of
`fit` shows in its first call whether a `train_step` of the user's own takes
part.
"""

import warnings
from typing import Any

from keras_sam import backend


class _OwnFunction:
    """A function that runs a step of one view of a model; `None` until made.

    The plain view of the same model shares all attributes in `__dict__`, its
    own function among them, but takes other steps. So a `SAMModel` keeps its
    functions with its settings, and drops one that was made for another
    `compile` than the last, whichever view that was called on.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, model: Any, owner: type | None = None) -> Any:
        if model is None:
            return self
        made_for, function = self._functions_of(model).get(
            self._name, (None, None)
        )
        return function if made_for is backend.compile_config(model) else None

    def __set__(self, model: Any, function: Any) -> None:
        made_for = backend.compile_config(model)
        self._functions_of(model)[self._name] = made_for, function

    def _functions_of(self, model: Any) -> dict[str, tuple[Any, Any]]:
        # Keras sets the functions to `None` before the settings are there.
        state = getattr(model, "_sam", None)
        return {} if state is None else state.functions


class _TrainFunction(_OwnFunction):
    """That of `fit`: its first call warns of steps that are plain ones."""

    def __set__(self, model: Any, function: Any) -> None:
        keep = super().__set__
        if function is None or function is self.__get__(model):
            keep(model, function)
            return

        def first_call(*args: Any) -> Any:
            if model.train_function is not first_call:
                return function(*args)  # It is a part of another function.
            model._sam.is_step_reached = False
            result = function(*args)
            keep(model, function)
            if not (model._sam.is_step_reached or model.sam.is_plain):
                warnings.warn(
                    "The model has a `train_step` of its own that does not "
                    "call the one of `SAMModel`: its steps are plain ones. "
                    f"{ADVICE} Received: rho={model.sam.rho!r}, model={model}",
                    stacklevel=4,
                )
            return result

        keep(model, first_call)


ADVICE = (
    "Call `super().train_step` in it, or use "
    "`keras_sam.sharpness_aware_gradients` in a `keras.Model`."
)


class StepReached(BaseException):
    """Raised in place of a step; no `except Exception` on the way stops it.

    Args:
        data: What the step was given.
    """

    def __init__(self, data: Any) -> None:
        super().__init__()
        self.data = data


class OwnFunctions(backend.DiscardsSharedFunctions):
    """A base of models that share attributes, but not compiled functions."""

    _sam: Any
    train_step: Any

    train_function = _TrainFunction()
    test_function = _OwnFunction()
    predict_function = _OwnFunction()

    def _reach_step(self, data: Any) -> None:
        """Take note that the step of `SAMModel` is called.

        Raises:
            StepReached: If this is all that was to be found out.
        """
        self._sam.is_step_reached = True
        if self._sam.is_step_probed:
            raise StepReached(data)

    def _call_train_step(self, data: Any) -> None:
        """Call `train_step`, whoever has written it, on a batch."""
        self.train_step(data)
