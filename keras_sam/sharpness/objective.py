"""The loss of a model on some data as a function of a flat NumPy vector."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sam import backend
from keras_sam.backend import curvature
from keras_sam.engine.loss import state_variables
from keras_sam.engine.scopes import PassScope
from keras_sam.sharpness import randomness
from keras_sam.sharpness.data import batches
from keras_sam.sharpness.selection import positions
from keras_sam.types import Batch
from keras_sam.types import Tensor
from keras_sam.types import Vector


class Objective:
    """The mean loss of a model over some data, as a function of its weights.

    Every measure takes an `Objective` in place of a model; it is compiled once
    for all measures. It never writes a variable: weights, statistics, seeds,
    metrics and optimizer stay unchanged, also after an exception.

    The loss is the training loss, with regularizers and `add_loss`. The mean
    over batches is weighted by their size.

    Args:
        model: A built `keras.Model`, compiled with a loss unless `loss` is
            given.
        x: As for `fit`: inputs of shape `(num_examples, ...)`, or a nest of
            them; or an iterable of batches, such as a `tf.data.Dataset`, a
            `keras.utils.PyDataset` or any iterator. It is read once, to its
            end, by the model's `evaluate`, and kept in memory.
        y: Targets of shape `(num_examples, ...)`, or a nest of them.
        sample_weight: Weights of shape `(num_examples,)`, or `None`.
        variables: The arguments of the function, the other weights being
            constants: `"all"`, `"no_norm_no_bias"`, `"norm_only"`, a layer or
            its name, a list of these, or a callable that takes a variable and
            returns a boolean.
        training: Whether layers are in training mode. By default they are in
            inference mode: batch normalization uses its moving statistics,
            and dropout does nothing.
        loss: Name of a Keras loss, or a function of `(y_true, y_pred)`, for
            models with one output; `None` for the compiled one.
        batch_size: Size of the batches that arrays are split into. A larger
            one needs more memory. The literature measures sharpness with 128
            (arXiv 2206.06232, arXiv 2302.07011).

    Example, with the model of `keras_sam.sharpness`:

    >>> objective = sharpness.Objective(model, x, y)
    >>> print(objective.size, round(objective.loss(np.zeros(3)), 3))
    3 2.625
    >>> result = sharpness.hessian_eigenvalues(objective, k=1)

    Raises:
        ValueError: If an argument is invalid, if there is no loss, or if
            the model is random in the chosen mode; the message names the layer.
    """

    def __init__(
        self,
        model: keras.Model,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        variables: Any = "all",
        training: bool = False,
        loss: Any = None,
        batch_size: int = 128,
    ) -> None:
        _check(model, loss)
        self.model = model
        self.training = bool(training)
        sized = batches(model, x, y, sample_weight, batch_size)
        self.num_examples = sum(size for _, size in sized)
        self.batches = [(b, n / self.num_examples) for b, n in sized]
        self._build()
        self._loss_model = None if loss is None else _loss_model(loss)
        self._written: list[keras.Variable] = []
        self._place(positions(model, variables))
        self._compile()
        self.refresh()

    def _build(self) -> None:
        if not self.model.compiled:
            return
        try:
            backend.build(self.model, tuple(self.batches[0][0]))
        except ValueError:
            # On JAX, Keras raises at draws from its global generator, without
            # the name of the layer.
            if self.model.built:
                randomness.refuse_draws(
                    self.model, self.training, self._writers
                )
            raise

    def _place(self, chosen: list[int]) -> None:
        weights = self.model.trainable_variables
        self.variables = [weights[i] for i in chosen]
        inside = {id(variable) for variable in self.variables}
        # A shared weight counts once, in either list. The order is fixed here:
        # `state` and the states of an `Endpoint` follow that of `constants`.
        others = {
            id(v): v
            for v in [*weights, *state_variables(self.model)]
            if id(v) not in inside
        }
        self.constants = list(others.values())
        self._shapes = [tuple(v.shape) for v in self.variables]
        self._sizes = [math.prod(shape) for shape in self._shapes]
        self.size = sum(self._sizes)
        wide = any(v.dtype == "float64" for v in self.variables)
        self.dtype = np.dtype("float64" if wide else "float32")

    def refresh(self) -> None:
        """Read the weights and all other state of the model again.

        Raises:
            ValueError: If the model is random, or its loss is not finite.
        """
        self.weights = self.flatten(v.value for v in self.variables)
        self.state = [
            ops.stop_gradient(ops.copy(v.value)) for v in self.constants
        ]
        self._at = self.split(self.weights)
        try:
            self.value = self.loss()
        except ValueError:
            # On JAX, Keras raises at draws from its global generator, without
            # the name of the layer.
            randomness.refuse_draws(self.model, self.training, self._writers)
            raise
        randomness.refuse_unsupported(
            self.model, self._written, self.training, self._writers
        )
        if not math.isfinite(self.value):
            raise ValueError(
                "The loss on these data is not finite. "
                f"Received: a loss of {self.value}"
            )

    def _compile(self) -> None:
        is_jit = keras.backend.backend() == "jax" or self.model.jit_compile

        def gradient(
            weights: Vector, state: Vector, batch: Batch
        ) -> tuple[Tensor, Vector]:
            return curvature.gradient(
                lambda w: self._evaluate(w, state, batch), weights
            )

        def hessian_product(
            weights: Vector, state: Vector, batch: Batch, direction: Vector
        ) -> Vector:
            return curvature.hessian_product(
                lambda w: self._evaluate(w, state, batch), weights, direction
            )

        self._value = curvature.compiled(self._evaluate, is_jit)
        self._gradient = curvature.compiled(gradient, is_jit)
        self._hessian_product = curvature.compiled(hessian_product, is_jit)
        self._gauss_newton_product = curvature.compiled(
            self._evaluate_gauss_newton, is_jit
        )

    def _writers(self) -> dict[int, str]:
        """Return which layers write variables, from an eager pass."""
        x = self.batches[0][0].x
        with randomness.WriterScope() as scope, curvature.reported_draws():
            backend.with_pure_randomness(
                lambda: backend.predict(self.model, x, self.training)
            )
        return scope.writers

    def loss(self, point: Any = None, state: Any = None) -> float:
        """Return the mean loss at a flat vector; by default at the weights."""
        at = self._at if point is None else self.split(point)
        state = self.state if state is None else state
        return sum(
            share * float(self._value(at, state, batch))
            for batch, share in self.batches
        )

    def loss_and_gradient(
        self, point: Any, batch: Batch
    ) -> tuple[float, np.ndarray]:
        """Return the loss of one batch at a flat vector, and its gradient."""
        at = self.split(point)
        value, gradient = self._gradient(at, self.state, batch)
        return float(value), self.flatten(gradient)

    def product(
        self, direction: Vector, batch: Batch, gauss_newton: bool
    ) -> np.ndarray:
        """Return second derivatives at the weights times a direction.

        Args:
            direction: Tensors of the variables' shapes.
            batch: The examples whose loss is differentiated.
            gauss_newton: See `Curvature`, which takes the mean over batches.

        Returns:
            A flat vector.
        """
        function = (
            self._gauss_newton_product
            if gauss_newton
            else self._hessian_product
        )
        return self.flatten(function(self._at, self.state, batch, direction))

    def flatten(self, vector: Any) -> np.ndarray:
        """Return tensors as one flat NumPy vector."""
        return np.concatenate([
            np.asarray(ops.convert_to_numpy(t), self.dtype).ravel()
            for t in vector
        ])

    def arrays(self, flat: np.ndarray) -> list[np.ndarray]:
        """Return a flat vector as arrays of the variables' shapes."""
        parts = np.split(flat, np.cumsum(self._sizes)[:-1])
        return [part.reshape(s) for part, s in zip(parts, self._shapes)]

    def split(self, flat: np.ndarray) -> Vector:
        """Return a flat vector as tensors of the variables' shapes."""
        return [
            ops.convert_to_tensor(part, dtype=variable.dtype)
            for part, variable in zip(self.arrays(flat), self.variables)
        ]

    def _scope(self, weights: Vector, state: Vector) -> PassScope:
        scope = PassScope()
        scope.put([*self.variables, *self.constants], [*weights, *state])
        return scope

    def _evaluate(self, weights: Vector, state: Vector, batch: Batch) -> Tensor:
        with self._scope(weights, state) as scope:
            value = backend.with_pure_randomness(lambda: self._of_batch(batch))
        self._written = list(scope.written.values())
        return value

    def _of_batch(self, batch: Batch) -> Tensor:
        y_pred = backend.predict(self.model, batch.x, self.training)
        return self._of_predictions(batch, y_pred)

    def _of_predictions(self, batch: Batch, y_pred: Any) -> Tensor:
        x, y, sample_weight = batch
        value = backend.compute_loss(
            self._loss_model or self.model,
            x,
            y,
            y_pred,
            sample_weight,
            self.training,
        )
        # In the scope of a strategy, Keras divides it by the replicas.
        value = backend.unscale_loss_for_distribution(value)
        if self._loss_model is None:
            return value
        # A model without layers has no regularizers: those of the measured
        # model are added as `compute_loss` adds them.
        value = ops.mean(value)
        return value + sum(
            ops.cast(extra, value.dtype) for extra in self.model.losses
        )

    def _evaluate_gauss_newton(
        self, weights: Vector, state: Vector, batch: Batch, direction: Vector
    ) -> Vector:
        def network(weights: Vector) -> tuple[Any, list[Tensor]]:
            with self._scope(weights, state):
                y_pred = backend.predict(self.model, batch.x, self.training)
            leaves = keras.tree.flatten(y_pred)
            return y_pred, [backend.get_keras_mask(leaf) for leaf in leaves]

        def loss(y_pred: Any, masks: list[Tensor]) -> Tensor:
            for prediction, mask in zip(keras.tree.flatten(y_pred), masks):
                if mask is not None:
                    backend.set_keras_mask(prediction, mask)
            with self._scope(weights, state):
                return self._of_predictions(batch, y_pred)

        return curvature.gauss_newton_product(network, loss, weights, direction)


def _loss_model(loss: Any) -> keras.Model:
    """Return a model without layers, compiled with a loss."""
    model = keras.Model()
    model.compile(loss=loss)
    return model


def _check(model: Any, loss: Any) -> None:
    if not isinstance(model, keras.Model):
        raise TypeError(
            "`model` must be a `keras.Model`. "
            f"Received: model={model!r} (of type {type(model)})"
        )
    if not (model.built or model.compiled):
        raise ValueError(
            "`model` must be built: call it on some inputs first. "
            f"Received: model={model!r}"
        )
    if loss is None and not model.compiled:
        raise ValueError(
            "`model` must be compiled with a loss, or `loss` must be given. "
            f"Received: model={model!r}, loss=None"
        )


def objective_of(model: Any, data: tuple[Any, ...], options: Any) -> Objective:
    """Return `model` if it is an `Objective`, else one made of it.

    Raises:
        ValueError: If an `Objective` comes with data or options.
    """
    if not isinstance(model, Objective):
        return Objective(model, *data, **options)
    if options or any(part is not None for part in data):
        raise ValueError(
            "An `Objective` has its data and options already. Received: "
            f"options={options}"
        )
    return model
