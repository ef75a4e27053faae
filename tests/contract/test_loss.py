"""Loss, metrics, weights and masks in a step.

The table of side effects in `keras_sam/engine/__init__.py`, loss and metrics,
regularizers and `add_loss`, class weights, sample weights and masks.
`tests/engine/test_steps.py` has the penalties and sample weights of all steps.
"""

import keras
import numpy as np
import pytest
from keras import layers

import keras_sam
from keras_sam import schedules
from tests.contract.twins import chain
from tests.contract.twins import copy_state
from tests.contract.twins import normal
from tests.contract.twins import twins
from tests.contract.twins import values

RHO = 0.5


def two_outputs(model):
    inputs = keras.Input((3,))
    hidden = layers.Dense(
        4, activation="relu", kernel_regularizer="l2", activity_regularizer="l1"
    )(inputs)
    outputs = {
        "kind": layers.Dense(3, activation="softmax", name="kind")(hidden),
        "size": layers.Dense(1, name="size")(hidden),
    }
    return model(inputs, outputs)


def test_loss_and_metrics_are_those_of_a_plain_step(mode):
    plain, sam = twins(two_outputs, rho=RHO)
    for model in (plain, sam):
        model.compile(
            keras.optimizers.SGD(0.1),
            loss={"kind": "sparse_categorical_crossentropy", "size": "mse"},
            loss_weights={"kind": 1.0, "size": 0.5},
            metrics={"kind": ["accuracy"], "size": ["mae"]},
            weighted_metrics={"size": ["mse"]},
            **mode,
        )
    x = normal(6, 3)
    y = {"kind": np.arange(6) % 3, "size": normal(6, 1)}
    weight = {"kind": np.linspace(0, 1, 6), "size": np.linspace(1, 2, 6)}
    for _ in range(3):
        copy_state(sam, plain)
        logs = plain.train_on_batch(x, y, weight, return_dict=True)
        sam_logs = sam.train_on_batch(x, y, weight, return_dict=True)
        # A gradient of the regularizers points uphill.
        assert sam_logs.pop("sharpness") > 0
        # The same operations on the same numbers.
        assert sam_logs == logs


def test_logs_have_one_entry_more_than_those_of_a_plain_model():
    logs = []
    for model in twins(two_outputs, rho=RHO):
        model.compile("sgd", {"kind": None, "size": "mse"})
        data = {"kind": np.zeros(6), "size": normal(6, 1)}
        logs.append(model.fit(normal(6, 3), data, verbose=0).history)
    assert set(logs[1]) - set(logs[0]) == {"sharpness"}
    assert set(logs[0]) < set(logs[1])


def weights_after_a_step(model, *data, loss="mse", **mode):
    model.compile(keras.optimizers.SGD(0.1), loss, **mode)
    model.train_on_batch(*data)
    return values(model.trainable_variables)


def assert_close(actual, expected):
    for a, b in zip(actual, expected, strict=True):
        # Sums of up to 30 products, in another order: 30 * 2^-24 = 2e-6.
        np.testing.assert_allclose(a, b, rtol=2e-6, atol=2e-6)


def network():
    make = chain(
        lambda: keras.Input((3,)),
        lambda: layers.Dense(4, activation="tanh"),
        lambda: layers.Dense(3, activation="softmax"),
    )
    return make(lambda *ends: keras_sam.SAMModel(*ends, rho=RHO))


def test_examples_of_weight_zero_are_in_neither_pass(mode):
    first, second = network(), network()
    copy_state(first, second)
    x, y = normal(6, 3), normal(6, 3)
    weight = np.array([1.0, 1.0, 1.0, 1.0, 0.0, 0.0])
    loss = keras.losses.MeanSquaredError(reduction="sum")
    assert_close(
        weights_after_a_step(first, x, y, weight, loss=loss, **mode),
        weights_after_a_step(second, x[:4], y[:4], loss=loss, **mode),
    )


def test_class_weights_are_sample_weights_in_both_passes(mode):
    first, second = network(), network()
    copy_state(first, second)
    x, y = normal(6, 3), np.arange(6) % 3
    class_weight = {0: 0.0, 1: 3.0, 2: 1.0}
    weight = np.array([class_weight[kind] for kind in y])
    loss = "sparse_categorical_crossentropy"
    assert_close(
        weights_after_a_step(
            first, x, y, None, class_weight, loss=loss, **mode
        ),
        weights_after_a_step(second, x, y, weight, loss=loss, **mode),
    )


def recurrent_network(*masking):
    make = chain(
        lambda: keras.Input((5, 2)),
        *masking,
        lambda: layers.SimpleRNN(3, return_sequences=True),
        lambda: layers.Dense(2),
    )
    return make(lambda *ends: keras_sam.SAMModel(*ends, rho=RHO))


def test_masked_times_are_in_neither_pass(mode):
    first, second = recurrent_network(layers.Masking), recurrent_network()
    copy_state(first, second)
    x, y = normal(4, 5, 2), normal(4, 5, 2)
    # The last two times are masked, so the others do not depend on them.
    x[:, 3:] = 0.0
    weight = np.ones((4, 5))
    weight[:, 3:] = 0.0
    loss = keras.losses.MeanSquaredError(reduction="sum")
    masked = weights_after_a_step(first, x, y, loss=loss, **mode)
    assert_close(
        masked,
        weights_after_a_step(second, x, y, weight, loss=loss, **mode),
    )


class Penalized(keras_sam.SAMModel):
    """A `compute_loss` that looks at the inputs, the weights and the losses."""

    def compute_loss(self, x, y, y_pred, sample_weight=None, training=True):
        del training
        x, y, sample_weight = map(
            keras.ops.convert_to_tensor, (x, y, sample_weight)
        )
        error = keras.ops.mean(sample_weight[:, None] * (y - y_pred) ** 2)
        penalty = 0.1 * keras.ops.sum(self.layers[-1].kernel ** 2)
        return error + penalty + keras.ops.mean(x) + sum(self.losses)


def test_custom_loss_is_evaluated_at_w_and_at_w_plus_e(mode):
    # The same as a regularizer, for whose steps there is a reference.
    inputs = keras.Input((3,))
    custom = Penalized(inputs, layers.Dense(2)(inputs), rho=RHO)
    regularized = keras_sam.SAMModel(
        inputs,
        layers.Dense(2, kernel_regularizer=keras.regularizers.L2(0.1))(inputs),
        rho=RHO,
    )
    copy_state(custom, regularized)
    data = normal(6, 3), normal(6, 2), np.linspace(0, 1, 6, dtype="float32")
    assert_close(
        weights_after_a_step(custom, *data, loss=None, **mode),
        weights_after_a_step(regularized, *data, **mode),
    )


class Count(keras.metrics.Metric):
    """Counts its updates; its result is what the variable holds, not a copy."""

    def __init__(self):
        super().__init__(name="count")
        self.count = self.add_variable((), "zeros")

    def update_state(self, y, y_pred, sample_weight=None):
        self.count.assign_add(1.0)

    def result(self):
        return self.count.value


class LogsRate(keras_sam.SAMModel):
    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        logs = super().compute_metrics(x, y, y_pred, sample_weight)
        rate = keras.ops.convert_to_tensor(self.optimizer.learning_rate)
        return {**logs, "rate": rate}


@pytest.mark.parametrize(
    "settings",
    [
        {"rho": 0.1},
        {"rho": schedules.LatePhase(1, 0.1)},
        {"method": "look_sam"},
        {"method": "ae_sam"},
        {"method": "momentum_sam"},
        {"num_microbatches": 2},
        {"ascent_fraction": 0.5},
    ],
    ids=(
        "sam",
        "late_phase",
        "look_sam",
        "ae_sam",
        "momentum_sam",
        "two_microbatches",
        "half",
    ),
)
@pytest.mark.parametrize("wrapped", ["plain", "scaled", "accumulating"])
def test_metrics_read_the_learning_rate_as_after_the_update(
    settings, wrapped, mode
):
    inputs = keras.Input((3,))
    model = LogsRate(inputs, layers.Dense(1)(inputs), **settings)
    optimizer = keras.optimizers.SGD(
        keras.optimizers.schedules.ExponentialDecay(0.5, 1, 0.5),
        gradient_accumulation_steps=2 if wrapped == "accumulating" else None,
    )

    def rate_metric(y, y_pred):
        return keras.ops.convert_to_tensor(optimizer.learning_rate)

    if wrapped == "scaled":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    model.compile(optimizer, "mse", metrics=[Count(), rate_metric], **mode)
    num_parts = settings.get("num_microbatches", 1)
    for step in range(1, 4):
        model.reset_metrics()  # Old versions of Keras do not do it here.
        logs = model.train_on_batch(
            normal(4, 3), normal(4, 1), return_dict=True
        )
        # Powers of two; the exponential is rounded.
        rates = [logs["rate"], logs["rate_metric"]]
        np.testing.assert_allclose(rates, 0.5 ** (step + 1), rtol=1e-6)
        assert logs["count"] == num_parts
