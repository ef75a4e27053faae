"""Every optimizer of Keras sees the gradient at the perturbed weights, once."""

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
