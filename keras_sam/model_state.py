"""What a `SAMModel` holds besides what `keras.Model` holds."""

from collections.abc import Callable
from typing import Any

import keras

from keras_sam import backend
from keras_sam.backend import KerasSaveable
from keras_sam.settings import Settings


class SAMState:
    """Settings, the metric behind `sharpness`, and what the method stores.

    Keras tracks metrics and variables that are attributes of a model. These
    are kept apart, so that `evaluate`, `get_weights` and weights files are
    those of the plain model.

    Args:
        settings: `Settings`.

    Attributes:
        method_state: The variables of the method; empty until `build`.
        functions: The functions that run a step, by name, each with the
            configuration of `compile` that it was made for.
        selected_for: The ids of the weights that `selection` was found for.
        selection: What `kinds.of_sam_model` returns.
        built_for: On PyTorch, the `compile` that the model was last built for.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.tracker = keras.metrics.Mean(name="sharpness")
        self.method_state: dict[str, Any] = {}
        self.functions: dict[str, tuple[Any, Any]] = {}
        self.selected_for: list[int] | None = None
        self.selection: Any = None
        self.built_for: Any = None
        self._method_state_for: list[int] | None = None

    def build(self, weights: list[keras.Variable]) -> None:
        """Create the method's variables, again if the weights have changed.

        Args:
            weights: The variables that the method sees.
        """
        if self.is_built_for(weights):
            return
        self._method_state_for = [id(weight) for weight in weights]
        values = [weight.numpy() for weight in weights]
        self.method_state = {
            name: [_variable(name, *pair) for pair in zip(entry, weights)]
            if isinstance(entry, list)
            else _variable(name, entry)
            for name, entry in self.settings.method.initial_state(
                values
            ).items()
        }

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
    """Return a variable, laid out over devices as a weight is.

    As the optimizer's, it is named after its weight: a state tree has no two
    variables of one path.
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
    """What files of a `SAMModel` hold besides what Keras writes.

    That is the state of random seeds and of the method: with it, a loaded
    model goes on as if it had never been saved. A plain model passes over this
    part of a file, and a `SAMModel` takes a file without it as it is.

    Args:
        model: The `SAMModel`.
    """

    def __init__(self, model: keras.Model) -> None:
        # Keras looks for more to save in every attribute: not in a function.
        self._model: Callable[[], Any] = lambda: model

    def save_own_variables(self, store: Any) -> None:
        """Write the variables to a store of a file."""
        for name, variable in self._variables():
            store[name] = variable.numpy()

    def load_own_variables(self, store: Any) -> None:
        """Read what `save_own_variables` wrote, if it is there.

        What a method stores for other weights than this model perturbs is
        left alone.
        """
        model = self._model()
        if model.built:
            model.build_method_state()
        stored = self._method_state()
        for name, variable in [
            *self._seeds(),
            *(stored if _fits(stored, store) else ()),
        ]:
            if name in store:
                variable.assign(store[name])

    def _variables(self) -> list[tuple[str, keras.Variable]]:
        return [*self._seeds(), *self._method_state()]

    def _seeds(self) -> list[tuple[str, keras.Variable]]:
        model = self._model()
        others = {id(v) for v in [*model.weights, *model._sam.variables]}
        seeds = [v for v in model.variables if id(v) not in others]
        return [(f"seed_{i}", v) for i, v in enumerate(seeds)]

    def _method_state(self) -> list[tuple[str, keras.Variable]]:
        model = self._model()
        method = type(model.sam.method).__name__
        return [
            (f"{method}_{i}", v) for i, v in enumerate(model._sam.variables)
        ]

    def _obj_type(self) -> str:
        return "Loss"  # The kind whose attributes Keras skips least of.


def start(model: Any, settings: Settings) -> None:
    """Give a `SAMModel` its settings and a state that has seen no step."""
    model._sam = SAMState(settings)
    model._sam_saved = SavedState(model)


def _fits(stored: list[tuple[str, keras.Variable]], store: Any) -> bool:
    """Return whether a file has a method state for the same weights."""
    names = [name for name in store.keys() if not name.startswith("seed_")]
    return sorted(names) == sorted(name for name, _ in stored) and all(
        tuple(store[name].shape) == tuple(variable.shape)
        for name, variable in stored
    )
