"""Batches some tensors of which do not have one row for each example.

They are trained whole, as `keras.Model` trains them, and never divided.
"""

import keras
import pytest
from keras import layers

import keras_sam
from tests.arrays import assert_same
from tests.contract.twins import normal
from tests.contract.twins import twins

NUM_EXAMPLES = 8
DIVIDED = [
    {"num_microbatches": 2},
    {"ascent_fraction": 0.5},
    {"num_microbatches": 2, "ascent_fraction": 0.5},
]


class AddMean(layers.Layer):
    """Adds to each example the mean of what all of them share."""

    def call(self, inputs):
        x, context = inputs
        return x + keras.ops.mean(context, axis=0, keepdims=True)


def with_context(model):
    x, context = (keras.Input((3,), name=name) for name in ("x", "context"))
    return model({"x": x, "context": context}, head(AddMean()([x, context])))


def head(hidden):
    return layers.Dense(1)(hidden)


def batches(num_context=NUM_EXAMPLES, num_targets=NUM_EXAMPLES):
    """Yield batches whose length a graph learns when it runs."""
    x = {"x": normal(NUM_EXAMPLES, 3), "context": normal(num_context, 3)}
    while True:
        yield x, normal(num_targets, 1)


def assert_refused(step, model, match):
    before = model.get_weights()
    with pytest.raises(Exception, match=match):
        step()
    assert_same(model.get_weights(), before)


@pytest.mark.parametrize("settings", DIVIDED)
def test_a_divided_batch_names_what_has_another_length(settings, mode):
    _, sam = twins(with_context, **settings)
    sam.compile("sgd", "mse", **mode)
    data = next(batches(5))
    assert_refused(
        lambda: sam.train_on_batch(*data),
        sam,
        r"one row for each example.*{x\['context'\]: 5, x\['x'\]: 8, y: 8}",
    )


@pytest.mark.parametrize("settings", DIVIDED)
def test_lengths_that_a_graph_does_not_know_are_compared(settings, mode):
    _, sam = twins(with_context, **settings)
    sam.compile("sgd", "mse", **mode)
    sam.fit(batches(), steps_per_epoch=1, verbose=0)
    assert_refused(
        lambda: sam.fit(batches(4), steps_per_epoch=1, verbose=0),
        sam,
        r"one row for each example.*x\[.*context|different_lengths",
    )


@pytest.mark.parametrize("settings", DIVIDED)
def test_targets_and_scalars_are_compared_too(settings):
    _, sam = twins(with_context, **settings)
    sam.compile("sgd", lambda y, y_pred: y_pred + keras.ops.sum(y))
    (x, y), weight = next(batches()), normal(NUM_EXAMPLES)
    with pytest.raises(ValueError, match=r"x\['x'\]: 8, y: 3"):
        sam.train_on_batch(x, y[:3])
    with pytest.raises(ValueError, match=r"y: 8, sample_weight: 3"):
        sam.train_on_batch(x, y, weight[:3])


def test_a_whole_batch_is_trained_as_by_keras(mode):
    plain, sam = twins(with_context, rho=1e-30)
    for model in (plain, sam):
        model.compile(keras.optimizers.SGD(0.1), "mse", **mode)
        model.train_on_batch(*next(batches(5)))
    # A mean of eight, and products of three numbers of order one.
    for actual, expected in zip(sam.get_weights(), plain.get_weights()):
        assert actual == pytest.approx(expected, rel=1e-6, abs=1e-6)


class ComputesLoss:
    """A `compute_loss` that runs the network on `x` once more."""

    def compute_loss(self, x, y, y_pred, sample_weight=None, training=True):
        del y_pred
        again = self(x, training=training)
        return super().compute_loss(x, y, again, sample_weight, training)


class Computes(ComputesLoss, keras_sam.SAMModel):
    pass


@pytest.mark.parametrize("settings", DIVIDED)
def test_compute_loss_is_given_the_examples_of_the_part(settings, mode):
    models = []
    for cls in (keras_sam.SAMModel, Computes):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((3,))
        model = cls(inputs, head(inputs), rho=0.5, **settings)
        model.compile(keras.optimizers.SGD(0.1), "mse", **mode)
        x, y, weight = normal(7, 3), normal(7, 1), abs(normal(7))
        logs = model.train_on_batch(x, y, weight, return_dict=True)
        models.append([*model.get_weights(), logs["sharpness"]])
    for actual, expected in zip(*models, strict=True):
        assert actual == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_an_output_without_a_row_for_each_example_fits(mode):
    """Its loss is that of the examples of the clean pass, alone."""
    inputs = keras.Input((3,))
    hidden = layers.Dense(2)(inputs)
    outputs = [head(hidden), keras.ops.mean(hidden, axis=0, keepdims=True)]
    model = keras_sam.SAMModel(inputs, outputs, rho=1e-6, ascent_fraction=0.5)
    model.compile(keras.optimizers.SGD(0.1), ["mse", lambda y, z: z**2], **mode)
    x, y = normal(NUM_EXAMPLES, 3), normal(NUM_EXAMPLES, 1)
    x[: NUM_EXAMPLES // 2] *= 3.0
    logs = model.train_on_batch(x, [y, y], return_dict=True)
    # The rise is at most 1e-6 times a gradient of order ten.
    assert abs(logs["sharpness"]) < 1e-4
