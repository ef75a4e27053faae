"""Invalid input: messages name the argument, allowed values and the value.

Weights and optimizer are not changed.
"""

import inspect

import keras
import numpy as np
import pytest
from keras import layers

import keras_sam
from keras_sam import sam_model

X = np.random.default_rng(0).normal(size=(12, 4)).astype("float32")
Y = np.random.default_rng(1).normal(size=(12, 1)).astype("float32")


def tensors():
    inputs = keras.Input((4,))
    hidden = layers.Dense(3, activation="tanh", name="hidden")(inputs)
    return inputs, layers.Dense(1, name="last")(hidden)


def compiled(**arguments):
    model = keras_sam.SAMModel(*tensors(), **arguments)
    model.compile("adam", "mse")
    return model


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rho": -0.1}, "`rho` must be a number in.*rho=-0.1"),
        ({"rho": float("nan")}, "`rho` must be a number in.*rho=nan"),
        ({"rho": float("inf")}, "`rho` must be a number in.*rho=inf"),
        ({"rho": "big"}, "`rho` must be a number in.*rho='big'"),
        ({"rho": [0.1]}, "`rho` must be a number in"),
        ({"method": "SAM"}, "`method` must be.*\"sam\".*method='SAM'"),
        ({"method": None}, "`method` must be.*method=None"),
        ({"perturb": "weights"}, "`perturb` must be.*perturb='weights'"),
        (
            {"perturbation": "local"},
            '`perturbation` must be .*"replica" or "global".*\'local\'',
        ),
        (
            {"perturbation": 0},
            '`perturbation` must be .*"replica" or "global".*perturbation=0',
        ),
        (
            {"perturbation": True},
            '`perturbation` must be .*"replica" or "global".*=True',
        ),
        ({"num_microbatches": 0}, "`num_microbatches` must be.*=0"),
        ({"num_microbatches": 2.5}, "`num_microbatches` must be.*=2.5"),
        ({"num_microbatches": True}, "`num_microbatches` must be.*=True"),
        ({"ascent_fraction": 0.0}, r"`ascent_fraction` must be.*\(0, 1\].*0.0"),
        ({"ascent_fraction": 1.5}, "`ascent_fraction` must be.*=1.5"),
        ({"ascent_fraction": "half"}, "`ascent_fraction` must be.*'half'"),
        (
            {"ascent_fraction": 0.5, "method": "functional_sam"},
            r"`ascent_fraction` must be 1.*=0\.5, method=FunctionalSAM",
        ),
        ({"ascent_loss": "huge"}, "`ascent_loss` must be.*'huge'"),
        ({"ascent_loss": ["mse", "huge"]}, "`ascent_loss` must be.*'huge'"),
        *(
            (
                {"ascent_loss": "mse", "method": method},
                "`ascent_loss` must be `None`.*'mse', method=",
            )
            for method in ("gsam", "weighted_sam", "ae_sam", "momentum_sam")
        ),
    ],
)
def test_arguments_outside_their_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        keras_sam.SAMModel(*tensors(), **arguments)


def test_arguments_that_do_not_exist_are_refused():
    with pytest.raises(TypeError, match=r"no argument `roh`.*roh=0\.1"):
        keras_sam.SAMModel(*tensors(), roh=0.1)


@pytest.mark.parametrize(
    "arguments",
    [
        {"rho": np.float32(0.1)},
        {"rho": 1},
        {"num_microbatches": np.int64(2)},
        {"ascent_fraction": np.float64(0.5)},
        {"ascent_fraction": 1},
        {"perturbation": 3},
    ],
)
def test_numbers_of_numpy_and_python_are_accepted(arguments):
    model = compiled(**arguments)
    model.fit(X, Y, verbose=0)
    again = keras_sam.SAMModel.from_config(model.get_config())
    assert again.sam == model.sam


def unchanged(model, message, **fit):
    before = [v.numpy() for v in model.variables]
    with pytest.raises(ValueError, match=message):
        model.fit(X, Y, verbose=0, **fit)
    for variable, value in zip(model.variables, before):
        np.testing.assert_array_equal(variable.numpy(), value)
    assert int(model.optimizer.iterations) == 0


def test_a_perturb_that_selects_nothing_is_refused():
    unchanged(
        compiled(perturb=lambda variable: False),
        "`perturb` must select at least one trainable variable.*hidden/kernel",
    )
    unchanged(compiled(perturb="norm_only"), "must select.*perturb='norm_only'")


def test_more_micro_batches_than_examples_are_refused():
    message = "`num_microbatches` must not be larger.*=8.* batch of 4"
    unchanged(compiled(num_microbatches=8), message, batch_size=4)


@pytest.mark.parametrize("num_examples", [1, 3])
def test_a_batch_with_fewer_examples_than_parts_is_split_into_examples(
    num_examples,
):
    """Also the first batch, and one at which the radius rises above 0."""
    rho = keras_sam.schedules.LatePhase(1, 0.1)
    model = keras_sam.SAMModel(*tensors(), rho=rho, num_microbatches=4)
    model.compile("adam", "mse")
    for count in (8, num_examples):
        logs = model.train_on_batch(X[:count], Y[:count], return_dict=True)
    assert logs["sharpness"] > 0


@pytest.mark.parametrize("eagerly", [False, True])
def test_a_last_batch_with_fewer_examples_is_accepted(eagerly):
    model = keras_sam.SAMModel(*tensors(), num_microbatches=4)
    model.compile("adam", "mse", run_eagerly=eagerly)
    model.fit(X[:10], Y[:10], batch_size=8, verbose=0)
    assert int(model.optimizer.iterations) == 2
    assert np.isfinite(model.get_weights()[0]).all()


def test_training_without_compile_is_refused():
    model = keras_sam.SAMModel(*tensors())
    with pytest.raises(ValueError, match="compile"):
        model.fit(X, Y)


def test_from_model_requires_a_keras_model():
    for thing in (layers.Dense(1), "model", None):
        with pytest.raises(TypeError, match="`model` must be a `keras"):
            keras_sam.SAMModel.from_model(thing)
    with pytest.raises(ValueError, match="is a `SAMModel` already"):
        keras_sam.SAMModel.from_model(keras_sam.SAMModel(*tensors()))
    with pytest.raises(ValueError, match="`rho` must be a number in"):
        keras_sam.SAMModel.from_model(keras.Model(*tensors()), rho=-1)


def test_a_custom_train_step_is_refused():
    class Own(keras.Model):
        def call(self, x):
            return x

        def train_step(self, data):
            return {}

    with pytest.raises(ValueError, match="must not have a `train_step` of"):
        keras_sam.SAMModel.from_model(Own())


def test_fit_passes_on_positional_arguments(monkeypatch):
    parameters = list(inspect.signature(keras.Model.fit).parameters)
    assert parameters[4:] == list(sam_model._FIT_AFTER_BATCH_SIZE)
    fit = keras.Model.fit
    # As tools for logging do.
    monkeypatch.setattr(
        keras.Model, "fit", lambda *args, **kwargs: fit(*args, **kwargs)
    )
    history = compiled().fit(X, Y, 2, 3, 0, None, 0.25)
    assert history.epoch == [0, 1, 2]
    assert "val_loss" in history.history
