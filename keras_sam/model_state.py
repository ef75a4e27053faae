"""The attributes and saved state of a `SAMModel` beyond `keras.Model`."""

import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_sam import backend
from keras_sam.backend import KerasSaveable
from keras_sam.settings import Settings


class SAMState:
    """Settings, the metric `sharpness`, and the method's state.

    Keras tracks metrics and variables that are attributes of a model. These
    are not tracked, so that `evaluate`, `get_weights` and weights files are
    those of the plain model.

    Args:
        settings: `Settings`.

    Attributes:
        method_state: The variables of the method; empty until `build`.
        functions: The functions that run a step, by name, each with the
            configuration of `compile` that it was made for.
        selected_for: The ids of the weights that `selection` is valid for.
        selection: The result of `roles.of_sam_model`.
        built_for: On TensorFlow and PyTorch, where a step builds the model, the
            `compile` that it was last built for.
        is_weightless: On PyTorch, whether nothing was trainable then.
        draws_unseeded: On PyTorch, whether a layer had no seed then.
        is_step_reached: Whether the last step called that of `SAMModel`, and
            was not only a custom one.
        is_step_probed: Whether a step should only report that it is reached.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.tracker = keras.metrics.Mean(name="sharpness")
        self.method_state: dict[str, Any] = {}
        self.functions: dict[str, tuple[Any, Any]] = {}
        self.selected_for: list[int] | None = None
        self.selection: Any = None
        self.built_for: Any = None
        self.is_weightless = False
        self.draws_unseeded = False
        self.is_step_reached = False
        self.is_step_probed = False
        self._method_state_for: list[int] | None = None

    def build(self, weights: list[keras.Variable]) -> None:
        """Create the method's variables, again if the weights have changed.

        Args:
            weights: The variables that the method is given.
        """
        if self.is_built_for(weights):
            return
        self._method_state_for = [id(weight) for weight in weights]
        self.method_state = {
            name: [_variable(name, *pair) for pair in zip(entry, weights)]
            if isinstance(entry, list)
            else _variable(name, entry)
            for name, entry in self._initial_state(weights).items()
        }

    def start_anew(self, weights: list[keras.Variable]) -> None:
        """Reset the method's variables to their first values.

        Args:
            weights: The variables that they were built for.
        """
        values = keras.tree.flatten(self._initial_state(weights))
        for variable, value in zip(self.variables, values):
            variable.assign(value)

    def _initial_state(self, weights: list[keras.Variable]) -> Any:
        values = [weight.numpy() for weight in weights]
        return self.settings.method.initial_state(values)

    def is_built_for(self, weights: list[keras.Variable]) -> bool:
        """Return whether `build` was called with these variables."""
        return [id(weight) for weight in weights] == self._method_state_for

    @property
    def variables(self) -> list[keras.Variable]:
        """The method's variables."""
        return keras.tree.flatten(self.method_state)


def _variable(
    name: str, value: Any, weight: keras.Variable | None = None
) -> keras.Variable:
    """Return a variable with the device layout of a weight.

    Like those of an optimizer, it is named after its weight: paths must be
    unique in a state tree.
    """
    value = keras.ops.convert_to_numpy(value)
    layout = None
    if weight is not None:
        name = f"{weight.path}_{name}".replace("/", "_")
    if weight is not None and keras.distribution.distribution() is not None:
        layout = backend.layout(weight)
    with keras.name_scope("method_state"):
        return keras.Variable(
            lambda shape, dtype: keras.ops.convert_to_tensor(value, dtype),
            shape=value.shape,
            dtype=value.dtype.name,
            trainable=False,
            name=name,
            **({} if layout is None else {"layout": layout}),
        )


class SavedState(KerasSaveable):
    """The state in files of a `SAMModel` that Keras does not write.

    With the state of random seeds and of the method, training of a loaded model
    resumes exactly. A plain model ignores this part of a file, and a `SAMModel`
    also loads a file without it.

    Args:
        model: The `SAMModel`.
    """

    def __init__(self, model: keras.Model) -> None:
        # Keras searches attributes for objects to save, but not functions.
        self._model: Callable[[], Any] = lambda: model

    def save_own_variables(self, store: Any) -> None:
        """Write the variables to a store of a file."""
        for name, variable in [*self._seeds(), *self._method_state()]:
            store[name] = variable.numpy()

    def load_own_variables(self, store: Any) -> None:
        """Read the values that `save_own_variables` wrote, if there are any.

        Warns if the method's state in the file is incomplete or cannot be used.
        The method then starts anew.
        """
        model = self._model()
        if model.built:
            model.build_method_state()
        # Everything is read before anything is written.
        values = {name: np.asarray(store[name]) for name in store.keys()}
        for name, variable in self._seeds():
            if name in values and values[name].shape == tuple(variable.shape):
                variable.assign(values[name])
        own = self._method_state()
        if not own or not any(
            name.startswith(self._prefix()) for name in values
        ):
            return
        fault = _fault(own, values)
        if fault is None:
            for name, variable in own:
                variable.assign(values[name])
            return
        model.build_method_state(anew=True)
        warnings.warn(
            f"The state of {model.sam.method!r} starts anew, because that of "
            f"the file is {fault}.",
            stacklevel=2,
        )

    def _seeds(self) -> list[tuple[str, keras.Variable]]:
        model = self._model()
        others = {id(v) for v in [*model.weights, *model._sam.variables]}
        seeds = [v for v in model.variables if id(v) not in others]
        return [(f"seed_{i}", v) for i, v in enumerate(seeds)]

    def _method_state(self) -> list[tuple[str, keras.Variable]]:
        variables = self._model()._sam.variables
        return [(f"{self._prefix()}{i}", v) for i, v in enumerate(variables)]

    def _prefix(self) -> str:
        return f"{type(self._model().sam.method).__name__}_"

    def _obj_type(self) -> str:
        # Of the types that Keras knows, it saves the most attributes of this.
        return "Loss"


def start(model: Any, settings: Settings) -> None:
    """Give a `SAMModel` its settings and the state before the first step."""
    model._sam = SAMState(settings)
    model._sam_saved = SavedState(model)


def _fault(
    own: list[tuple[str, keras.Variable]], values: dict[str, Any]
) -> str | None:
    """Return why a method cannot resume from saved values, if it cannot."""
    if any(name not in values for name, _ in own):
        return "not complete"
    if any(values[name].shape != tuple(v.shape) for name, v in own):
        return "of other shapes"
    if not all(np.isfinite(values[name]).all() for name, _ in own):
        return "not finite"
    return None
