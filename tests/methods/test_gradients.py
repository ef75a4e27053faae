"""Gradients that are zero, missing or sparse, for every method."""

import contextlib

import keras
import numpy as np
import pytest
from keras import layers

import keras_sam
from keras_sam import schedules
from tests import frameworks
from tests import marks
from tests import small_network
from tests.frameworks import MODES
from tests.methods.table import ALONG_GRADIENTS
from tests.methods.table import METHODS
from tests.small_network import EAGER
from tests.small_network import GRAPH

TOKENS = np.array([[1, 2, 1], [2, 2, 0], [1, 0, 0], [3, 1, 1]])
TARGETS = np.array([[1.0], [-1.0], [0.5], [2.0]])
NUM_STEPS = 4


def steps(model, x, y, count=NUM_STEPS):
    """Train on the same batch again and again; return the logs."""
    logs = [model.train_on_batch(x, y, return_dict=True) for _ in range(count)]
    return [{name: float(log[name]) for name in log} for log in logs]


def token_model(make_first, mode, **settings):
    """Return a model whose first layer takes tokens."""
    inputs = keras.Input((3,), dtype="int32")
    hidden = layers.Flatten()(make_first()(inputs))
    outputs = layers.Dense(1)(layers.Activation("tanh")(hidden))
    model = keras_sam.SAMModel(inputs, outputs, **settings)
    generator = np.random.default_rng(0)
    model.set_weights([generator.normal(size=w.shape) for w in model.weights])
    model.compile(keras.optimizers.SGD(0.1, 0.8), "mse", **mode)
    return model


class DenseEmbedding(layers.Layer):
    """An embedding whose gradient is not sparse."""

    def build(self, shape):
        del shape
        self.embeddings = self.add_weight(shape=(5, 2), name="embeddings")

    def call(self, inputs):
        return keras.ops.matmul(keras.ops.one_hot(inputs, 5), self.embeddings)


def sparse_embedding():
    return layers.Embedding(5, 2)


@pytest.mark.parametrize("num_microbatches", marks.ONE_OR_TWO)
@pytest.mark.parametrize("name", METHODS)
def test_sparse_gradient_is_its_dense_equal(name, num_microbatches):
    assert_sparse_is_dense(name, EAGER, METHODS[name].rho, num_microbatches)


# Both branches of a conditional must return gradients of the same structure.
@pytest.mark.parametrize(
    "name, num_microbatches",
    marks.slow_but(
        [("sam", 1)],
        [*((name, 1) for name in METHODS), ("sam", 2), ("ae_sam", 2)],
    ),
)
def test_sparse_gradient_of_a_compiled_choice(name, num_microbatches):
    radius = schedules.Periodic(2, METHODS[name].rho)
    assert_sparse_is_dense(name, GRAPH, radius, num_microbatches)


def assert_sparse_is_dense(name, mode, rho, num_microbatches):
    # Tokens 1 and 2 are in the batch several times, 4 never.
    models = [
        token_model(
            make,
            mode,
            method=METHODS[name].method,
            rho=rho,
            num_microbatches=num_microbatches,
        )
        for make in (sparse_embedding, DenseEmbedding)
    ]
    sparse_logs, dense_logs = [steps(m, TOKENS, TARGETS) for m in models]
    for a, b in zip(*(m.get_weights() for m in models)):
        # Duplicate rows are summed in another order: a few units in the last
        # place in each of four steps.
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    for a, b in zip(sparse_logs, dense_logs):
        assert a == pytest.approx(b, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("name", METHODS)
def test_rho_0_leaves_sparse_gradients_sparse(name):
    # Without momentum, SGD subtracts each row of a sparse gradient separately,
    # which rounds differently from subtracting their sum.
    after = []
    for arguments in ({"method": METHODS[name].method, "rho": 0.0}, None):
        inputs = keras.Input((3,), dtype="int32")
        outputs = layers.Flatten()(layers.Embedding(5, 2, name="e")(inputs))
        if arguments is None:
            model = keras.Model(inputs, outputs)
        else:
            model = keras_sam.SAMModel(inputs, outputs, **arguments)
        model.set_weights([np.random.default_rng(0).normal(size=(5, 2))])
        model.compile(keras.optimizers.SGD(0.37), "mse", **EAGER)
        steps(model, TOKENS, np.tile(TARGETS, 6))
        after.append(model.get_weights())
    small_network.assert_same(*after)


class WithUnusedWeight(layers.Dense):
    """Has a weight on which nothing depends."""

    def build(self, shape):
        self.unused = self.add_weight(shape=(2,), initializer="ones")
        super().build(shape)


def warning_of_missing_gradients():
    if "warning of missing gradients" in frameworks.LACKS:
        return contextlib.nullcontext()
    return pytest.warns(UserWarning, match="Gradients do not exist for")


def cases(*more, names=METHODS):
    """Return methods in eager steps, and some in all modes."""
    eager = [(name, "eager", 1) for name in names]
    every_mode = [
        (name, mode, num_microbatches)
        for name, num_microbatches in [("sam", 1), ("sam", 2), ("asam", 1)]
        for mode in MODES
    ]
    found = dict.fromkeys([*eager, *every_mode, *more])
    return marks.slow_but([c for c in found if c[1] == "eager"], found)


def model_of(layer, name, mode, num_microbatches, scaled=False):
    inputs = keras.Input((3,))
    model = keras_sam.SAMModel(
        inputs,
        layer(inputs),
        method=METHODS[name].method,
        rho=METHODS[name].rho,
        num_microbatches=num_microbatches,
    )
    optimizer = keras.optimizers.SGD(0.1, 0.8)
    if scaled:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    model.compile(optimizer, "mse", **MODES[mode])
    return model


@pytest.mark.parametrize(
    ("name", "mode", "num_microbatches"),
    cases(names=ALONG_GRADIENTS),
)
@pytest.mark.parametrize("scaled", [False, True])
def test_weight_without_gradient_stays_and_changes_nothing(
    name, mode, num_microbatches, scaled
):
    x, y, _ = small_network.examples(5)
    unused, dense = WithUnusedWeight(1), layers.Dense(1)
    model, without = (
        model_of(layer, name, mode, num_microbatches, scaled)
        for layer in (unused, dense)
    )
    without.set_weights([unused.kernel.numpy(), unused.bias.numpy()])
    with warning_of_missing_gradients():
        steps(model, x, y)
    steps(without, x, y)
    np.testing.assert_array_equal(unused.unused.numpy(), [1.0, 1.0])
    # The same operations on the same numbers.
    small_network.assert_same(
        [unused.kernel.numpy(), unused.bias.numpy()], without.get_weights()
    )


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("name", METHODS)
def test_a_loss_that_depends_on_no_weight_does_what_it_does_in_keras(
    name, scaled
):
    """The optimizer raises; on JAX, zeros stand for missing gradients."""
    x, y, _ = small_network.examples(5)
    model = model_of(layers.Dense(1), name, "eager", 1, scaled)
    model.compile(
        model.optimizer,
        lambda y, y_pred: keras.ops.stop_gradient(y_pred) - y,
        run_eagerly=True,
    )
    before = model.get_weights()
    refused = pytest.raises(ValueError, match="No gradients provided")
    if "warning of missing gradients" in frameworks.LACKS:
        refused = contextlib.nullcontext()
    with refused:
        steps(model, x, y)
    small_network.assert_same(model.get_weights(), before)


@pytest.mark.parametrize(
    ("name", "mode", "num_microbatches"),
    # A compiler may simplify a guarded quotient and lose the guard.
    cases(
        *(
            (name, list(MODES)[-1], 1)
            for name in ("gsam", "stable_sam", "look_sam")
        ),
        names=ALONG_GRADIENTS,
    ),
)
def test_zero_gradient_moves_nothing(name, mode, num_microbatches):
    # The model is exact on the batch.
    dense = layers.Dense(1, kernel_initializer="ones")
    model = model_of(dense, name, mode, num_microbatches)
    x = np.arange(6.0).reshape(2, 3)
    before = model.get_weights()
    logs = steps(model, x, x.sum(axis=1, keepdims=True))
    small_network.assert_same(model.get_weights(), before)
    assert logs == [{"loss": 0.0, "sharpness": 0.0}] * NUM_STEPS
    for value in small_network.values(model.variables):
        assert np.all(np.isfinite(value))
