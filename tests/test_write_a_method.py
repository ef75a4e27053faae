"""The example of a new method, with the tests that a user would write."""

import keras
import numpy as np
import pytest

import keras_sam
from examples.write_a_method import PowerSAM
from tests import marks
from tests import small_network
from tests.frameworks import COMPILED


@marks.slow
@pytest.mark.parametrize("mode", COMPILED.values(), ids=COMPILED)
@pytest.mark.parametrize("power", [0.0, 0.5])
def test_step_is_that_of_the_formula(power, mode):
    model = small_network.compiled(mode, method=PowerSAM(power=power), rho=0.3)
    w = small_network.flat(model.get_weights())
    [batch] = small_network.batches(5)
    g = small_network.PROBLEM.gradient(w, *batch)
    d = np.sign(g) * np.abs(g) ** power
    e = 0.3 * d / np.linalg.norm(d)
    h = small_network.PROBLEM.gradient(w + e, *batch)
    [found] = small_network.fit(model, number=5).weights
    # About thirty float32 operations on numbers of order one.
    expected = w - small_network.LEARNING_RATE * h
    np.testing.assert_allclose(found, expected, rtol=0, atol=30 * 2**-24)


def test_power_one_is_sam():
    models = [
        small_network.compiled(method=method, rho=0.3)
        for method in (PowerSAM(power=1.0), "sam")
    ]
    small_network.assert_same(*(small_network.fit(m).weights for m in models))


def test_power_zero_moves_all_weights_by_the_same_amount():
    model = small_network.compiled(method=PowerSAM(), rho=0.3)
    report = keras_sam.verify(model, *small_network.examples(5))
    each = 0.3 / np.sqrt(report.num_weights)
    weights = model.trainable_variables
    for weight, size in zip(weights, report.relative_sizes.values()):
        length = size * np.linalg.norm(weight.numpy())
        # A handful of float32 operations.
        assert length == pytest.approx(
            each * np.sqrt(np.prod(weight.shape)), rel=1e-6
        )


def test_zero_gradient_moves_nothing():
    zeros = [np.zeros(3, "float32")]
    [e] = PowerSAM().perturb(zeros, [None], 0.3, {})
    np.testing.assert_array_equal(e, zeros[0])


def test_saved_model_keeps_the_method(tmp_path):
    small_network.network(method=PowerSAM(power=0.25)).save(
        tmp_path / "model.keras"
    )
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.sam.method == PowerSAM(power=0.25)


def test_bad_power_is_refused():
    with pytest.raises(ValueError, match=r"`power` must be >= 0.*-1"):
        PowerSAM(power=-1.0)
