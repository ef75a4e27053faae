"""Every optimizer of Keras sees the gradient at the perturbed weights, once."""

import keras
import pytest

from tests import cases
from tests import in_place
from tests import marks
from tests import training

# Without batch normalization, which leaves to the bias before it a gradient of
# pure rounding errors, of which Adam and others take the sign.
TASK = cases.MODELS["dense"]


@pytest.mark.parametrize(
    "optimizer, method",
    marks.slow_but(
        [("sgd", "sam"), ("nesterov", "asam")],
        cases.cycle(cases.OPTIMIZERS, in_place.RHO),
    ),
)
def test_a_step_is_two_passes_for_every_optimizer(optimizer, method):
    training.assert_equals_in_place(
        TASK,
        method,
        optimizer=cases.OPTIMIZERS[optimizer],
        # In graph mode Keras 3.15 forgets what this one starts from.
        run_eagerly=optimizer == "schedule_free",
    )


@marks.slow
@pytest.mark.parametrize(
    "optimizer", ["adam", "ema", "accumulation", "loss_scale", "schedule"]
)
def test_rho_0_is_plain_fit_for_every_option(optimizer):
    training.assert_equals_plain(
        TASK,
        "sam",
        optimizer=cases.OPTIMIZERS[optimizer],
        **cases.EXECUTIONS.get("steps", {}),
    )


def test_a_learning_rate_schedule_reaches_the_optimizer():
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay(
        [2], [0.1, 0.0]
    )

    def weights_after(num_steps):
        keras.utils.set_random_seed(1)
        model = TASK.build({"rho": 0.1})
        training.compile_model(
            model, TASK, optimizer=keras.optimizers.SGD(schedule)
        )
        for _ in range(num_steps):
            model.train_on_batch(TASK.x, TASK.y)
        assert model.optimizer.iterations == num_steps
        return training.values(model.trainable_variables)

    training.assert_same(weights_after(5), weights_after(3))
    for early, late in zip(weights_after(1), weights_after(3)):
        assert (early != late).any()


def test_an_accumulated_gradient_moves_the_weights_every_other_step():
    keras.utils.set_random_seed(1)
    model = TASK.build({"rho": 0.1})
    training.compile_model(
        model, TASK, optimizer=cases.OPTIMIZERS["accumulation"]()
    )
    moved = []
    for _ in range(4):
        before = training.values(model.trainable_variables)
        model.train_on_batch(TASK.x, TASK.y)
        after = training.values(model.trainable_variables)
        moved.append(any((a != b).any() for a, b in zip(before, after)))
    assert moved == [False, True, False, True]


def test_a_gradient_that_overflows_skips_the_step_and_lowers_the_scale():
    keras.utils.set_random_seed(1)
    keras.config.set_dtype_policy("mixed_float16")
    model = cases.MODELS["dense"].build({"rho": 0.1})
    inner = keras.optimizers.SGD(0.1)
    optimizer = keras.optimizers.LossScaleOptimizer(inner, initial_scale=2e38)
    training.compile_model(model, TASK, optimizer=optimizer)
    before = training.values(model.weights)
    logs = model.train_on_batch(TASK.x, TASK.y, return_dict=True)
    training.assert_same(training.values(model.weights), before)
    assert float(optimizer.dynamic_scale) == pytest.approx(1e38)
    assert logs["sharpness"] == 0.0
