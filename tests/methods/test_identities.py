"""Methods at the limits of their range equal SAM or the plain optimizer."""

import functools

import keras
import numpy as np
import pytest

from keras_sam import methods
from keras_sam import schedules
from tests import marks
from tests import small_network
from tests.frameworks import COMPILED
from tests.frameworks import MODES
from tests.methods.table import METHODS
from tests.small_network import EAGER

RHO = 0.3
INFINITY = float("inf")

# In units of the largest weight: `g + (h - g)` is `h` up to a rounding, of
# which six steps add up.
TOLERANCE = 6 * 2**-23

COUPLED = methods.WeightedSAM(gamma=0.5, decoupled=False)
HALF = methods.WeightedSAM(gamma=0.5)


def trained(mode=EAGER, momentum=0.9, **settings):
    model = small_network.compiled(mode, momentum, rho=RHO, **settings)
    return small_network.fit(model, epochs=2).weights


@functools.cache
def plain(mode, make_optimizer=keras.optimizers.SGD, **arguments):
    model = small_network.network(keras.Model)
    optimizer = make_optimizer(small_network.LEARNING_RATE, **arguments)
    model.compile(optimizer, "mse", **MODES[mode])
    return small_network.fit(model, epochs=2)


def assert_close(actual, expected):
    np.testing.assert_allclose(
        actual, expected, rtol=0, atol=TOLERANCE * np.max(np.abs(expected))
    )


@pytest.mark.parametrize("num_microbatches", [1, 2])
@pytest.mark.parametrize(
    "method",
    [
        methods.GSAM(alpha=0.0),
        methods.FriendlySAM(sigma=0.0),
        methods.VaSSO(theta=1.0),
        methods.LookSAM(period=1),
        methods.AESAM(threshold=-INFINITY),
    ],
    ids=lambda method: type(method).__name__,
)
def test_method_is_sam(method, num_microbatches):
    settings = {"num_microbatches": num_microbatches}
    np.testing.assert_array_equal(
        trained(method=method, **settings), trained(method="sam", **settings)
    )


@pytest.mark.parametrize("mode", marks.MODES)
def test_functional_sam_of_a_linear_model_is_plain(mode):
    """Its Jacobian is the same everywhere."""
    settings = {"kind": "linear_regression"}
    model = small_network.compiled(
        MODES[mode], method="functional_sam", rho=RHO, **settings
    )
    found = small_network.fit(model, epochs=2)
    plain = small_network.compiled(MODES[mode], rho=0.0, **settings)
    expected = small_network.fit(plain, epochs=2)
    assert_close(found.weights, expected.weights)
    assert found.logs[-1]["sharpness"] > 0.01


@pytest.mark.parametrize("scale_all", [False, True])
def test_sam_in_the_adaptive_metric_is_asam(scale_all):
    metric = methods.AdaptiveMetric(eta=0.02, scale_all=scale_all)
    small_network.assert_same(
        trained(method=methods.SAM(metric=metric)),
        trained(method=methods.ASAM(eta=0.02, scale_all=scale_all)),
    )


def test_weighted_sam_of_equal_weights_is_sam():
    assert_close(trained(method=COUPLED), trained(method="sam"))


def test_decoupled_is_coupled_without_momentum_and_only_then():
    for momentum, is_same in [(0.0, True), (0.9, False)]:
        first = trained(method=COUPLED, momentum=momentum)
        second = trained(method=HALF, momentum=momentum)
        difference = np.max(np.abs(np.subtract(first, second)))
        assert (difference < TOLERANCE * np.max(first)) == is_same


def test_asam_is_sam_where_the_operator_is_one():
    # One step, because the weights are of magnitude one only at first.
    after = []
    for method in ("sam", methods.ASAM(eta=0.0)):
        model = small_network.compiled(method=method, rho=RHO)
        signs = [np.where(w < 0, -1.0, 1.0) for w in model.get_weights()]
        model.set_weights(signs)
        after.append(small_network.fit(model, number=5).weights)
    # PyTorch adds a scaled vector with one rounding, and a list with two.
    small_network.assert_close(*after)
    # An eta that makes the operator one where the weight is not.
    after = []
    for method in ("sam", methods.ASAM(eta=0.5)):
        model = small_network.compiled(method=method, rho=RHO)
        model.set_weights([np.sign(w) / 2 for w in model.get_weights()])
        after.append(small_network.fit(model, number=5).weights)
    small_network.assert_close(*after)


# In graph mode a compiler rewrites comparisons, as if there were no NaN.
@pytest.mark.parametrize("mode", marks.MODES)
@pytest.mark.parametrize("threshold", [INFINITY, -INFINITY])
def test_ae_sam_of_infinite_threshold_is_sam_or_plain(threshold, mode):
    model = small_network.compiled(
        MODES[mode], 0.9, method=methods.AESAM(threshold=threshold), rho=RHO
    )
    found = small_network.fit(model, epochs=2)
    if threshold > 0:
        assert found.logs[-1]["sharpness"] == 0.0
        expected = plain(mode, momentum=0.9)
    else:
        sam = small_network.compiled(MODES[mode], 0.9, method="sam", rho=RHO)
        expected = small_network.fit(sam, epochs=2)
    assert_close(found.weights, expected.weights)


@pytest.mark.parametrize("decoupled", [True, False])
def test_weighted_sam_without_weight_on_sharpness_is_plain(decoupled):
    method = methods.WeightedSAM(gamma=0.0, decoupled=decoupled)
    small_network.assert_same(
        trained(method=method), plain("eager", momentum=0.9).weights
    )


@pytest.mark.parametrize(
    "mode, make_rho",
    [
        ("eager", lambda: 0.0),
        # Both branches are compiled, and must return the same structure.
        (next(iter(COMPILED)), lambda: schedules.LatePhase(1000, 0.1)),
    ],
    ids=["constant", "schedule"],
)
@pytest.mark.parametrize("name", marks.slow_but(["sam"], METHODS))
def test_rho_0_is_the_base_optimizer_bit_for_bit(name, mode, make_rho):
    model = small_network.network(method=METHODS[name].method, rho=make_rho())
    rate = small_network.LEARNING_RATE
    model.compile(keras.optimizers.Adam(rate), "mse", **MODES[mode])
    found = small_network.fit(model, epochs=2)
    expected = plain(mode, keras.optimizers.Adam)
    small_network.assert_same(found.weights, expected.weights)
    for logs, plain_logs in zip(found.logs, expected.logs):
        assert logs == {**plain_logs, "sharpness": 0.0}


@pytest.mark.parametrize("mode", marks.MODES)
def test_look_sam_with_a_direction_is_plain_once_rho_is_0(mode):
    rho = keras.optimizers.schedules.PiecewiseConstantDecay([0], [RHO, 0.0])
    model = small_network.compiled(MODES[mode], method="look_sam", rho=rho)
    x, y, _ = small_network.examples()
    model.train_on_batch(x, y)
    other = small_network.network(keras.Model)
    other.set_weights(model.get_weights())
    optimizer = keras.optimizers.SGD(small_network.LEARNING_RATE)
    other.compile(optimizer, "mse", **MODES[mode])
    model.train_on_batch(x, y)
    other.train_on_batch(x, y)
    assert_close(
        np.concatenate([w.ravel() for w in model.get_weights()]),
        np.concatenate([w.ravel() for w in other.get_weights()]),
    )
