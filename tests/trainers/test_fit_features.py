"""What `compile` and `fit` offer beside models, data and optimizers."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_sam
from tests import cases
from tests import models
from tests import training

DENSE = cases.MODELS["dense"]
RHO = {"rho": 0.1}


def test_loss_weights_weigh_both_passes():
    training.assert_equals_in_place(
        cases.MODELS["dict_inputs"],
        "sam",
        loss_weights={"kind": 0.1, "size": 3.0},
        run_eagerly=True,
    )


def test_weighted_metrics_are_those_of_keras():
    training.assert_equals_plain(
        DENSE, "sam", data="weighted_dataset", weighted_metrics=["accuracy"]
    )


def test_compiled_anew_fit_takes_the_new_loss_and_optimizer():
    inputs = keras.Input((2,))
    outputs = keras.layers.Dense(1, kernel_initializer="zeros")(inputs)
    model = keras_sam.SAMModel(inputs, outputs, **RHO)
    x, y = np.ones((4, 2)), np.full((4, 1), 3.0)
    found = []
    for loss, rate in [("mse", 0.0), ("mae", 0.0), ("mae", 1.0)]:
        model.compile(keras.optimizers.SGD(rate), loss)
        logs = model.fit(x, y, verbose=0).history
        found.append([*logs["loss"], float(np.sum(model.get_weights()[0]))])
    assert found == [[9.0, 0.0], [3.0, 0.0], [3.0, 2.0]]


class OwnLoss(keras.Model):
    """Penalizes its weights, and has a metric that `compute_loss` updates."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.penalty = keras.metrics.Sum(name="penalty")

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):
        penalty = ops.sum(ops.square(self.trainable_weights[0]))
        self.penalty.update_state(penalty)
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        return loss + 0.1 * penalty


class OwnMetrics(keras.Model):
    """Logs something of its own."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.largest = keras.metrics.Mean(name="largest")

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        self.largest.update_state(ops.max(y_pred, axis=-1))
        logs = super().compute_metrics(x, y, y_pred, sample_weight)
        return {**logs, "batch_mean": ops.mean(x)}


def customized(cls):
    """Return a task with a functional model that is a `cls`."""

    def build(settings):
        inputs = keras.Input((6,))
        model = cls(inputs, models.probabilities()(inputs))
        return models.adopt(model, settings)

    return DENSE._replace(build=build)


@pytest.mark.parametrize("cls", [OwnLoss, OwnMetrics])
def test_rho_0_is_plain_fit_with_methods_of_ones_own(cls):
    training.assert_equals_plain(customized(cls), "asam")


@pytest.mark.parametrize("cls", [OwnLoss, OwnMetrics])
def test_a_step_is_two_passes_with_methods_of_ones_own(cls):
    training.assert_equals_in_place(customized(cls), "sam", run_eagerly=True)


def test_a_metric_of_compute_loss_counts_each_batch_once():
    model, _ = training.train(customized(OwnLoss), {"rho": 0.5})
    model.reset_metrics()
    penalty = np.sum(model.get_weights()[0] ** 2)
    logs = model.train_on_batch(cases.FEATURES, cases.CLASSES, return_dict=True)
    # One sum of squares in float32, in two orders.
    assert logs["penalty"] == pytest.approx(penalty, rel=1e-5)


def test_what_compute_metrics_returns_is_logged():
    _, logs = training.train(customized(OwnMetrics), RHO)
    assert list(logs) == [
        "accuracy",
        "batch_mean",
        "largest",
        "loss",
        "sharpness",
    ]


def test_every_way_of_running_a_step_agrees():
    results = [
        training.train(DENSE, RHO, **cases.EXECUTIONS[execution])
        for execution in cases.EXECUTIONS
    ]
    expected, expected_logs = results[0]
    for model, logs in results[1:]:
        for name, values in logs.items():
            np.testing.assert_allclose(
                values, expected_logs[name], **training.CLOSE
            )
        for one, other in zip(model.get_weights(), expected.get_weights()):
            np.testing.assert_allclose(one, other, **training.CLOSE)


def test_fit_can_be_called_again_and_goes_on():
    keras.utils.set_random_seed(1)
    model = DENSE.build(RHO)
    training.compile_model(model, DENSE)
    for _ in range(2):
        model.fit(
            **cases.DATA["arrays"](DENSE.x, DENSE.y), verbose=0, shuffle=False
        )
    once, _ = training.train(DENSE, RHO)
    training.assert_same(model.get_weights(), once.get_weights())


def test_initial_epoch_and_validation_frequency_are_respected():
    model = DENSE.build(RHO)
    training.compile_model(model, DENSE)
    history = model.fit(
        DENSE.x,
        DENSE.y,
        validation_data=(DENSE.x, DENSE.y),
        initial_epoch=3,
        epochs=7,
        validation_freq=2,
        verbose=0,
    )
    assert history.epoch == [3, 4, 5, 6]
    assert len(history.history["val_loss"]) == 2
    assert "val_sharpness" not in history.history


@pytest.mark.parametrize("method", ["sam", "gsam", "friendly_sam"])
def test_layers_can_be_frozen_and_unfrozen_between_compilations(method):
    model = DENSE.build({"method": method})
    first, last = model.layers[1:]

    def changes():
        training.compile_model(model, DENSE)
        before = model.get_weights()
        model.fit(DENSE.x, DENSE.y, verbose=0)
        pairs = zip(before, model.get_weights())
        return [bool(np.any(a != b)) for a, b in pairs]

    assert changes() == [True, True, True, True]
    first.trainable = False
    assert changes() == [False, False, True, True]
    first.trainable, last.trainable = True, False
    assert changes() == [True, True, False, False]
    last.trainable = True
    assert changes() == [True, True, True, True]


def test_compiling_again_changes_the_loss_and_keeps_the_weights():
    model, _ = training.train(DENSE, RHO)
    before = model.get_weights()
    model.compile("adam", "mse", metrics=["mae"])
    training.assert_same(model.get_weights(), before)
    logs = model.fit(DENSE.x, cases.ONE_HOT, verbose=0).history
    assert logs.keys() == {"loss", "mae", "sharpness"}
    # A mean of squares of differences below 1 is below that of the differences.
    assert 0 < logs["loss"][0] < logs["mae"][0] < 1


def test_a_training_step_of_ones_own_can_call_that_of_sam():
    class Counting(keras_sam.SAMModel):
        num_steps = 0

        def train_step(self, *arguments):  # On JAX, the state and the data.
            Counting.num_steps += 1
            result = super().train_step(*arguments)
            if isinstance(result, tuple):
                return {**result[0], "answer": 42.0}, result[1]
            return {**result, "answer": 42.0}

    inputs = keras.Input((6,))
    model = Counting(inputs, models.probabilities()(inputs), rho=0.1)
    training.compile_model(model, DENSE, run_eagerly=True, jit_compile=False)
    logs = model.fit(DENSE.x, DENSE.y, batch_size=8, verbose=0).history
    assert Counting.num_steps == 3
    assert logs["answer"] == [42.0]
    assert logs["sharpness"][0] > 0
