"""FunctionalSAM with losses that are not of the predictions alone."""

import dataclasses

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import keras_sam
from keras_sam import methods
from tests import marks
from tests import small_network
from tests.arrays import assert_same
from tests.arrays import flat
from tests.arrays import values
from tests.contract.twins import normal
from tests.contract.twins import twins
from tests.frameworks import MODES

RHO, RATE = 0.3, 0.1
X = normal(8, 3)

# Some thirty float32 operations on numbers of order one.
ROUNDING = 30 * 2**-23


class Body(keras_sam.SAMModel):
    """Adds what it predicts to its loss."""

    def __init__(self, **settings):
        super().__init__(rho=RHO, **settings)
        self.dense = layers.Dense(3, kernel_initializer="identity")

    def call(self, inputs):
        outputs = self.dense(inputs)
        self.add_loss(ops.mean(outputs**4))
        return outputs


class OwnLoss(Body):
    """Reads what was added, as a variational autoencoder does."""

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):
        [added] = self.losses
        return ops.mean((y_pred - y) ** 2) + added


def trained(make, mode, y=None, **settings):
    """Return the weights after a step without a loss in `compile`."""
    model = make(**settings)
    model.compile(keras.optimizers.SGD(RATE), **mode)
    model.fit(X, y, batch_size=len(X), verbose=0)
    return flat(model.get_weights())


@pytest.mark.parametrize("name", marks.MODES)
def test_losses_that_are_added_alone_are_perturbed_as_in_sam(name):
    mode = dict(MODES[name])
    found = trained(Body, mode, method="functional_sam")
    np.testing.assert_allclose(
        found, trained(Body, mode), rtol=0, atol=ROUNDING
    )


@pytest.mark.parametrize("name", marks.MODES)
def test_compute_loss_finds_what_was_added(name):
    """The Jacobian is constant: only `added` has another gradient at w + e."""
    found = trained(
        OwnLoss, dict(MODES[name]), normal(8, 3), method="functional_sam"
    )
    x = np.column_stack([X, np.ones(8)]).astype("float64")
    w = np.vstack([np.eye(3), np.zeros(3)])
    by_square = x.T @ (2 * (x @ w - normal(8, 3))) / (8 * 3)
    g = by_square + x.T @ (4 * (x @ w) ** 3) / (8 * 3)
    e = RHO * g / np.linalg.norm(g)
    h = by_square + x.T @ (4 * (x @ (w + e)) ** 3) / (8 * 3)
    np.testing.assert_allclose(
        found, (w - RATE * h).ravel(), rtol=0, atol=ROUNDING
    )


def cross_entropy(y, logits):
    """Return the cross-entropy, without a product of 0 and infinity."""
    classes = ops.reshape(ops.cast(y, "int32"), (-1, 1))
    return -ops.take_along_axis(ops.log_softmax(logits), classes, axis=-1)


@pytest.mark.parametrize("name", marks.MODES)
def test_logits_of_classes_that_are_ruled_out_may_be_infinite(name):
    logs = []
    for lowest in (-np.inf, -1e9):
        inputs = keras.Input((3,))
        logits = layers.Dense(3, kernel_initializer="ones")(inputs)
        model = keras_sam.SAMModel(
            inputs,
            ops.where(ops.arange(3) < 2, logits, lowest),
            method="functional_sam",
            rho=RHO,
        )
        model.compile("sgd", cross_entropy, **MODES[name])
        found = model.train_on_batch(X, np.arange(8) % 2, return_dict=True)
        logs.append({key: float(value) for key, value in found.items()})
    assert logs[0] == pytest.approx(logs[1], abs=ROUNDING)
    assert logs[0]["sharpness"] > 0.01


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecidedByGradients(methods.FunctionalSAM):
    """Perturbs at every step, but only the gradients at w say so."""

    def statistic(self, gradients):
        return ops.sum(ops.square(gradients[0]))

    def decide(self, iteration, statistic, state):
        return statistic > 0, state


@pytest.mark.parametrize("num_microbatches", [1, 2])
def test_outputs_are_held_where_the_first_pass_decides(num_microbatches):
    after = []
    for method in ("functional_sam", DecidedByGradients()):
        model = small_network.compiled(
            method=method, rho=RHO, num_microbatches=num_microbatches
        )
        after.append(small_network.fit(model).weights)
    assert_same(*after)


@pytest.mark.parametrize("name", marks.MODES)
def test_masked_steps_of_a_sequence_count_in_neither_pass(name):
    """The Jacobian of a linear model is constant, so that h is g."""
    x = np.random.default_rng(3).normal(size=(4, 5, 2)).astype("float32")
    x[:, 3:] = 0.0  # These are masked.
    y = np.ones((4, 5, 1), "float32")

    def make(model):
        inputs = keras.Input((5, 2))
        outputs = layers.Dense(1)(layers.Masking()(inputs))
        return model(inputs, outputs)

    settings = {"method": "functional_sam", "rho": RHO}
    after = []
    for one in twins(make, **settings):
        one.compile(keras.optimizers.SGD(RATE), "mse", **MODES[name])
        one.train_on_batch(x, y)
        after.append(values(one.trainable_variables))
    for expected, found in zip(*after):
        np.testing.assert_allclose(found, expected, rtol=0, atol=ROUNDING)
