"""What a `SAMModel` holds besides what `keras.Model` holds."""

from typing import Any

import keras

from keras_sam.backend.keras_private import KerasSaveable


class SAMState:
    """Settings, and the metric behind `sharpness`.

    Keras tracks metrics and variables that are attributes of a model. These
    are kept apart, so that `evaluate`, `get_weights` and weights files are
    those of the plain model.

    Args:
        settings: `Settings`.
    """

    def __init__(self, settings: Any) -> None:
        self.settings = settings
        self.tracker = keras.metrics.Mean(name="sharpness")


class SavedState(KerasSaveable):
    """What files of a `SAMModel` hold besides what Keras writes.

    That is the state of random seeds: with it, a loaded model draws on as if
    it had never been saved. A plain model passes over this part of a file, and
    a `SAMModel` takes a file without it as it is.

    Args:
        model: The `SAMModel`.
    """

    def __init__(self, model: keras.Model) -> None:
        # Keras looks for more to save in every attribute: not in a function.
        self._model = lambda: model

    def save_own_variables(self, store: Any) -> None:
        """Write the variables to a store of a file."""
        for name, variable in self._variables():
            store[name] = variable.numpy()

    def load_own_variables(self, store: Any) -> None:
        """Read what `save_own_variables` wrote, if it is there."""
        for name, variable in self._variables():
            if name in store:
                variable.assign(store[name])

    def _variables(self) -> list[tuple[str, keras.Variable]]:
        model = self._model()
        weights = {id(weight) for weight in model.weights}
        seeds = [v for v in model.variables if id(v) not in weights]
        return [(f"seed_{i}", seed) for i, seed in enumerate(seeds)]

    def _obj_type(self) -> str:
        return "Loss"  # The kind whose attributes Keras skips least of.
