"""Every step of `fit`, compared with the methods as the papers print them."""

import keras
import numpy as np
import pytest

import keras_sam
from tests import frameworks
from tests import small_network
from tests.methods.table import ALONG_GRADIENTS
from tests.methods.table import METHODS
from tests.methods.table import MOMENTUM
from tests.methods.table import ROWS
from tests.methods.table import VARIANTS
from tests.methods.table import WITH_ASCENT_FRACTION
from tests.reference import methods as formulas
from tests.reference import problems
from tests.small_network import EAGER
from tests.small_network import EPOCHS
from tests.small_network import GRAPH

PENALTY = 0.1
RAGGED = 12  # Examples, so that the last batch has 2 and not 5.


def assert_same_training(
    name,
    mode,
    network="tanh_network",
    momentum=MOMENTUM,
    number=small_network.NUM_EXAMPLES,
    chosen=None,
    penalty=0.0,
    dense=keras.layers.Dense,
    **settings,
):
    """Compare weights, loss and sharpness after each step of `fit`."""
    model = small_network.of_method(
        name,
        mode,
        momentum,
        kind=network,
        dense=dense,
        **settings,
        **({} if chosen is None else {"perturb": is_kernel}),
    )
    steps = small_network.reference_steps(
        model,
        ROWS[name].formula,
        ROWS[name].rho,
        number,
        problems.with_penalty(small_network.NETWORKS[network].problem, penalty),
        momentum=momentum,
        chosen=chosen,
        **settings,
    )
    small_network.assert_same_training(model, steps, number)


def is_kernel(variable):
    return variable.name == "kernel"


# Under XLA, TensorFlow draws other numbers than the reference is given.
@pytest.mark.parametrize("name", ALONG_GRADIENTS)
def test_every_step_is_that_of_the_paper(name, mode):
    assert_same_training(name, mode)


@pytest.mark.parametrize("name", sorted({*METHODS} - {*ALONG_GRADIENTS}))
def test_every_step_with_random_numbers_is_that_of_the_paper(name):
    assert_same_training(name, EAGER)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_step_of_a_variant_is_that_of_the_paper(name):
    assert_same_training(name, EAGER)


@pytest.mark.parametrize("name", ["sam", "asam"])
@pytest.mark.parametrize("network", small_network.NETWORKS)
def test_every_step_of_every_network_without_momentum(network, name, mode):
    assert_same_training(name, mode, network, momentum=0.0, number=RAGGED)


# MomentumSAM is tied to a momentum of 0.9.
@pytest.mark.parametrize("name", [n for n in METHODS if n != "momentum_sam"])
@pytest.mark.parametrize("num_microbatches", [1, 3])
def test_every_step_in_float64(name, num_microbatches):
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    with frameworks.float64():
        # Keras' SGD rounds its momentum to float32: 0.5 loses nothing.
        assert_same_training(
            name, GRAPH, momentum=0.5, num_microbatches=num_microbatches
        )


# Methods with something to decide, to average and to subtract.
@pytest.mark.parametrize(
    ("name", "num_microbatches"),
    [
        ("sam", 2),
        ("asam", 3),
        ("weighted_sam", 2),
        ("friendly_sam", 2),
        ("momentum_sam", 2),
        ("ae_sam", 2),
    ],
)
def test_every_compiled_step_with_microbatches(name, num_microbatches, mode):
    assert_same_training(
        name, mode, number=RAGGED, num_microbatches=num_microbatches
    )


@pytest.mark.parametrize("name", WITH_ASCENT_FRACTION)
def test_every_step_with_half_of_the_batch_for_the_ascent(name):
    assert_same_training(name, EAGER, ascent_fraction=0.5)


@pytest.mark.parametrize(
    ("name", "num_microbatches"), [("sam", 1), ("asam", 2)]
)
def test_every_step_with_half_of_each_part_for_the_ascent(
    name, num_microbatches, mode
):
    assert_same_training(
        name,
        mode,
        number=RAGGED,
        num_microbatches=num_microbatches,
        ascent_fraction=0.5,
    )


@pytest.mark.parametrize("name", METHODS)
def test_every_step_with_some_of_the_weights_perturbed(name):
    kernels = small_network.PROBLEM.is_matrix
    assert_same_training(name, EAGER, chosen=kernels)


class PenalizedDense(keras.layers.Dense):
    """Adds to the loss what the L2 regularizer of the same factor adds."""

    def call(self, inputs):
        self.add_loss(PENALTY * keras.ops.sum(self.kernel**2))
        return super().call(inputs)


def regularized_dense(**arguments):
    regularizer = keras.regularizers.L2(PENALTY)
    return keras.layers.Dense(kernel_regularizer=regularizer, **arguments)


@pytest.mark.parametrize("num_microbatches", [1, 2])
@pytest.mark.parametrize("network", ["linear_regression", "tanh_network"])
@pytest.mark.parametrize("dense", [PenalizedDense, regularized_dense])
def test_penalties_are_those_at_w_and_at_w_plus_e(
    dense, network, num_microbatches
):
    assert_same_training(
        "sam",
        EAGER,
        network,
        penalty=PENALTY,
        dense=dense,
        num_microbatches=num_microbatches,
    )


def test_penalties_are_right_in_every_mode(mode):
    assert_same_training("sam", mode, penalty=PENALTY, dense=PenalizedDense)


def has_second_pass(formula, rho=0.3):
    """Return at which of the steps above a method has a second pass."""
    steps = small_network.reference_steps(
        small_network.network(), formula, rho, momentum=MOMENTUM
    )
    return [step.sharpness is not None for step in steps]


def test_the_steps_above_tell_a_right_decision_from_a_wrong_one():
    assert has_second_pass(METHODS["look_sam"].formula) == [
        True, False, False
    ] * EPOCHS  # fmt: skip
    found = has_second_pass(METHODS["ae_sam"].formula)
    assert found == [True, False, False, False, False, True]
    for threshold, decay in [
        (lambda t: 2 * t / 6 - 1, 0.5),
        (lambda t: 0.0, 0.5),
        (lambda t: 1 - 2 * t / 6, 0.0),
    ]:
        assert has_second_pass(formulas.ae_sam(threshold, decay)) != found


def test_ae_sam_stores_the_mean_over_the_microbatches():
    # Each counts with its share of the examples.
    model = small_network.of_method("ae_sam", num_microbatches=2)
    weight = small_network.flat(model.get_weights())
    [batch] = small_network.batches(5)
    squares = []
    for rows in slice(2), slice(2, 5):
        part = [array[rows] for array in batch]
        g = small_network.PROBLEM.gradient(weight, *part)
        squares.append(g @ g)
    mean_square = np.average(squares, weights=[2, 3])
    small_network.fit(model, number=5)
    [mean] = [v for v in model.variables if v.name == "mean"]
    assert float(mean.value) == pytest.approx(mean_square, rel=1e-5)


class Linear(keras_sam.SAMModel):
    """A subclassed model of one layer."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.dense = keras.layers.Dense(1, use_bias=False)

    def call(self, inputs):
        return self.dense(inputs)


def functional(**settings):
    inputs = keras.Input((2,))
    outputs = keras.layers.Dense(1, use_bias=False)(inputs)
    return keras_sam.SAMModel(inputs, outputs, **settings)


def from_sequential(**settings):
    layers = [keras.Input((2,)), keras.layers.Dense(1, use_bias=False)]
    return keras_sam.SAMModel.from_model(keras.Sequential(layers), **settings)


@pytest.mark.parametrize("make", [functional, Linear, from_sequential])
def test_one_step_of_sam_by_hand(make, mode):
    # One example, x = (3, 4), y = 6, at w = (1, 1): the residual is
    # 3 + 4 - 6 = 1 and the loss 1. The gradient 2 * 1 * (3, 4) = (6, 8) has
    # norm 10, so with rho = 0.5 e = 0.5 / 10 * (6, 8) = (0.3, 0.4). At
    # w + e = (1.3, 1.4) the residual is 3.9 + 5.6 - 6 = 3.5, the loss 12.25
    # and the gradient 2 * 3.5 * (3, 4) = (21, 28). The step of length 0.01
    # goes from w = (1, 1) to (0.79, 0.72); the sharpness is 12.25 - 1.
    model = make(rho=0.5)
    model(np.zeros((1, 2)))
    model.set_weights([np.ones((2, 1))])
    model.compile(keras.optimizers.SGD(0.01), "mse", **mode)
    history = model.fit(
        np.array([[3.0, 4.0]]), np.array([[6.0]]), verbose=0
    ).history
    # About ten float32 operations on numbers up to 12.25.
    np.testing.assert_allclose(
        model.get_weights()[0], [[0.79], [0.72]], rtol=10 * 2**-24
    )
    assert history["loss"] == pytest.approx([1.0], rel=10 * 2**-24)
    assert history["sharpness"] == pytest.approx([11.25], rel=10 * 2**-24)


def test_one_step_of_asam_by_hand(mode):
    # The same example, at w = (1, 0.4), with eta = 0 for easy numbers: the
    # residual is 3 + 1.6 - 6 = -1.4 and g = -2.8 * (3, 4) = (-8.4, -11.2).
    # T = (1, 0.4), T g = (-8.4, -4.48), of norm 9.52, so with rho = 0.5
    # e = 0.5 / 9.52 * (1 * -8.4, 0.4 * -4.48) = (-7.5, -1.6) / 17, as
    # 8.4 / 19.04 = 7.5 / 17 and 1.792 / 19.04 = 1.6 / 17. The residual at
    # w + e is -1.4 - (22.5 + 6.4) / 17 = -1.4 - 1.7 = -3.1, the gradient
    # -6.2 * (3, 4) = (-18.6, -24.8), and the step of length 0.01 goes to
    # (1.186, 0.648). The loss was 1.96 and is 9.61 at w + e.
    model = functional(method=keras_sam.methods.ASAM(eta=0.0), rho=0.5)
    model.set_weights([np.array([[1.0], [0.4]])])
    model.compile(keras.optimizers.SGD(0.01), "mse", **mode)
    history = model.fit(
        np.array([[3.0, 4.0]]), np.array([[6.0]]), verbose=0
    ).history
    # The subtraction in the residual magnifies the rounding of 6 to a
    # quarter of its units, and about ten operations follow.
    np.testing.assert_allclose(
        model.get_weights()[0], [[1.186], [0.648]], rtol=10 * 2**-24
    )
    assert history["loss"] == pytest.approx([1.96], rel=40 * 2**-24)
    assert history["sharpness"] == pytest.approx([7.65], rel=40 * 2**-24)
