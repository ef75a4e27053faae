"""Every kind of model, loss, data, precision and execution trains as it should.

Two yardsticks: `keras.Model`, which a radius of 0 must equal bit for bit, and
`in_place.py`, the two passes written by hand on variables.
"""

import keras
import numpy as np
import pytest

from tests import cases
from tests import in_place
from tests import marks
from tests import training

DENSE = cases.MODELS["dense"]
RANDOM = cases.MODELS["batch_norm_dropout"]


@pytest.mark.parametrize(
    "model, method",
    marks.slow_but(
        [("dense", "sam")], cases.cycle(cases.MODELS, cases.METHODS)
    ),
)
def test_rho_0_is_plain_fit_for_every_model(model, method):
    training.assert_equals_plain(cases.MODELS[model], method)


@pytest.mark.parametrize(
    "model, method",
    marks.slow_but([("dense", "sam")], cases.cycle(cases.MODELS, in_place.RHO)),
)
def test_a_step_is_two_passes_for_every_model(model, method):
    training.assert_equals_in_place(cases.MODELS[model], method)


@pytest.mark.parametrize(
    "loss, method", cases.cycle(cases.LOSSES, in_place.RHO)
)
def test_a_step_is_two_passes_for_every_loss(loss, method):
    make_loss, y = cases.LOSSES[loss]
    task = DENSE._replace(y=y, loss=make_loss(), metrics=None)
    training.assert_equals_in_place(task, method, run_eagerly=True)


@pytest.mark.parametrize(
    "data, execution, method",
    marks.slow_but([], cases.cycle(cases.DATA, cases.EXECUTIONS, in_place.RHO)),
)
def test_a_step_is_two_passes_for_all_data(data, execution, method):
    training.assert_equals_in_place(
        DENSE, method, data=data, **cases.EXECUTIONS[execution]
    )


@pytest.mark.parametrize(
    "execution", marks.slow_but(["eager"], cases.EXECUTIONS)
)
@pytest.mark.parametrize("precision", cases.PRECISIONS)
def test_rho_0_is_plain_fit_in_every_precision(precision, execution):
    keras.config.set_dtype_policy(precision)
    # Batches of one size, so that XLA compiles once.
    training.assert_equals_plain(
        RANDOM, "sam", data="static_dataset", **cases.EXECUTIONS[execution]
    )


# The second pass sees the same draws and weights but for one rounding of
# w + e, in units of 2^-11 (float16) and 2^-8 (bfloat16) of an activation.
MIXED = {
    "mixed_float16": {"rtol": 1e-3, "atol": 1e-3},
    "mixed_bfloat16": {"rtol": 1e-2, "atol": 1e-2},
}


@marks.slow
@pytest.mark.parametrize("method", in_place.RHO)
@pytest.mark.parametrize("precision", MIXED)
def test_a_step_is_two_passes_in_mixed_precision(precision, method):
    keras.config.set_dtype_policy(precision)
    training.assert_equals_in_place(RANDOM, method, MIXED[precision])


@marks.slow
@pytest.mark.parametrize(
    "method, execution",
    cases.cycle(
        cases.METHODS,
        [name for name in cases.EXECUTIONS if name != "jit"],
    ),
)
def test_every_method_trains(method, execution):
    settings = {**cases.METHODS[method], "num_microbatches": 2}
    assert_trains(RANDOM, settings, **cases.EXECUTIONS[execution])


@marks.slow
@pytest.mark.parametrize("method", cases.METHODS)
def test_every_method_compiles_with_xla(method):
    assert_trains(
        DENSE, cases.METHODS[method], data="static_dataset", jit_compile=True
    )


def assert_trains(task, settings, **arguments):
    """Assert that all weights change and that nothing overflows."""
    model, logs = training.train(task, settings, **arguments)
    assert list(logs) == ["accuracy", "loss", "sharpness"]
    assert np.all(np.isfinite([*logs["loss"], *logs["sharpness"]]))
    keras.utils.set_random_seed(1)
    start = task.build(None).get_weights()
    for before, after in zip(start, model.get_weights(), strict=True):
        assert np.all(np.isfinite(after))
        assert np.any(before != after)
