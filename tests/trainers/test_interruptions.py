"""A step that is interrupted leaves all as it was, and training goes on."""

import keras
import pytest
from keras import layers

import keras_sam
from keras_sam import backend
from tests import frameworks
from tests import marks
from tests.arrays import assert_same
from tests.arrays import values
from tests.contract.twins import normal

X, Y = normal(6, 3), normal(6, 1)

PLACES = {
    "clean_forward": 1,
    "clean_backward": 2,
    "perturbed_forward": 3,
    "perturbed_backward": 4,
}
"""Which call of `Fuse.reach` is where, if the batch is one part."""


class Fuse(layers.Layer):
    """Raises an error in a forward or a backward pass, once armed."""

    error, countdown = None, 0

    def call(self, inputs):
        self.reach()

        @keras.ops.custom_gradient
        def identity(x):
            def gradient(*args, upstream=None):
                self.reach()
                return args[0] if upstream is None else upstream

            return 1.0 * x, gradient

        return identity(inputs)

    def reach(self):
        self.countdown -= 1
        if self.countdown == 0:
            raise self.error("interrupted")


def built(mode, **settings):
    """Return a model that has all its variables, and the layer that fails."""
    keras.utils.set_random_seed(1)
    fuse = Fuse()
    x = inputs = keras.Input((3,))
    for layer in (
        layers.Dense(4),
        layers.BatchNormalization(),
        layers.Dropout(0.5, seed=3),
        fuse,
        layers.Dense(1),
    ):
        x = layer(x)
    settings = {"method": "friendly_sam", "rho": 0.1, **settings}
    model = keras_sam.SAMModel(inputs, x, **settings)
    model.compile(
        keras.optimizers.Adam(0.01, use_ema=True),
        "mse",
        metrics=["mae"],
        **mode,
    )
    model.train_on_batch(X, Y)
    if mode.get("run_eagerly"):
        return model, fuse
    # The next step is traced again.
    model.compile(model.optimizer, "mse", metrics=["mae"], **mode)
    return model, fuse


def everything(model):
    return values([*model.variables, *model.optimizer.variables])


def functions():
    """Return all that could be patched, by module and name."""
    modules = keras.ops, keras.random, keras.layers, *frameworks.MODULES
    return {
        (module.__name__, name): value
        for module in modules
        for name, value in vars(module).items()
        if callable(value)
    }


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "num_microbatches", [1, pytest.param(2, marks=marks.slow)]
)
@pytest.mark.parametrize("mode", marks.EAGER_AND_GRAPH)
def test_an_interrupted_step_can_be_done_again(
    mode, num_microbatches, place, error
):
    settings = {"num_microbatches": num_microbatches}
    expected, _ = built(mode, **settings)
    model, fuse = built(mode, **settings)
    before, patched = everything(model), functions()
    fuse.error, fuse.countdown = error, PLACES[place]
    with pytest.raises(error, match="interrupted"):
        model.train_on_batch(X, Y)
    assert_same(everything(model), before)
    assert backend.get_stateless_scope() is None
    after = functions()
    assert after.keys() == patched.keys()
    assert all(after[key] is patched[key] for key in patched)
    for one in (expected, model):
        one.reset_metrics()
    logs = [
        [one.train_on_batch(X, Y, return_dict=True) for _ in range(2)]
        for one in (expected, model)
    ]
    assert logs[0] == logs[1]
    assert logs[0][0]["sharpness"] != 0
    assert_same(everything(model), everything(expected))


@pytest.mark.parametrize(
    "save_weights_only", [True, pytest.param(False, marks=marks.slow)]
)
def test_saving_after_every_step_changes_nothing(save_weights_only, tmp_path):
    """Each file holds what the weights were when it was written."""
    names = "{epoch}-{batch}" + (
        ".weights.h5" if save_weights_only else ".keras"
    )
    checkpoint = keras.callbacks.ModelCheckpoint(
        tmp_path / names, save_weights_only=save_weights_only, save_freq=1
    )
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup", save_freq=1)
    found = {}
    record = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: found.update({
            len(found): everything(model)
        })
    )

    def fit(model, *callbacks):
        model.fit(
            X,
            Y,
            batch_size=2,
            epochs=2,
            shuffle=False,
            verbose=0,
            callbacks=list(callbacks),
        )
        return everything(model)

    expected = fit(built({"run_eagerly": True})[0])
    model, _ = built({"run_eagerly": True})
    assert_same(fit(model, record, checkpoint, backup), expected)
    for i in range(6):
        path = tmp_path / names.format(epoch=i // 3 + 1, batch=i % 3 + 1)
        loaded = model
        if save_weights_only:
            model.load_weights(path)
        else:
            loaded = keras.models.load_model(
                path, custom_objects={"Fuse": Fuse}
            )
        assert_same(everything(loaded), found[i])
