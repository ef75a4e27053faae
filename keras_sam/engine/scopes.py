"""What variables read as during a pass, and what is written to them."""

import keras

from keras_sam import backend
from keras_sam.types import Tensor
from keras_sam.types import Vector


class PassScope(keras.StatelessScope):
    """What variables read as during a pass, and what is written to them.

    A variable that it has no value of is read in the scope around it, if there
    is one.

    Attributes:
        written: The variables that were written, by id.
    """

    def __init__(self) -> None:
        super().__init__(collect_losses=True)
        self.written: dict[int, keras.Variable] = {}
        self._around = backend.get_stateless_scope()

    def put(self, variables: list[keras.Variable], values: Vector) -> None:
        """Let variables read as values of their shapes and dtypes."""
        # The constructor of Keras would convert and check each of them.
        self.state_mapping.update(
            (id(variable), value) for variable, value in zip(variables, values)
        )

    def get_current_value(self, variable: keras.Variable) -> Tensor:
        """Return what a variable reads as, `None` for its own value."""
        value = super().get_current_value(variable)
        if value is None and self._around is not None:
            return self._around.get_current_value(variable)
        return value

    def add_update(self, update: tuple[keras.Variable, Tensor]) -> None:
        """Take note of a write."""
        variable, value = update
        self.written[id(variable)] = variable
        # A variable is stored as a reference, whose value may change later.
        if isinstance(value, keras.Variable):
            value = value.value
        self.state_mapping[id(variable)] = value


class AfterUpdate(PassScope):
    """A scope in which an optimizer's iterations read as after the step.

    So does the learning rate. Keras updates metrics after the weights; a pass
    may be inside of a branch or a loop, which predictions would have to leave.

    Args:
        iterations: The iterations before the step, by the id of the variable.
    """

    def __init__(self, iterations: dict[int, Tensor]) -> None:
        super().__init__()
        self._iterations = iterations

    def get_current_value(self, variable: keras.Variable) -> Tensor:
        """Return what a variable reads as, `None` for its own value."""
        if id(variable) in self._iterations:
            return self._iterations[id(variable)] + 1
        return super().get_current_value(variable)
