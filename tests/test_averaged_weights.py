"""The mean of the weights: which, of what, and when the model has it."""

import warnings

import keras
import numpy as np
import pytest
from keras import layers

import keras_sam
from keras_sam.callbacks import AveragedWeights
from tests.arrays import assert_same
from tests.arrays import values

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(24, 4)).astype("float32")
Y = GENERATOR.normal(size=(24, 2)).astype("float32")
STEPS = 6  # In an epoch of batches of 4.

# A mean of eight float32 numbers that are of magnitude 1 at most.
ROUNDING = 8 * 2**-23


def network(make=keras_sam.SAMModel, normalize=False):
    keras.utils.set_random_seed(1)
    outputs = inputs = keras.Input((4,))
    outputs = layers.Dense(5, activation="tanh")(outputs)
    if normalize:
        outputs = layers.BatchNormalization()(outputs)
    model = make(inputs, layers.Dense(2)(outputs))
    model.compile(keras.optimizers.SGD(0.1, 0.9), "mse")
    return model


class Recorder(keras.callbacks.Callback):
    """Stores the weights after each step, and the losses of validation."""

    def __init__(self):
        super().__init__()
        self.weights, self.val_losses = [], []

    def on_train_batch_end(self, batch, logs=None):
        self.weights.append(values(self.model.trainable_variables))

    def on_epoch_end(self, epoch, logs=None):
        self.val_losses.append(logs.get("val_loss"))


def fit(model, *callbacks, epochs=2, **arguments):
    recorder = Recorder()
    model.fit(
        X,
        Y,
        batch_size=4,
        epochs=epochs,
        shuffle=False,
        verbose=0,
        callbacks=[recorder, *callbacks],
        **arguments,
    )
    return recorder


def mean(weights):
    return [np.mean(group, axis=0, dtype="float64") for group in zip(*weights)]


def assert_close(actual, expected):
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("make", [keras.Model, keras_sam.SAMModel])
@pytest.mark.parametrize("every", [1, 3])
def test_the_model_ends_with_the_mean_of_the_last_weights(make, every):
    model = network(make)
    recorder = fit(model, AveragedWeights(5, every=every))
    assert_close(
        values(model.trainable_variables), mean(recorder.weights[4::every])
    )


def test_training_is_not_changed():
    plain, averaged = network(), network()
    expected = fit(plain)
    validation = (X[:8], Y[:8])
    recorder = fit(
        averaged,
        AveragedWeights(3, swap_on_epoch=True),
        validation_data=validation,
    )
    assert_same(recorder.weights, expected.weights)


def test_validation_and_what_is_listed_after_see_the_mean(tmp_path):
    model, other = network(), network()
    path = str(tmp_path / "{epoch}.weights.h5")
    checkpoint = keras.callbacks.ModelCheckpoint(path, save_weights_only=True)
    recorder = fit(
        model,
        AveragedWeights(2, swap_on_epoch=True),
        checkpoint,
        validation_data=(X, Y),
    )
    for epoch in (1, 2):
        other.load_weights(path.format(epoch=epoch))
        expected = mean(recorder.weights[1 : STEPS * epoch])
        assert_close(values(other.trainable_variables), expected)
        loss = other.evaluate(X, Y, verbose=0)
        assert loss == pytest.approx(recorder.val_losses[epoch - 1], rel=1e-6)


def test_statistics_are_the_means_over_batches_at_the_mean():
    model = network(normalize=True)
    fit(model, AveragedWeights(4, X, batch_size=8))
    dense, norm = model.layers[1:3]
    kernel, bias = (np.array(w, "float64") for w in dense.get_weights())
    hidden = [np.tanh(X[i : i + 8] @ kernel + bias) for i in (0, 8, 16)]
    statistics = [
        np.mean([h.mean(axis=0) for h in hidden], axis=0),
        np.mean([h.var(axis=0) for h in hidden], axis=0),
    ]
    assert_close(norm.get_weights()[2:], statistics)
    assert norm.momentum == 0.99


def test_a_resumed_run_ends_with_the_mean_of_an_uninterrupted_one(tmp_path):
    def callbacks():
        return (
            keras.callbacks.BackupAndRestore(tmp_path / "backup"),
            AveragedWeights(3, backup=tmp_path / "mean.npz"),
        )

    expected = network()
    fit(expected, AveragedWeights(3), epochs=3)

    class Killed(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(network(), *callbacks(), Killed(), epochs=3)
    resumed = network()
    fit(resumed, *callbacks(), epochs=3)
    assert_same(values(resumed.variables), values(expected.variables))


def test_a_mean_of_another_step_is_not_taken(tmp_path):
    path = tmp_path / "mean.npz"
    model = network()
    fit(model, AveragedWeights(3, backup=path), epochs=1)
    model.optimizer.iterations.assign(3)
    with pytest.warns(UserWarning, match="starts anew.*not that of step 3"):
        fit(model, AveragedWeights(3, backup=path), epochs=1)


def test_weights_stay_if_training_ends_before_the_start():
    model = network()
    with pytest.warns(UserWarning, match="No weights.*=13, and 12 steps"):
        recorder = fit(model, AveragedWeights(13))
    assert_same(values(model.trainable_variables), recorder.weights[-1])


def test_normalization_without_data_is_refused_before_the_first_step():
    with pytest.raises(ValueError, match=r"`x` must be given .* x=None"):
        fit(network(normalize=True), AveragedWeights(1))


def test_fewer_batches_than_asked_for_are_read_without_a_warning():
    model = network(normalize=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*ran out of data")
        fit(model, AveragedWeights(4, X, batch_size=8, num_batches=30))


@pytest.mark.parametrize(
    "name", ["start", "every", "batch_size", "num_batches"]
)
def test_bad_arguments_are_refused_by_name(name):
    with pytest.raises(ValueError, match=f"`{name}` must be an integer >= 1"):
        AveragedWeights(**{"start": 1, name: 0})
