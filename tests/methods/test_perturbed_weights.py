"""Perturbing some of the weights, and which gradients that needs."""

import functools

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import keras_sam
from keras_sam import methods
from tests import small_network
from tests.methods.table import METHODS
from tests.methods.table import NAMES
from tests.methods.table import WITH_CLEAN_PASS
from tests.small_network import EAGER
from tests.small_network import GRAPH

ALWAYS_SHARP = {
    "ae_sam": methods.AESAM(threshold=-float("inf")),
    "look_sam": methods.LookSAM(period=1),
}


class Counting(layers.Layer):
    """Multiplies by its weight; counts forward and backward passes."""

    def __init__(self):
        super().__init__()
        self.num_forward = 0
        self.num_backward = 0

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1],), initializer="ones")

    def call(self, inputs):
        self.num_forward += 1
        return ops.custom_gradient(self.multiply)(
            # A function of variables would need another gradient.
            inputs,
            ops.multiply(self.kernel, 1.0),
        )

    def multiply(self, inputs, kernel):
        def gradient(*saved, upstream=None):
            upstream = saved[-1] if upstream is None else upstream
            self.num_backward += 1
            return upstream * kernel, ops.sum(upstream * inputs, axis=0)

        return inputs * kernel, gradient


def counted_step(name, perturb):
    """Return how often one eager step runs the first layer and its gradient."""
    first = Counting()
    inputs = keras.Input((3,))
    hidden = layers.LayerNormalization()(first(inputs))
    model = keras_sam.SAMModel(
        inputs,
        layers.Dense(1)(hidden),
        method=ALWAYS_SHARP.get(name, METHODS[name].method),
        rho=METHODS[name].rho,
        perturb=perturb,
    )
    model.compile(keras.optimizers.SGD(0.1), "mse", **EAGER)
    x, y, _ = small_network.examples(5)
    model.train_on_batch(x, y)  # Here MomentumSAM has no momentum yet.
    first.num_forward = first.num_backward = 0
    logs = model.train_on_batch(x, y, return_dict=True)
    assert logs["sharpness"] != 0
    return first.num_forward, first.num_backward


@pytest.mark.parametrize(
    "perturb",
    ["norm_only", lambda variable: "dense" in variable.path],
    ids=["norm_only", "callable"],
)
@pytest.mark.parametrize("name", METHODS)
def test_first_pass_computes_only_the_gradients_it_needs(name, perturb):
    # AESAM needs all gradients, in case it decides on a plain step.
    needs_all = METHODS[name].combines or name == "ae_sam"
    num_passes = 2 if name in WITH_CLEAN_PASS else 1
    num_backward = 2 if needs_all else 1
    assert counted_step(name, perturb) == (num_passes, num_backward)
    assert counted_step(name, "all") == (num_passes, num_passes)


@pytest.mark.parametrize("name", METHODS)
def test_only_norm_layers_move_before_the_second_pass(name):
    inputs = keras.Input((3,))
    norm = layers.LayerNormalization()
    model = keras_sam.SAMModel(
        inputs,
        layers.Dense(1)(norm(inputs)),
        method=METHODS[name].method,
        rho=0.25,
        perturb="norm_only",
    )
    model.compile(keras.optimizers.SGD(0.1), lambda y, y_pred: y_pred, **EAGER)
    x, y, _ = small_network.examples(5)
    if name == "momentum_sam":
        model.train_on_batch(x, y)
    report = keras_sam.verify(model, x, y)
    assert set(report.relative_sizes) == {norm.gamma.path, norm.beta.path}
    if METHODS[name].is_radius:
        # The norm is over these alone; a handful of float32 operations.
        assert report.perturbation_norm == pytest.approx(0.25, rel=1e-6)
    assert report.num_perturbed == 6
    assert report.num_weights == 10


@pytest.mark.parametrize(
    "name", ["gsam", "weighted_sam", "look_sam", "friendly_sam", "ae_sam"]
)
def test_gradients_of_other_weights_are_applied_too(name):
    # Compiled, over a whole cycle of LookSAM.
    model = small_network.of_method(
        name,
        GRAPH,
        perturb=lambda variable: "output" in variable.path,
    )
    before = model.get_weights()
    small_network.fit(model)
    for a, b in zip(model.get_weights(), before):
        assert np.all(a != b)


@pytest.mark.filterwarnings("ignore:The weights are float16")
@pytest.mark.parametrize("name", NAMES)
def test_every_method_perturbs_weights_of_float16(name):
    """By default, and where squares of gradients are below its range."""
    model = small_network.compiled(
        momentum=0.9,
        method=ALWAYS_SHARP.get(name, name),
        rho=0.25,
        dense=functools.partial(layers.Dense, dtype="float16"),
    )
    x, y, _ = small_network.examples(5)
    y = ops.convert_to_numpy(model(x)).astype("float32") + 1e-3 * y
    model.train_on_batch(x, y)  # Here MomentumSAM has no momentum yet.
    report = keras_sam.verify(model, x, y)
    assert 0 < report.perturbation_norm < 10
    model.train_on_batch(x, y)
    assert all(np.all(np.isfinite(w)) for w in model.get_weights())


class Combining(methods.FriendlySAM):
    """FriendlySAM that is given the gradients of all weights."""

    def combine(self, gradients, perturbed_gradients, state):
        assert len(gradients) == len(perturbed_gradients) == 4
        assert len(state["average"]) == 4
        return perturbed_gradients

    def perturb(self, gradients, weights, rho, state):
        assert len(gradients) == len(weights) == len(state["average"]) == 4
        # The norm is over the last two alone, and the others do not move.
        gradients = [g if i > 1 else 0.0 * g for i, g in enumerate(gradients)]
        average = [
            a if i > 1 else 0.0 * a for i, a in enumerate(state["average"])
        ]
        return super().perturb(
            gradients, weights, rho, {**state, "average": average}
        )


def test_a_combining_method_moves_only_perturbed_weights():
    after = []
    for method in (Combining(), methods.FriendlySAM()):
        model = small_network.compiled(
            method=method,
            rho=0.3,
            perturb=lambda variable: "output" in variable.path,
        )
        after.append(small_network.fit(model).weights)
    small_network.assert_close(*after)
