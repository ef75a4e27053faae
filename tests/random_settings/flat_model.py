"""A compiled `keras.Model` as functions of one flat vector in float64."""

import contextlib
import math
from typing import Any
from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from tests import frameworks
from tests.arrays import flat
from tests.arrays import values
from tests.in_place import write


class Passed(NamedTuple):
    """A forward and a backward pass over a batch.

    Attributes:
        g: The gradient, without loss scaling.
        loss: That of the leading examples.
        y_pred: For the leading examples.
    """

    g: np.ndarray
    loss: float
    y_pred: Any


class FlatModel:
    """What a train step does with a model."""

    def __init__(self, model):
        self.model = model
        self.optimizer = model.optimizer
        self.variables = model.trainable_variables
        self.shapes = [tuple(v.shape) for v in self.variables]
        self.is_reached = [True] * len(self.variables)

    @property
    def iteration(self):
        return int(self.optimizer.iterations)

    @property
    def loss_scale(self):
        return float(self.optimizer.scale_loss(1.0))

    @property
    def weight(self):
        return flat(values(self.variables))

    @property
    def other_variables(self):
        """What a pass may change."""
        return [
            *self.model.non_trainable_variables,
            *self.model.metrics_variables,
        ]

    def spread(self, is_so):
        """Return a boolean vector from a function of a variable."""
        return np.repeat(
            [bool(is_so(v)) for v in self.variables],
            [math.prod(shape) for shape in self.shapes],
        )

    def unflat(self, vector):
        """Return the vector as an array for each variable."""
        sizes = [math.prod(shape) for shape in self.shapes]
        parts = np.split(vector, np.cumsum(sizes)[:-1])
        return [p.reshape(shape) for p, shape in zip(parts, self.shapes)]

    def state(self):
        """Return a function that restores what a pass changes."""
        variables = self.other_variables
        known = {id(variable) for variable in variables}
        stored, generators = values(variables), frameworks.generators()

        def restore():
            write(variables, stored)
            # The first pass makes the metrics of losses.
            new = [v for v in self.other_variables if id(v) not in known]
            write(new, [np.zeros(v.shape, v.dtype) for v in new])
            frameworks.set_generators(generators)

        return restore

    @contextlib.contextmanager
    def at(self, weight):
        """Give the model other weights for a while."""
        before = values(self.variables)
        write(self.variables, self.unflat(weight))
        yield
        write(self.variables, before)

    def gradient(self, batch):
        return self.differentiate(batch).g

    def by_outputs(self, batch, y_pred):
        """Return the gradients of the loss by the predictions."""
        x, y, sample_weight = batch
        outputs = [
            keras.Variable(ops.cast(z, "float32"))
            for z in keras.tree.flatten(y_pred)
        ]

        def compute():
            nest = keras.tree.pack_sequence_as(
                y_pred, [ops.convert_to_tensor(z) for z in outputs]
            )
            loss = self.model.compute_loss(x, y, nest, sample_weight)
            return loss, (loss, ())

        # Regularizers find the weights only among these, with JAX.
        variables = [*outputs, *self.variables]
        return frameworks.gradients(compute, variables)[0][: len(outputs)]

    def differentiate(self, batch, leading=None, by_outputs=None):
        """Return a pass.

        Args:
            batch: What it is over.
            leading: What loss and predictions are of, if not of all.
            by_outputs: Gradients by the predictions, in place of those of the
                loss.
        """
        model = self.model

        def compute():
            x, y, sample_weight = batch
            y_pred = model(x, training=True)
            loss = objective = model.compute_loss(x, y, y_pred, sample_weight)
            if by_outputs is not None:
                products = [
                    ops.sum(d * ops.cast(z, "float32"))
                    for d, z in zip(by_outputs, keras.tree.flatten(y_pred))
                ]
                objective = sum(products) + sum(map(ops.sum, model.losses))
            scaled = self.optimizer.scale_loss(objective)
            if leading is not None:
                y_pred = rows(y_pred, 0, size_of(leading))
                x, y, sample_weight = leading
                loss = model.compute_loss(x, y, y_pred, sample_weight)
            return scaled, (loss, y_pred)

        found, (loss, y_pred) = frameworks.gradients(compute, self.variables)
        self.is_reached = [g is not None for g in found]
        found = [
            np.zeros(shape)
            if g is None
            else ops.convert_to_numpy(ops.cast(frameworks.dense(g), "float32"))
            for g, shape in zip(found, self.shapes)
        ]
        return Passed(flat(found) / self.loss_scale, float(loss), y_pred)

    def log(self, passed, batch):
        """Update the metrics; return what Keras logs."""
        x, y, sample_weight = batch
        self.model._loss_tracker.update_state(passed.loss, size_of(batch))
        return self.model.compute_metrics(x, y, passed.y_pred, sample_weight)

    def update(self, gradient, correction):
        """Apply the optimizer, then subtract what goes past it."""
        gradients = [
            ops.convert_to_tensor(g, v.dtype) if is_reached else None
            for g, v, is_reached in zip(
                self.unflat(gradient * self.loss_scale),
                self.variables,
                self.is_reached,
            )
        ]
        inner = getattr(self.optimizer, "inner_optimizer", self.optimizer)
        rate = float(inner.learning_rate)
        rate /= inner.gradient_accumulation_steps or 1
        frameworks.update(self.optimizer, gradients, self.variables)
        if np.any(correction):
            weight = self.weight - rate * correction
            write(self.variables, self.unflat(weight))


def size_of(nest):
    """Return the number of examples."""
    return len(keras.tree.flatten(nest)[0])


def rows(nest, start, count):
    """Return consecutive examples."""
    return keras.tree.map_structure(
        lambda t: None if t is None else t[start : start + count], nest
    )
