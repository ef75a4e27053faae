"""The compiled functions of a `SAMModel`, apart from those of a plain view."""

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


class OwnFunctions(backend.DiscardsSharedFunctions):
    """A base of models that share attributes, but not compiled functions."""

    train_function = _OwnFunction()
    test_function = _OwnFunction()
    predict_function = _OwnFunction()
