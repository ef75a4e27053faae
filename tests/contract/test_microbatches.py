"""Parts of a batch: `num_microbatches` and `ascent_fraction`.

The table of side effects in `keras_sam/engine/__init__.py`, the rows of these.
`tests/engine/test_steps.py` compares their steps with the reference.
"""

import keras
import numpy as np
import pytest
from keras import layers
from keras import optimizers

import keras_sam
from keras_sam import SAMModel
from tests.contract.twins import Counter
from tests.contract.twins import MeanSquare
from tests.contract.twins import Scale
from tests.contract.twins import chain
from tests.contract.twins import mean_prediction
from tests.contract.twins import normal
from tests.contract.twins import twins
from tests.contract.twins import values
from tests.reference import problems

RHO = 0.5
NUM_EXAMPLES = 7  # For three parts, of 2, 2 and 3 examples.
PARTS = problems.parts(NUM_EXAMPLES, 3)


def stateful(*more):
    return chain(
        lambda: keras.Input((3,)),
        lambda: layers.Dense(4),
        layers.BatchNormalization,
        Counter,
        *more,
        lambda: layers.Dense(1),
    )


def assert_same(actual, expected):
    for a, b in zip(values(actual), values(expected), strict=True):
        # The statistics are sums of up to 16 products.
        np.testing.assert_allclose(a, b, rtol=16 * 2**-24, atol=2**-24)


def predict(model, x):
    """Return what the model makes of x in training mode, as an array."""
    return keras.ops.convert_to_numpy(model(x, training=True))


def test_state_is_updated_by_one_part_after_the_other(mode):
    make = stateful(lambda: layers.Dropout(0.5))
    plain, sam = twins(make, rho=RHO, num_microbatches=3)
    x, y = normal(NUM_EXAMPLES, 3), normal(NUM_EXAMPLES, 1)
    for start, stop in PARTS:
        plain(x[start:stop], training=True)
    sam.compile(optimizers.SGD(0.0), "mse", **mode)
    sam.train_on_batch(x, y)
    assert_same(sam.variables, plain.variables)


def test_loss_is_that_of_what_the_first_pass_of_each_part_saw():
    make = stateful(MeanSquare)
    plain, sam = twins(make, rho=RHO, num_microbatches=3)
    x, y = normal(NUM_EXAMPLES, 3), normal(NUM_EXAMPLES, 1)
    y_pred, penalty = [], 0.0
    for start, stop in PARTS:
        y_pred.append(predict(plain, x[start:stop]))
        penalty += (stop - start) / NUM_EXAMPLES * float(plain.losses[0])
    sam.compile(optimizers.SGD(0.0), "mse", metrics=["mae"], run_eagerly=True)
    logs = sam.train_on_batch(x, y, return_dict=True)
    error = np.concatenate(y_pred) - y
    # Up to 30 float32 operations.
    assert logs["loss"] == pytest.approx(np.mean(error**2) + penalty, rel=2e-6)
    assert logs["mae"] == pytest.approx(np.mean(np.abs(error)), rel=2e-6)


@pytest.mark.parametrize("settings", [{}, {"num_microbatches": 3}])
def test_with_ascent_fraction_state_and_logs_are_those_of_the_first_pass(
    settings, mode
):
    plain, sam = twins(stateful(), rho=RHO, ascent_fraction=0.5, **settings)
    x, y = normal(NUM_EXAMPLES, 3), normal(NUM_EXAMPLES, 1)
    weight = np.linspace(1, 2, NUM_EXAMPLES, dtype="float32")
    # Half of each part, rounded up.
    rows = [0, 2, 4, 5] if settings else [0, 1, 2, 3]
    parts = [[0], [2], [4, 5]] if settings else [rows]
    y_pred = [predict(plain, x[part]) for part in parts]
    sam.compile(
        optimizers.SGD(0.0),
        "mse",
        metrics=["mae"],
        weighted_metrics=["mse"],
        **mode,
    )
    logs = sam.train_on_batch(x, y, weight, return_dict=True)
    error = np.concatenate(y_pred)[:, 0] - y[rows, 0]
    weight = weight[rows]
    expected = {
        "loss": np.mean(weight * error**2),
        "mae": np.mean(np.abs(error)),
        "mse": np.sum(weight * error**2) / np.sum(weight),
    }
    for name, value in expected.items():
        # Up to 30 float32 operations on numbers of order one.
        assert logs[name] == pytest.approx(value, rel=2e-6)
    assert_same(sam.variables, plain.variables)


def test_second_pass_sees_the_draws_of_its_own_part(mode):
    # With the loss w * mean(z), w = 1, a part of n examples out of 7 gives
    # n / 7 * w * mean(z), and its e is rho * sign(mean(z)). All z are
    # positive, so the loss rises by rho times itself, if z is the same in
    # both passes.
    inputs = keras.Input((50,))
    outputs = Scale()(layers.Dropout(0.5)(inputs))
    model = keras_sam.SAMModel(inputs, outputs, rho=RHO, num_microbatches=3)
    model.compile(optimizers.SGD(0.0), mean_prediction, **mode)
    x = np.ones((NUM_EXAMPLES, 50))
    logs = model.train_on_batch(x, x, return_dict=True)
    # Two means of 350 numbers of order one, and their difference.
    assert logs["sharpness"] == pytest.approx(RHO * logs["loss"], rel=1e-5)


class OwnLoss(keras_sam.SAMModel):
    """Uses what `call` has left, of the examples that it was given last."""

    def call(self, inputs, training=False):
        self.hidden = super().call(inputs, training=training)
        return self.hidden

    def compute_loss(self, x, y, y_pred, sample_weight=None, training=True):
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        return loss + keras.ops.mean(self.hidden**2)


def with_noise(units, noise):
    return keras.Sequential([layers.Dense(units), noise(0.5, seed=3)])


@pytest.mark.parametrize(
    "make, hidden",
    [
        (SAMModel, MeanSquare),
        (SAMModel, lambda: layers.ActivityRegularization(l2=0.1)),
        (SAMModel, lambda: layers.Dense(4, activity_regularizer="l2")),
        (OwnLoss, lambda: layers.Dense(4)),
        # Three or seven numbers for each example: no round numbers.
        (SAMModel, lambda: with_noise(3, layers.GaussianNoise)),
        (SAMModel, lambda: with_noise(7, layers.GaussianDropout)),
        (SAMModel, lambda: with_noise(7, layers.Dropout)),
    ],
)
@pytest.mark.parametrize("settings", [{}, {"num_microbatches": 2}])
def test_with_ascent_fraction_sharpness_vanishes_with_the_radius(
    make, hidden, settings, mode
):
    inputs = keras.Input((3,))
    outputs = layers.Dense(1)(hidden()(layers.Dense(4)(inputs)))
    model = make(inputs, outputs, rho=1e-7, ascent_fraction=0.5, **settings)
    model.compile(optimizers.SGD(0.1), "mse", **mode)
    x, y = normal(8, 3), normal(8, 1)
    x[::2] *= 3.0
    x[:4] *= 2.0  # No two parts have the same loss.
    logs = model.train_on_batch(x, y, return_dict=True)
    # The radius times a gradient of order 100, and rounding of the loss.
    assert abs(logs["sharpness"]) < 1e-4
