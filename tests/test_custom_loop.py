import keras
import numpy as np
import pytest
from keras import layers

import keras_sam
from keras_sam import methods
from tests.methods.table import IN_LOOPS
from tests.methods.table import METHODS


def data():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(32, 5)).astype("float32")
    return x, generator.integers(0, 3, 32)


def network(cls, **arguments):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((5,))
    x = layers.BatchNormalization()(layers.Dense(8, activation="tanh")(inputs))
    outputs = layers.Dense(3, activation="softmax")(layers.Dropout(0.2)(x))
    return cls(inputs, outputs, **arguments)


def loss_of(model, x, y):
    loss = keras.losses.SparseCategoricalCrossentropy()
    return lambda: loss(y, model(x, training=True))


@pytest.mark.parametrize("name", IN_LOOPS)
def test_a_loop_does_what_fit_does(name):
    """Weights, normalization statistics, seeds, loss, over several steps."""
    x, y = data()
    method = METHODS[name].method
    fitted = network(keras_sam.SAMModel, method=method, rho=0.1)
    fitted.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    looped, optimizer = network(keras.Model), keras.optimizers.SGD(0.1)
    state = None
    for step in range(4):
        keras.utils.set_random_seed(step)  # PyTorch draws from a global one.
        logs = fitted.train_on_batch(x, y, return_dict=True)
        keras.utils.set_random_seed(step)
        result = keras_sam.sharpness_aware_gradients(
            loss_of(looped, x, y),
            looped.trainable_variables,
            method=method,
            rho=0.1,
            state=state,
        )
        state = result.state
        optimizer.apply(result.gradients, looped.trainable_variables)
        # One runs compiled, one eagerly: roundings of float32 in sums.
        np.testing.assert_allclose(float(result.loss), logs["loss"], rtol=1e-5)
        np.testing.assert_allclose(
            float(result.rise), logs["sharpness"], atol=1e-5
        )
    for a, b in zip(fitted.variables, looped.variables):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=2e-6)


def test_the_variables_are_not_moved():
    x, y = data()
    model = network(keras.Model)
    before = [v.numpy() for v in model.trainable_variables]
    keras_sam.sharpness_aware_gradients(
        loss_of(model, x, y), model.trainable_variables, rho=1.0
    )
    for variable, value in zip(model.trainable_variables, before):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_a_variable_that_the_loss_does_not_depend_on_has_no_gradient():
    x, y = data()
    model, unused = network(keras.Model), keras.Variable([1.0])
    result = keras_sam.sharpness_aware_gradients(
        loss_of(model, x, y), [*model.trainable_variables, unused]
    )
    if keras.backend.backend() == "jax":
        np.testing.assert_array_equal(result.gradients[-1], [0.0])
    else:
        assert result.gradients[-1] is None
    assert all(g is not None for g in result.gradients[:-1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "look_sam"}, "`method` must have a second pass at every"),
        ({"method": "ae_sam"}, "`method` must have a second pass at every"),
        (
            {"method": "functional_sam"},
            "`method` must not need the predictions",
        ),
        ({"method": "weighted_sam"}, "`method` must leave the update to"),
        ({"rho": -1.0}, "`rho` must be a number in"),
        ({"variables": []}, "`variables` must be a non-empty list"),
        (
            {"variables": ["kernel"]},
            "`variables` must be a non-empty list",
        ),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    x, y = data()
    model = network(keras.Model)
    variables = arguments.pop("variables", model.trainable_variables)
    with pytest.raises(ValueError, match=message):
        keras_sam.sharpness_aware_gradients(
            loss_of(model, x, y), variables, **arguments
        )


def test_weighted_sam_may_be_coupled():
    x, y = data()
    model = network(keras.Model)
    half = methods.WeightedSAM(gamma=0.5, decoupled=False)
    # Without dropout both calls have the same loss.
    model.layers[3].rate = 0.0
    gradients = [
        keras_sam.sharpness_aware_gradients(
            loss_of(model, x, y), model.trainable_variables, method=method
        ).gradients
        for method in (half, "sam")
    ]
    for a, b in zip(*gradients):
        # g + (h - g) is h up to the rounding of the difference.
        np.testing.assert_allclose(a, b, atol=1e-6)
