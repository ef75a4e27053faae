"""The batches that a model is trained and evaluated on.

Between what a user hands to `fit` and what a step sees lie the conversions of
Keras and those of the model's own class, which may tokenize, scale or cut. The
only way that knows them all is the model's `evaluate`.
"""

from collections.abc import Callable
from typing import Any

import keras


class _Recorder:
    """Overrides with which `evaluate` does nothing but keep its batches.

    Nothing is built, no metric is reset, a JAX trainer finds no variables to
    take from the model, and a strategy of TensorFlow deals out no shards.
    """

    trainable_variables = ()
    non_trainable_variables = ()
    metrics_variables = ()

    def _symbolic_build(
        self, iterator: Any = None, data_batch: Any = None
    ) -> None:
        pass

    _maybe_symbolic_build = _symbolic_build

    def make_test_function(self, force: bool = False) -> None:
        pass

    def reset_metrics(self) -> None:
        pass

    def get_metrics_result(self) -> dict[str, Any]:
        return {}

    def eval(self) -> Any:
        return self  # Of PyTorch: would leave training mode.


def batches_of_evaluate(model: keras.Model, **data: Any) -> list[Any]:
    """Return what each step of `model.evaluate(**data)` would get.

    Args:
        model: A model, compiled or not. It stays as it is.
        **data: Arguments of `evaluate`.

    Returns:
        For each step a nest, the leaves of which `as_input` takes.
    """
    found: list[Any] = []

    def test_function(*arguments: Any) -> Any:
        *state, batches = arguments  # On JAX, a state comes first.
        found.append(next(iter(batches)))
        return ({}, *state) if state else {}

    _recorder(model, test_function).evaluate(**data, verbose=0)
    return found


def _recorder(model: Any, test_function: Callable[..., Any]) -> Any:
    """Return a copy of a model that calls a function for each batch."""
    cls = type(
        type(model).__name__,
        (_Recorder, type(model)),
        {"test_function": property(lambda self: test_function)},
    )
    copy: Any = object.__new__(cls)
    replaced = {
        "compiled": True,
        "steps_per_execution": 1,
        "_distribute_strategy": None,
    }
    object.__setattr__(copy, "__dict__", vars(model) | replaced)
    return copy
