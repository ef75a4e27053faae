"""The stateless train step under `jax.jit`."""

from collections.abc import Callable
from typing import Any

import keras

from keras_sam.engine.roles import check_perturbed
from keras_sam.engine.step import Step
from keras_sam.engine.update import scaled_correction
from keras_sam.trainers.jax.device_groups import groups_of
from keras_sam.trainers.own_functions import OwnFunctions
from keras_sam.types import Batch
from keras_sam.types import Gradients
from keras_sam.types import Tensor
from keras_sam.types import Vector
from keras_sam.validation import is_weightless

TrainState = tuple[Vector, Vector, Vector, Vector]
"""Values of the trainable, the non-trainable, the optimizer's and the metrics'
variables, each in the order of the model's list of them."""


class Trainer(OwnFunctions, keras.Model):
    """Replaces the train step of `keras.Model`; `SAMModel` builds on it."""

    _sam: Any
    build_method_state: Callable[[], None]

    def make_train_function(self, force: bool = False) -> Any:
        """Return what runs a step, once the model has been checked.

        Args:
            force: Whether to make it anew.

        Returns:
            A function.

        Raises:
            ValueError: If parts of the batch are to be perturbed on their own
                devices by steps that are not compiled.
        """
        if self.sam.is_plain or is_weightless(self):
            return super().make_train_function(force)
        is_compiled = self.jit_compile and not self.run_eagerly
        if not is_compiled and groups_of(self.sam.perturbation) is not None:
            raise ValueError(
                "On JAX, a perturbation for each group of devices needs "
                "compiled steps. Use `jit_compile=True` without `run_eagerly`, "
                'or `perturbation="global"`. Received: '
                f"perturbation={self.sam.perturbation!r}, "
                f"jit_compile={self.jit_compile}, "
                f"run_eagerly={self.run_eagerly}"
            )
        # An error of a trace comes when `fit` has emptied the variables.
        check_perturbed(self)
        self.sam.rho_at(self.optimizer)
        self.build_method_state()
        if force or self.train_function is None:
            super().make_train_function(force=True)
            self.train_function = self._giving_back(self.train_function)
        return self.train_function

    def _giving_back(self, function: Callable[..., Any]) -> Any:
        """Return the same function; if it raises, the model has its values.

        `fit` takes them from the variables before each step, and a step that
        cannot be traced would leave none.
        """

        def step(state: TrainState, iterator: Any) -> Any:
            try:
                return function(state, iterator)
            except BaseException:
                values = [value for values in state for value in values]
                for variable, value in zip(self._state_variables(), values):
                    if not value.is_deleted():
                        variable.assign(value)
                raise

        return step

    def train_step(
        self, state: TrainState, data: Any
    ) -> tuple[dict[str, Tensor], TrainState]:
        """Return the logs of pass 1, and the state after one update.

        A pure function. In a loop of one's own, call `model.build()`,
        `model.optimizer.build()` and `model.build_method_state()` before the
        state is read from the variables.

        Args:
            state: `TrainState`.
            data: What `keras.utils.unpack_x_y_sample_weight` takes.

        Returns:
            The logs, and the new state.

        Raises:
            ValueError: If `state` lacks what the method stores.
        """
        self._reach_step(data)
        if self.sam.is_plain or not self.trainable_variables:
            return self._plain_step(state, data)
        if self.sam.method.has_state and not self._sam.variables:
            raise ValueError(
                "Call `model.build_method_state()` before `train_step`, so "
                "that `model.non_trainable_variables` holds what the method "
                f"stores. Received: method={self.sam.method!r}"
            )
        trainable, non_trainable, optimizer, metrics = state
        batch = Batch(*keras.utils.unpack_x_y_sample_weight(data))
        with self._scope(state):
            step = Step(self, batch, groups_of(self.sam.perturbation))
            result = step.run([*non_trainable, *metrics])
            correction = scaled_correction(self, result.correction)
        trainable, optimizer = self.optimizer.stateless_apply(
            optimizer, result.gradients, trainable
        )
        split = len(non_trainable)
        state = (
            self._corrected(trainable, correction),
            result.state[:split],
            optimizer,
            result.state[split:],
        )
        # A metric may return its variable, or the learning rate.
        with self._scope(state):
            logs = {**result.logs, **self.get_metrics_result()}
        return logs, state

    def _call_train_step(self, data: Any) -> None:
        trainable, non_trainable, optimizer, metrics = (
            [variable.value for variable in variables]
            for variables in (
                self.trainable_variables,
                self.non_trainable_variables,
                self.optimizer.variables,
                self.metrics_variables,
            )
        )
        self.train_step((trainable, non_trainable, optimizer, metrics), data)

    def _plain_step(
        self, state: TrainState, data: Any
    ) -> tuple[dict[str, Tensor], TrainState]:
        logs, state = super().train_step(state, data)
        with self._scope(state):
            tracker = self._sam.tracker
            return {**logs, tracker.name: tracker.result()}, state

    def _scope(self, state: TrainState) -> keras.StatelessScope:
        values = [value for values in state for value in values]
        pairs = zip(self._state_variables(), values, strict=True)
        return keras.StatelessScope([*pairs])

    def _state_variables(self) -> list[keras.Variable]:
        """Return the variables that `TrainState` has the values of."""
        return [
            *self.trainable_variables,
            *self.non_trainable_variables,
            *self.optimizer.variables,
            *self.metrics_variables,
        ]

    def _corrected(self, weights: Vector, correction: Gradients) -> Vector:
        weights = list(weights)
        for i, step in enumerate(correction):
            if step is None:
                continue
            weights[i] = weights[i] - step
            constraint = self.trainable_variables[i].constraint
            if constraint is not None:
                weights[i] = constraint(weights[i])
        return weights
