"""The functions of a `SAMModel` that run a step.

They are kept apart from those of a plain view of the same model, and that of
`fit` shows in its first call whether a `train_step` of the user's own takes
part.
"""

import warnings
from collections.abc import Callable
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
        if function is not None and function is not self.__get__(model):
            function = _FirstCall(model, function, super().__set__)
        super().__set__(model, function)


class _FirstCall:
    """A train function until it was called once.

    It must not keep itself alive, as a function in its own closure would. For
    JAX all `train_step` of a model are one function, and while one that was
    compiled is alive, the next is not traced: a model compiled with another
    loss would go on with the old one.

    Args:
        model: A `SAMModel`.
        function: Its train function.
        keep: Sets the train function of a model.
    """

    def __init__(
        self, model: Any, function: Any, keep: Callable[[Any, Any], None]
    ) -> None:
        self._model = model
        self._function = function
        self._keep = keep

    def __call__(self, *args: Any) -> Any:
        model = self._model
        if model.train_function is not self:
            return self._function(*args)  # It is a part of another function.
        model._sam.is_step_reached = False
        result = self._function(*args)
        self._keep(model, self._function)
        if not (model._sam.is_step_reached or model.sam.is_plain):
            warnings.warn(
                "The model has a `train_step` of its own that does not call "
                "the one of `SAMModel`: its steps are plain ones. "
                f"{ADVICE} Received: rho={model.sam.rho!r}, model={model}",
                stacklevel=4,
            )
        return result


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
