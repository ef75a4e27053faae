"""Every step of `fit`, compared with the methods as the papers print them."""

import keras
import numpy as np
import pytest

import keras_sam
from tests import frameworks
from tests import reference

NUM_FEATURES = 3
NUM_HIDDEN = 4

# Relative to the largest number compared. What a step adds to a weight comes
# from a chain of about twenty operations, each off by up to 2^-24 in float32.
NUM_ROUNDINGS = 20

NUM_EXAMPLES = 12
NUM_EPOCHS = 2
BATCH_SIZE = 5
LEARNING_RATE = 0.1
PENALTY = 0.1
RHO = {"sam": 0.3, "asam": 0.5}


def linear_regression(**layer):
    problem = reference.linear_regression(NUM_FEATURES)
    return problem, [keras.layers.Dense(1, **layer)], "mse"


def logistic_regression(**layer):
    problem = reference.logistic_regression(NUM_FEATURES)
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    return problem, [keras.layers.Dense(1, **layer)], loss


def tanh_network(**layer):
    problem = reference.tanh_network(NUM_FEATURES, NUM_HIDDEN)
    hidden = keras.layers.Dense(NUM_HIDDEN, "tanh", **layer)
    return problem, [hidden, keras.layers.Dense(1, **layer)], "mse"


PROBLEMS = [linear_regression, logistic_regression, tanh_network]


def examples():
    generator = np.random.default_rng(1)
    x = generator.normal(size=(NUM_EXAMPLES, NUM_FEATURES)).astype("float32")
    y = generator.integers(0, 2, size=(NUM_EXAMPLES, 1)).astype("float32")
    sample_weight = generator.uniform(0.5, 1.5, NUM_EXAMPLES).astype("float32")
    return x, y, sample_weight


def sam_model(layers, **settings):
    x = inputs = keras.Input((NUM_FEATURES,))
    for layer in layers:
        x = layer(x)
    model = keras_sam.SAMModel(inputs, x, **settings)
    generator = np.random.default_rng(2)
    model.set_weights([generator.normal(size=w.shape) for w in model.weights])
    return model


def flat(weights):
    return np.concatenate([np.ravel(w) for w in weights]).astype("float64")


class Recorder(keras.callbacks.Callback):
    """Remembers weights and logs after every batch."""

    def __init__(self):
        super().__init__()
        self.weights = []
        self.loss = []
        self.sharpness = []

    def on_train_batch_end(self, batch, logs=None):
        self.weights.append(flat(self.model.get_weights()))
        self.loss.append(logs["loss"])
        self.sharpness.append(logs["sharpness"])


def reference_steps(problem, method, weight, **arguments):
    x, y, sample_weight = (array.astype("float64") for array in examples())
    rows = [slice(i, i + BATCH_SIZE) for i in range(0, len(x), BATCH_SIZE)]
    batches = [(x[i], y[i, 0], sample_weight[i]) for i in rows]
    return reference.train(
        problem,
        reference.METHODS[method],
        weight,
        NUM_EPOCHS * batches,
        rho=RHO[method],
        learning_rate=LEARNING_RATE,
        **arguments,
    )


def assert_same_training(
    make,
    method,
    mode,
    momentum=0.0,
    penalty=0.0,
    **settings,
):
    """Compare weights, loss and sharpness after each step of `fit`."""
    problem, layers, loss = make()
    model = sam_model(layers, method=method, rho=RHO[method], **settings)
    model.compile(keras.optimizers.SGD(LEARNING_RATE, momentum), loss, **mode)
    x, y, sample_weight = examples()
    steps = reference_steps(
        reference.with_penalty(problem, penalty),
        method,
        flat(model.get_weights()),
        momentum=momentum,
        **settings,
    )
    recorder = Recorder()
    model.fit(
        x,
        y,
        sample_weight=sample_weight,
        batch_size=BATCH_SIZE,
        epochs=NUM_EPOCHS,
        shuffle=False,
        verbose=0,
        callbacks=[recorder],
    )
    weights = [step.weight for step in steps]
    assert_close(
        recorder.weights, weights, frameworks.accuracy(keras.config.floatx())
    )
    # `fit` logs running means: of the loss over examples, of the sharpness
    # over batches.
    num_seen = [step.num_seen for step in steps]
    loss = running_means([step.loss for step in steps], num_seen)
    assert_close(recorder.loss, loss)
    sharpness = running_means(
        [step.sharpness for step in steps], np.ones(len(steps))
    )
    # It is the difference of two losses, and has their rounding.
    assert_close(recorder.sharpness + loss, sharpness + loss)


def running_means(values, weights):
    values = np.reshape(values, (NUM_EPOCHS, -1))
    weights = np.reshape(weights, (NUM_EPOCHS, -1))
    means = np.cumsum(values * weights, axis=1) / np.cumsum(weights, axis=1)
    return means.ravel()


def assert_close(actual, expected, dtype="float32"):
    rounding = np.finfo(dtype).eps / 2
    np.testing.assert_allclose(
        actual,
        expected,
        rtol=0,
        atol=NUM_ROUNDINGS * rounding * np.max(np.abs(expected)),
    )


@pytest.mark.parametrize("method", RHO)
@pytest.mark.parametrize("make", PROBLEMS)
def test_every_step_is_that_of_the_paper(make, method, mode):
    assert_same_training(make, method, mode)


@pytest.mark.parametrize("method", RHO)
@pytest.mark.parametrize("num_microbatches", [1, 3])
def test_every_step_in_float64(method, num_microbatches):
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    with frameworks.float64():
        assert_same_training(
            tanh_network,
            method,
            frameworks.GRAPH,
            num_microbatches=num_microbatches,
        )


@pytest.mark.parametrize(
    ("method", "num_microbatches"), [("sam", 2), ("asam", 3)]
)
def test_every_step_with_microbatches(method, num_microbatches, mode):
    # Batches of 5 do not split evenly; the last one has 2 examples.
    assert_same_training(
        tanh_network, method, mode, num_microbatches=num_microbatches
    )


def test_every_step_with_half_of_the_batch_for_the_ascent(mode):
    assert_same_training(tanh_network, "sam", mode, ascent_fraction=0.5)


def test_every_step_with_half_of_each_microbatch_for_the_ascent(mode):
    assert_same_training(
        tanh_network, "asam", mode, num_microbatches=2, ascent_fraction=0.5
    )


@pytest.mark.parametrize("make", PROBLEMS)
def test_every_step_with_momentum(make):
    assert_same_training(make, "asam", frameworks.GRAPH, momentum=0.9)


class PenalizedDense(keras.layers.Dense):
    """Adds to the loss what the L2 regularizer of the same factor adds."""

    def call(self, inputs):
        self.add_loss(PENALTY * keras.ops.sum(self.kernel**2))
        return super().call(inputs)


def penalized_regression():
    problem = reference.linear_regression(NUM_FEATURES)
    return problem, [PenalizedDense(1)], "mse"


def regularized_regression():
    return linear_regression(kernel_regularizer=keras.regularizers.L2(PENALTY))


def regularized_network():
    return tanh_network(kernel_regularizer=keras.regularizers.L2(PENALTY))


@pytest.mark.parametrize("num_microbatches", [1, 2])
@pytest.mark.parametrize(
    "make",
    [penalized_regression, regularized_regression, regularized_network],
)
def test_penalties_are_those_at_w_and_at_w_plus_e(make, num_microbatches):
    assert_same_training(
        make,
        "sam",
        {"run_eagerly": True},
        penalty=PENALTY,
        num_microbatches=num_microbatches,
    )


def test_penalties_are_right_in_every_mode(mode):
    assert_same_training(penalized_regression, "sam", mode, penalty=PENALTY)


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
