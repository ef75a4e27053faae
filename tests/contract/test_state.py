"""State in a step: written once, by the first pass, from clean weights.

The table of side effects in `keras_sam/engine/__init__.py`, rows `training`,
normalization statistics and other state, seeds, the model's own variables.
"""

import functools
import threading

import keras
import numpy as np
import pytest
from keras import layers
from keras.src.random.seed_generator import global_seed_generator

import keras_sam
from tests import frameworks
from tests.contract.twins import Counter
from tests.contract.twins import Scale
from tests.contract.twins import chain
from tests.contract.twins import copy_state
from tests.contract.twins import mean_prediction
from tests.contract.twins import normal
from tests.contract.twins import twins
from tests.contract.twins import values

RHO = 0.5
NUM_STEPS = 3


class Twice(layers.Layer):
    """Twice its inputs in training, three times otherwise."""

    def call(self, inputs, training=False):
        return inputs * (2.0 if training else 3.0)


class UnseededNoise(layers.Layer):
    def call(self, inputs):
        return inputs + keras.random.normal((4,))


UNSEEDED = [UnseededNoise]
if "draws without a seed" in frameworks.LACKS:
    UNSEEDED = []


# With the loss w * mean(z), w = 1, where z is what the layer before makes of
# the inputs, e = rho * sign(mean(z)), and the loss rises by rho * |loss| if z
# is the same in both passes.
@pytest.mark.parametrize(
    "layer",
    [
        Twice,
        functools.partial(layers.Dropout, 0.5),
        functools.partial(layers.GaussianNoise, 1.0),
        functools.partial(layers.RandomContrast, 0.9),
        *UNSEEDED,
    ],
)
def test_second_pass_sees_what_the_first_saw(layer, mode):
    inputs = keras.Input((4, 4, 1))
    outputs = layers.Flatten()(Scale()(layer()(inputs)))
    model = keras_sam.SAMModel(inputs, outputs, rho=RHO)
    # A step of length 0 keeps w = 1.
    model.compile(keras.optimizers.SGD(0.0), mean_prediction, **mode)
    x = np.abs(normal(4, 4, 4, 1))
    for _ in range(NUM_STEPS):
        model.reset_metrics()  # Old versions of Keras do not do it here.
        logs = model.train_on_batch(x, np.zeros((4, 16)), return_dict=True)
        # Two means of 64 numbers of order one, and their difference.
        assert logs["sharpness"] == pytest.approx(
            RHO * abs(logs["loss"]), rel=1e-5
        )


def test_both_passes_run_in_training_mode(mode):
    inputs = keras.Input((1,))
    model = keras_sam.SAMModel(inputs, Scale()(Twice()(inputs)), rho=RHO)
    model.compile(keras.optimizers.SGD(0.0), mean_prediction, **mode)
    logs = model.train_on_batch(
        np.ones((1, 1)), np.zeros((1, 1)), return_dict=True
    )
    # Exact: powers of two.
    assert (logs["loss"], logs["sharpness"]) == (2.0, 2.0 * RHO)


@pytest.mark.parametrize("layer", [layers.Dropout, layers.GaussianNoise])
def test_seeds_advance_once_per_step(layer, mode):
    make = chain(
        lambda: keras.Input((4,)),
        lambda: layer(0.5),
        lambda: layers.Dense(1),
    )
    plain, sam = twins(make, rho=RHO)
    for model in (plain, sam):
        model.compile("sgd", "mse", **mode)
        for _ in range(NUM_STEPS):
            model.train_on_batch(normal(4, 4), normal(4, 1))
    [expected] = [v for v in plain.variables if "seed" in v.path]
    [actual] = [v for v in sam.variables if "seed" in v.path]
    np.testing.assert_array_equal(actual, expected)


if UNSEEDED:

    def test_global_seed_advances_once_per_step(mode):
        make = chain(
            lambda: keras.Input((4,)), UnseededNoise, lambda: layers.Dense(1)
        )
        seed = global_seed_generator().state
        seeds = []
        for model in twins(make, rho=RHO):
            model.compile("sgd", "mse", **mode)
            model.train_on_batch(normal(4, 4), normal(4, 1))
            seed.assign([1, 2])
            for _ in range(NUM_STEPS):
                model.train_on_batch(normal(4, 4), normal(4, 1))
            seeds.append(keras.ops.convert_to_numpy(seed.value))
        np.testing.assert_array_equal(*seeds)


class LargestInput(layers.Layer):
    """Remembers the largest input: not a mean, and not of its own batch."""

    def build(self, shape):
        del shape
        self.largest = self.add_weight(
            shape=(), initializer="zeros", trainable=False
        )

    def call(self, inputs):
        self.largest.assign(
            keras.ops.maximum(self.largest, keras.ops.max(inputs))
        )
        return inputs * self.largest


class MeanInput(layers.Layer):
    """Logs the mean of its inputs, as a metric updated in `call`."""

    def __init__(self):
        super().__init__()
        self.mean = keras.metrics.Mean(name="mean_input")

    def call(self, inputs):
        self.mean.update_state(inputs)
        return inputs


METRIC_LAYERS = [MeanInput]
if "metrics of layers" in frameworks.LACKS:
    METRIC_LAYERS = []


@pytest.mark.parametrize(
    "layer",
    [
        layers.BatchNormalization,
        Counter,
        LargestInput,
        *METRIC_LAYERS,
        functools.partial(layers.Dropout, 0.5),
    ],
)
def test_state_after_each_step_is_that_of_a_plain_step(layer, mode):
    make = chain(
        lambda: keras.Input((3,)),
        lambda: layers.Dense(4),
        layer,
        lambda: layers.Dense(1),
    )
    plain, sam = twins(make, rho=RHO)
    for model in (plain, sam):
        model.compile(keras.optimizers.SGD(0.1), "mse", **mode)
    for step in range(NUM_STEPS):
        copy_state(sam, plain)
        x, y = normal(NUM_STEPS, 5, 3)[step], normal(5, 1)
        keras.utils.set_random_seed(step)  # PyTorch draws from a global one.
        logs = plain.train_on_batch(x, y, return_dict=True)
        keras.utils.set_random_seed(step)
        sam_logs = sam.train_on_batch(x, y, return_dict=True)
        del sam_logs["sharpness"]
        # The same operations on the same numbers.
        assert sam_logs == logs
        for actual, expected in zip(
            values(sam.non_trainable_variables),
            values(plain.non_trainable_variables),
        ):
            np.testing.assert_array_equal(actual, expected)


class Watcher(layers.Layer):
    """Looks at the model from another thread in each call.

    That thread is not in the scope of the pass: it sees what a checkpoint
    would hold. With `fails_at`, that call raises.
    """

    def __init__(self):
        super().__init__()
        self.watched = lambda: None
        self.seen = []
        self.fails_at = None

    def call(self, inputs):
        thread = threading.Thread(
            target=lambda: self.seen.append(self.watched())
        )
        thread.start()
        thread.join()
        if len(self.seen) == self.fails_at:
            raise RuntimeError("the second pass fails")
        return inputs


def watched_model(**settings):
    watcher = Watcher()
    x = inputs = keras.Input((3,))
    for layer in (
        layers.Dense(4),
        layers.BatchNormalization(),
        layers.Dropout(0.5),
        watcher,
        layers.Dense(1),
    ):
        x = layer(x)
    model = keras_sam.SAMModel(inputs, x, rho=RHO, **settings)
    model.compile("adam", "mse", metrics=["mae"], run_eagerly=True)
    model.train_on_batch(normal(6, 3), normal(6, 1))
    model.reset_metrics()
    watcher.seen.clear()
    watcher.watched = lambda: values([
        *model.variables,
        *model.optimizer.variables,
        *model.metrics_variables,
    ])
    return model, watcher


@pytest.mark.parametrize("settings", [{}, {"ascent_fraction": 0.5}])
def test_variables_stay_as_they_were_until_both_passes_are_over(settings):
    model, watcher = watched_model(**settings)
    before = watcher.watched()
    model.train_on_batch(normal(6, 3), normal(6, 1))
    assert len(watcher.seen) == 2
    for seen in watcher.seen:
        for actual, expected in zip(seen, before):
            np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("settings", [{}, {"num_microbatches": 2}])
def test_exception_in_the_second_pass_leaves_everything_as_it_was(settings):
    model, watcher = watched_model(**settings)
    before = watcher.watched()
    watcher.fails_at = 2
    with pytest.raises(RuntimeError, match="the second pass fails"):
        model.train_on_batch(normal(6, 3), normal(6, 1))
    for actual, expected in zip(watcher.watched(), before):
        np.testing.assert_array_equal(actual, expected)
