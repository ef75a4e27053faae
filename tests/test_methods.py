"""Every method, step by step, against its formulas in NumPy."""

import keras
import numpy as np
import pytest

from keras_sam import methods
from tests import reference_methods as formulas
from tests import small_network
from tests.frameworks import COMPILED
from tests.reference_training import train
from tests.small_network import EAGER
from tests.small_network import GRAPH
from tests.small_network import LEARNING_RATE

EPOCHS = 2
MOMENTUM = 0.8

# From the paper, for the six steps of training below.
THRESHOLD = keras.optimizers.schedules.PolynomialDecay(1.0, 6, -1.0)

METHODS = {
    "sam": (methods.SAM(), formulas.sam(), 0.3),
    "asam": (methods.ASAM(eta=0.02), formulas.asam(0.02), 0.5),
    "gsam": (methods.GSAM(alpha=0.3), formulas.gsam(0.3), 0.3),
    "weighted_sam": (
        methods.WeightedSAM(gamma=0.8),
        formulas.weighted_sam(0.8, decoupled=True),
        0.1,
    ),
    "coupled": (
        methods.WeightedSAM(gamma=0.8, decoupled=False),
        formulas.weighted_sam(0.8, decoupled=False),
        0.1,
    ),
    "friendly_sam": (
        methods.FriendlySAM(sigma=0.7, decay=0.6),
        formulas.friendly_sam(0.7, 0.6),
        0.3,
    ),
    "vasso": (methods.VaSSO(theta=0.4), formulas.vasso(0.4), 0.3),
    "stable_sam": (methods.StableSAM(), formulas.stable_sam(), 0.3),
    "momentum_sam": (
        methods.MomentumSAM(momentum=MOMENTUM),
        formulas.momentum_sam(),
        0.3,
    ),
    "look_sam": (
        methods.LookSAM(period=3, alpha=0.6),
        formulas.look_sam(3, 0.6),
        0.3,
    ),
    "ae_sam": (
        methods.AESAM(threshold=THRESHOLD, decay=0.5),
        formulas.ae_sam(lambda t: 1 - 2 * t / 6, 0.5),
        0.3,
    ),
}
"""The method, its formulas, and a radius that leaves its mark."""

# Relative to the largest number compared. Each step adds to a weight what
# comes from a chain of about thirty float32 operations, each off by up to
# 2^-24, and six steps add up.
TOLERANCE = 6 * 30 * 2**-24


def assert_same_training(name, mode, chosen=None, **settings):
    """Compare weights, loss and sharpness after each step of `fit`."""
    method, formula, rho = METHODS[name]
    perturb = {} if chosen is None else {"perturb": is_kernel}
    model = small_network.compiled(
        mode, MOMENTUM, method=method, rho=rho, **perturb, **settings
    )
    steps = train(
        small_network.PROBLEM,
        formula,
        small_network.flat(model.get_weights()),
        EPOCHS * small_network.batches(),
        rho,
        LEARNING_RATE,
        MOMENTUM,
        chosen=chosen,
        **settings,
    )
    recorder = small_network.fit(model, EPOCHS)
    assert_close(recorder.weights, [step.weight for step in steps])
    loss, sharpness = running_means(steps)
    assert_close([logs["loss"] for logs in recorder.logs], loss)
    # It is the difference of two losses, and has their rounding.
    found = np.array([logs["sharpness"] for logs in recorder.logs])
    assert_close(found + loss, sharpness + loss)
    return steps


def running_means(steps):
    """Return what `fit` logs after each step: means since the epoch began."""
    losses, rises = [], []
    length = len(steps) // EPOCHS
    for i, _ in enumerate(steps):
        since = steps[i - i % length : i + 1]
        climbs = [s.sharpness for s in since if s.sharpness is not None]
        sizes = [s.num_seen for s in since]
        losses.append(np.average([s.loss for s in since], weights=sizes))
        rises.append(np.mean(climbs) if climbs else 0.0)
    return np.array(losses), np.array(rises)


def assert_close(actual, expected):
    largest = np.max(np.abs(expected))
    np.testing.assert_allclose(
        actual, expected, rtol=0, atol=TOLERANCE * largest
    )


def is_kernel(variable):
    return variable.name == "kernel"


@pytest.mark.parametrize("mode", COMPILED.values(), ids=COMPILED)
@pytest.mark.parametrize("name", METHODS)
def test_every_step_is_that_of_the_paper(name, mode):
    assert_same_training(name, mode)


@pytest.mark.parametrize("name", METHODS)
def test_every_step_with_microbatches(name):
    # Of two and three examples. What a method remembers is the mean over
    # them, and whether it climbs is decided once.
    assert_same_training(name, EAGER, num_microbatches=2)


# Methods with something to decide, to average and to subtract.
@pytest.mark.parametrize(
    "name", ["weighted_sam", "friendly_sam", "momentum_sam", "ae_sam"]
)
def test_every_compiled_step_with_microbatches(name):
    assert_same_training(name, GRAPH, num_microbatches=2)


@pytest.mark.parametrize("name", METHODS)
def test_every_step_with_half_of_the_batch_for_the_ascent(name):
    assert_same_training(name, EAGER, ascent_fraction=0.5)


@pytest.mark.parametrize("name", METHODS)
def test_every_step_with_some_of_the_weights_perturbed(name):
    kernels = small_network.PROBLEM.is_matrix
    assert_same_training(name, EAGER, chosen=kernels)


def climbs(formula, rho=0.3):
    """Return at which of the steps above a method climbs."""
    steps = train(
        small_network.PROBLEM,
        formula,
        small_network.flat(small_network.network().get_weights()),
        EPOCHS * small_network.batches(),
        rho,
        LEARNING_RATE,
        MOMENTUM,
    )
    return [step.sharpness is not None for step in steps]


def test_the_steps_above_tell_a_right_decision_from_a_wrong_one():
    assert climbs(METHODS["look_sam"][1]) == [True, False, False] * 2
    found = climbs(METHODS["ae_sam"][1])
    assert found == [True, False, False, False, False, True]
    assert climbs(formulas.ae_sam(lambda t: 2 * t / 6 - 1, 0.5)) != found
    assert climbs(formulas.ae_sam(lambda t: 0.0, 0.5)) != found
    assert climbs(formulas.ae_sam(lambda t: 1 - 2 * t / 6, 0.0)) != found


def test_ae_sam_remembers_the_mean_over_the_microbatches():
    # Its decisions do not depend on the unit, so only its memory shows it.
    method, _, rho = METHODS["ae_sam"]
    model = small_network.compiled(method=method, rho=rho, num_microbatches=2)
    weight = small_network.flat(model.get_weights())
    [batch] = small_network.batches(5)
    squares = []
    for rows, share in [(slice(2), 2 / 5), (slice(2, 5), 3 / 5)]:
        part = [array[rows] for array in batch]
        g = 2 * share * small_network.PROBLEM.gradient(weight, *part)
        squares.append(g @ g)
    small_network.fit(model, number=5)
    [mean] = [v for v in model.variables if v.name == "mean"]
    assert float(mean.value) == pytest.approx(np.mean(squares), rel=1e-5)
