"""Micro-batches with rho towards 0: the mean of the plain gradients of parts.

A part is a batch of its own and counts with its share of the examples. With
rho = 1e-30 both passes run, and w + e is w: float32 numbers of order one are
1e-7 apart. What is left is how the parts of a batch are put together.
"""

import keras
import numpy as np
import pytest
from keras import layers
from keras import losses
from keras import ops
from keras import optimizers

import keras_sam
from tests.contract.twins import MeanSquare
from tests.contract.twins import copy_state
from tests.contract.twins import normal
from tests.contract.twins import twins
from tests.contract.twins import values

NUM_EXAMPLES = 7
REDUCTIONS = ["sum", "sum_over_batch_size", "mean", "mean_with_sample_weight"]
SETTINGS = [
    {"num_microbatches": 3},
    {"num_microbatches": NUM_EXAMPLES},
    {"ascent_fraction": 0.5},
    {"num_microbatches": 3, "ascent_fraction": 0.5},
]


def assert_same_step(plain, sam, data, **arguments):
    """Compare a step with the mean of plain steps on the parts.

    For `SGD(1.0)` a step is the gradient.
    """
    arguments.setdefault("run_eagerly", True)
    before = values(plain.variables)
    for model in (plain, sam):
        model.compile(optimizers.SGD(1.0), **arguments)
    sam.train_on_batch(*data)
    count = len(plain.trainable_variables)
    expected = [0.0] * count
    for part, share in parts(data, sam.sam.num_microbatches):
        for variable, value in zip(plain.variables, before):
            variable.assign(value)
        plain.train_on_batch(*part)
        for i, value in enumerate(values(plain.trainable_variables)):
            expected[i] = expected[i] + share * value
    for variable, actual, wanted in zip(
        plain.trainable_variables, values(sam.trainable_variables), expected
    ):
        start = dict(zip(map(id, plain.variables), before))[id(variable)]
        assert np.any(wanted != start)
        # Up to 30 float32 operations, relative to the largest number.
        largest = max(np.max(np.abs(a)) for a in (start, wanted))
        np.testing.assert_allclose(
            actual, wanted, rtol=0, atol=30 * 2**-24 * largest
        )


def parts(data, count):
    """Return consecutive parts, the smaller ones first, and their shares."""
    small, num_large = divmod(NUM_EXAMPLES, count)
    sizes = [small] * (count - num_large) + [small + 1] * num_large
    start = 0
    for size in sizes:
        rows = slice(start, start + size)
        part = keras.tree.map_structure(lambda a, rows=rows: a[rows], data)
        yield part, size / NUM_EXAMPLES
        start += size


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("weighted", [False, True])
def test_mean_over_parts_is_the_gradient_of_the_whole_batch(weighted, settings):
    """For the default reduction; not for a sum."""
    plain, sam = twins(regularized, rho=1e-30, **settings)
    data = normal(NUM_EXAMPLES, 3), normal(NUM_EXAMPLES, 2)
    if weighted:
        data += (np.linspace(0, 2, NUM_EXAMPLES),)
    for model in (plain, sam):
        model.compile(optimizers.SGD(1.0), "mse", run_eagerly=True)
        model.train_on_batch(*data)
    for actual, expected in zip(
        values(sam.trainable_variables), values(plain.trainable_variables)
    ):
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5)


def regularized(model):
    inputs = keras.Input((3,))
    hidden = layers.Dense(4, "tanh", kernel_regularizer="l2")(inputs)
    hidden = MeanSquare()(hidden)
    return model(inputs, layers.Dense(2, bias_regularizer="l2")(hidden))


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_step_is_plain_for_every_reduction(reduction, weighted, settings):
    plain, sam = twins(regularized, rho=1e-30, **settings)
    data = normal(NUM_EXAMPLES, 3), normal(NUM_EXAMPLES, 2)
    if weighted:
        data += (np.linspace(0, 2, NUM_EXAMPLES),)
    loss = losses.MeanSquaredError(reduction=reduction)
    assert_same_step(plain, sam, data, loss=loss)


@pytest.mark.parametrize("settings", SETTINGS)
def test_step_is_plain_in_every_mode(settings, mode):
    plain, sam = twins(regularized, rho=1e-30, **settings)
    data = (
        normal(NUM_EXAMPLES, 3),
        normal(NUM_EXAMPLES, 2),
        np.linspace(0, 2, NUM_EXAMPLES),
    )
    assert_same_step(plain, sam, data, loss="mse", **mode)


def masked(model):
    inputs = keras.Input((5, 2))
    hidden = layers.Dense(3, "tanh")(layers.Masking()(inputs))
    return model(inputs, layers.Dense(2)(hidden))


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_step_is_plain_with_masks(reduction, weighted, settings):
    plain, sam = twins(masked, rho=1e-30, **settings)
    x, y = normal(NUM_EXAMPLES, 5, 2), normal(NUM_EXAMPLES, 5, 2)
    for i, length in enumerate([1, 5, 2, 4, 3, 5, 1]):
        x[i, length:] = 0.0
    data = (x, y)
    if weighted:
        data += (np.linspace(0, 2, NUM_EXAMPLES * 5).reshape(-1, 5),)
    loss = losses.MeanSquaredError(reduction=reduction)
    assert_same_step(plain, sam, data, loss=loss)


def nested(model):
    inputs = {"left": keras.Input((3,)), "right": (keras.Input((2,)),)}
    hidden = layers.Concatenate()([inputs["left"], inputs["right"][0]])
    outputs = {
        "mean": layers.Dense(2, name="mean")(hidden),
        "sum": layers.Dense(1, name="sum")(hidden),
        "weighted": layers.Dense(1, name="weighted")(hidden),
    }
    return model(inputs, outputs)


@pytest.mark.parametrize("settings", SETTINGS)
def test_step_is_plain_with_outputs_of_different_reductions(settings):
    plain, sam = twins(nested, rho=1e-30, **settings)
    n = NUM_EXAMPLES
    x = {"left": normal(n, 3), "right": (normal(n, 2),)}
    y = {"mean": normal(n, 2), "sum": normal(n, 1), "weighted": normal(n, 1)}
    weight = {name: np.linspace(0.1, i, n) for i, name in enumerate(y)}
    loss = {
        "mean": losses.MeanSquaredError(),
        "sum": losses.MeanAbsoluteError(reduction="sum"),
        "weighted": losses.LogCosh(reduction="mean_with_sample_weight"),
    }
    loss_weights = {"mean": 1.0, "sum": 0.5, "weighted": 2.0}
    assert_same_step(
        plain, sam, (x, y, weight), loss=loss, loss_weights=loss_weights
    )


class CustomLoss:
    """A `compute_loss` with terms of every kind, one for each reduction."""

    def compute_loss(self, x, y, y_pred, sample_weight=None, training=True):
        del training
        x, y, sample_weight = map(ops.convert_to_tensor, (x, y, sample_weight))
        error = (y - y_pred) ** 2
        loss = ops.sum(sample_weight[:, None] * error) / ops.sum(sample_weight)
        loss = loss + ops.sum(error[:, :1] * x[:, :1])
        loss = loss + 0.1 * ops.sum(self.layers[-1].bias ** 2)
        return loss + sum(self.losses)


class PlainCustomLoss(CustomLoss, keras.Model):
    pass


class SAMCustomLoss(CustomLoss, keras_sam.SAMModel):
    pass


@pytest.mark.parametrize("settings", SETTINGS)
def test_step_is_plain_with_custom_losses(settings):
    models = []
    for model in (
        PlainCustomLoss,
        lambda *ends: SAMCustomLoss(*ends, rho=1e-30, **settings),
    ):
        inputs = keras.Input((3,))
        hidden = MeanSquare()(layers.Dense(4, activation="tanh")(inputs))
        outputs = layers.Dense(2, bias_initializer="ones")(hidden)
        models.append(model(inputs, outputs))
    copy_state(*models)
    data = (
        normal(NUM_EXAMPLES, 3),
        normal(NUM_EXAMPLES, 2),
        np.linspace(0, 2, NUM_EXAMPLES, dtype="float32"),
    )
    assert_same_step(*models, data, loss=None)
