"""Saved, cloned and copied models train as if they were the original."""

import copy
import pickle

import keras
import numpy as np
import pytest

import keras_sam
from tests import cases
from tests import frameworks
from tests import models
from tests import training
from tests.methods import table
from tests.running import printed_by

X, Y = cases.FEATURES, cases.CLASSES


@keras.saving.register_keras_serializable("tests")
def is_kernel(variable):
    return variable.name == "kernel"


EVERY_SETTING = {
    "method": keras_sam.methods.ASAM(eta=0.02, scale_all=True),
    "rho": keras.optimizers.schedules.PolynomialDecay(0.5, 5, 0.1),
    "perturb": is_kernel,
    "perturbation": "global",
    "num_microbatches": 2,
    "ascent_fraction": 0.5,
    "ascent_loss": "sparse_categorical_crossentropy",
}


@keras.saving.register_keras_serializable("tests")
class BareNet(models.Body, keras_sam.SAMModel):
    """Has no `get_config`: Keras stores simple arguments itself."""


KINDS = {
    "functional": models.batch_norm_dropout,
    "subclass": models.subclass,
    "functional_subclass": models.functional_subclass,
    "adopted_functional": lambda settings: models.adopt(
        models.batch_norm_dropout(None), settings
    ),
    "adopted_sequential": lambda settings: models.adopt(
        keras.Sequential([
            keras.Input((6,)),
            keras.layers.Dense(8),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.3, **frameworks.SEED),
            models.probabilities(),
        ]),
        settings,
    ),
    "adopted_unbuilt_sequential": models.unbuilt_sequential,
    "adopted_subclass": models.adopted_subclass,
    "adopted_functional_subclass": lambda settings: models.adopt(
        models.PlainFunctionalNet(), settings
    ),
}
"""The ways to make a `SAMModel`."""


def built(build, settings, run_eagerly=True):
    """Return a new compiled and built model."""
    keras.utils.set_random_seed(1)
    model = build(settings)
    model(X[:1])
    model.compile(
        keras.optimizers.Adam(0.01),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        run_eagerly=run_eagerly,
    )
    return model


def trained(build, settings, run_eagerly=True, epochs=1):
    """Return a new model after some epochs."""
    model = built(build, settings, run_eagerly)
    train(model, epochs)
    return model


def train(model, epochs=1, callbacks=()):
    return model.fit(
        X,
        Y,
        batch_size=8,
        epochs=epochs,
        shuffle=False,
        verbose=0,
        callbacks=list(callbacks),
    ).history


def method_state(model):
    return training.values(model._sam.variables)


def assert_same_settings(model, other):
    assert model.sam.get_config() == other.sam.get_config()


def assert_same_predictions(model, other):
    training.assert_same(
        model.predict(X, verbose=0), other.predict(X, verbose=0)
    )


@pytest.mark.parametrize(
    "kind, method, run_eagerly",
    cases.cycle(KINDS, cases.METHODS, (False, True)),
)
def test_a_loaded_model_resumes_as_if_never_saved(
    kind, method, run_eagerly, tmp_path
):
    arguments = cases.METHODS[method], run_eagerly
    expected = trained(KINDS[kind], *arguments, epochs=3)
    model = trained(KINDS[kind], *arguments, epochs=2)
    path = tmp_path / "model.keras"
    model.save(path)
    keras.utils.set_random_seed(9)
    loaded = keras.models.load_model(path)
    assert isinstance(loaded, keras_sam.SAMModel)
    assert_same_predictions(loaded, model)
    train(loaded)
    training.assert_same(training.state(loaded), training.state(expected))
    training.assert_same(method_state(loaded), method_state(expected))


class Kill(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            raise InterruptedError("killed")


@pytest.mark.parametrize("kind", ["functional", "adopted_sequential"])
def test_a_restored_backup_resumes_as_if_never_interrupted(kind, tmp_path):
    settings = {"method": "friendly_sam"}
    expected = trained(KINDS[kind], settings, epochs=4)
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    with pytest.raises(InterruptedError, match="killed"):
        train(built(KINDS[kind], settings), 4, callbacks=[backup, Kill()])
    model = built(KINDS[kind], settings)
    assert len(train(model, 4, callbacks=[backup])["loss"]) == 2
    training.assert_same(training.state(model), training.state(expected))
    training.assert_same(method_state(model), method_state(expected))


@pytest.mark.parametrize("settings", [{}, {"method": "friendly_sam"}])
def test_an_unbuilt_sequential_is_restored(settings, tmp_path):
    model = trained(models.unbuilt_sequential, settings)
    for _ in range(2):
        model.save(tmp_path / "model.keras")
        loaded = keras.models.load_model(tmp_path / "model.keras")
        config = loaded.get_config()["wrapped_model"]
        assert config["class_name"] == "Sequential"
        assert list(map(type, loaded.layers)) == list(map(type, model.layers))
        assert_same_predictions(loaded, model)
        assert_same_settings(loaded, model)
        model = loaded
    loaded.pop()
    loaded.add(keras.layers.Dense(2))
    assert loaded(X).shape == (len(X), 2)


def with_names_from_the_start(function, *arguments):
    """Call a function that makes a model whose layers have the same names."""
    keras.utils.clear_session()
    return function(KINDS["functional"], *arguments)


@pytest.mark.parametrize("method", table.STATEFUL)
def test_a_state_tree_contains_all_state_of_a_run(method):
    settings = {"method": table.METHODS[method].method, "rho": 0.1}
    model = with_names_from_the_start(trained, settings)
    tree = model.get_state_tree(value_format="numpy_array")
    train(model)
    other = with_names_from_the_start(built, settings)
    other.optimizer.build(other.trainable_variables)
    other.set_state_tree(tree)
    train(other)
    training.assert_same(training.state(other), training.state(model))
    training.assert_same(method_state(other), method_state(model))
    assert len(method_state(other)) > 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_keeps_every_setting(kind, tmp_path):
    model = built(KINDS[kind], EVERY_SETTING)
    path = tmp_path / "model.keras"
    model.save(path)
    loaded = keras.models.load_model(path)
    assert_same_settings(loaded, model)
    assert loaded.sam.method == EVERY_SETTING["method"]
    assert loaded.sam.perturb is is_kernel
    # Saved twice, as after another training.
    loaded.save(path)
    assert_same_settings(keras.models.load_model(path), model)


@keras.saving.register_keras_serializable("tests")
def absolute_error(y, y_pred):
    return keras.ops.abs(y - y_pred)


def two_outputs(outputs, ascent_loss):
    """Return a compiled model whose outputs are in a nest of their names."""
    inputs = keras.Input((6,))
    outputs = keras.tree.map_structure(
        lambda name: keras.layers.Dense(1, name=name)(inputs), outputs
    )
    model = keras_sam.SAMModel(inputs, outputs, ascent_loss=ascent_loss)
    model.compile("sgd", "mse")
    return model


@pytest.mark.parametrize("names", [["a", "b"], {"a": "a", "b": "b"}])
@pytest.mark.parametrize("loss", [keras.losses.Huber(), absolute_error])
def test_losses_in_a_nest_are_kept(names, loss, tmp_path):
    given = keras.tree.map_structure(
        lambda name: loss if name == "a" else None, names
    )
    model = two_outputs(names, given)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for copied in (loaded, keras.models.clone_model(model)):
        assert_same_settings(copied, model)
        keras.tree.assert_same_structure(copied.sam.ascent_loss, given)
        first, second = keras.tree.flatten(copied.sam.ascent_loss)
        assert type(first) is type(loss)
        assert second is None


def test_a_subclass_without_get_config_keeps_simple_settings(tmp_path):
    model = built(lambda settings: BareNet(**settings), {"rho": 0.3})
    path = tmp_path / "model.keras"
    model.save(path)
    loaded = keras.models.load_model(path)
    assert type(loaded) is BareNet
    assert loaded.sam.rho == 0.3
    assert_same_predictions(loaded, model)


@keras.saving.register_keras_serializable("tests")
class ChoosingNet(models.Body, keras_sam.SAMModel):
    """Its constructor sets `rho`, and passes on other settings."""

    def __init__(self, strength, **kwargs):
        super().__init__(rho=strength / 10, **kwargs)
        self.strength = strength

    def get_config(self):
        return {**super().get_config(), "strength": self.strength}


def test_a_constructor_may_choose_settings_itself(tmp_path):
    model = built(
        lambda settings: ChoosingNet(4, **settings), {"method": "asam"}
    )
    path = tmp_path / "model.keras"
    model.save(path)
    loaded = keras.models.load_model(path)
    assert_same_settings(loaded, model)
    assert loaded.sam.rho == 0.4
    assert loaded.sam.method == keras_sam.methods.ASAM()


@pytest.mark.parametrize("kind", KINDS)
def test_from_config_keeps_every_setting(kind):
    model = built(KINDS[kind], EVERY_SETTING)
    copied = type(model).from_config(model.get_config())
    assert_same_settings(copied, model)
    other = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(model)
    )
    assert_same_settings(other, model)


class ChoosingFunctional(keras_sam.SAMModel):
    """Keras calls its constructor when it clones, without the settings."""

    def __init__(self, inputs, outputs, name=None, **kwargs):
        super().__init__(inputs, outputs, name=name, rho=0.3, **kwargs)


def choosing_functional(settings):
    inputs = keras.Input((6,))
    outputs = models.probabilities()(inputs)
    settings = {k: v for k, v in settings.items() if k != "rho"}
    return ChoosingFunctional(inputs, outputs, **settings)


CLONED = {
    **KINDS,
    "choosing_functional": choosing_functional,
    "unloadable_functional": lambda settings: models.batch_norm_dropout({
        **settings,
        "perturb": lambda variable: variable.name == "bias",
    }),
}


@pytest.mark.filterwarnings("ignore:The object being serialized includes")
@pytest.mark.parametrize("kind", CLONED)
def test_a_clone_has_every_setting_and_weights_of_its_own(kind):
    model = trained(CLONED[kind], EVERY_SETTING)
    clone = keras.models.clone_model(keras.models.clone_model(model))
    assert isinstance(clone, keras_sam.SAMModel)
    assert_same_settings(clone, model)
    before = model.get_weights()
    clone.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
    assert train(clone, 1)["sharpness"][0] > 0
    training.assert_same(model.get_weights(), before)
    clone.set_weights(before)
    assert_same_predictions(clone, model)


COPIES = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
}


@pytest.mark.parametrize("kind, how", cases.cycle(KINDS, COPIES))
def test_a_copy_is_the_same_model(kind, how):
    model = trained(KINDS[kind], EVERY_SETTING)
    copied = COPIES[how](model)
    assert copied is not model
    assert_same_settings(copied, model)
    assert_same_predictions(copied, model)
    train(copied)
    train(model)
    assert_same_predictions(copied, model)


LOAD_ALL = """
import pathlib, pickle, sys
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    model = pickle.loads(path.read_bytes())
    print(path.name, type(model).__name__, model.sam.rho)
"""


def test_a_pickle_imports_its_modules(tmp_path):
    expected = ""
    for kind in sorted(KINDS):
        model = built(KINDS[kind], {"rho": 0.3})
        (tmp_path / kind).write_bytes(pickle.dumps(model))
        expected += f"{kind} {type(model).__name__} 0.3\n"
    assert printed_by("-c", LOAD_ALL, str(tmp_path)) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_weights_of_sharp_and_plain_models_load_into_each_other(kind, tmp_path):
    path = tmp_path / "model.weights.h5"
    sharp = trained(KINDS[kind], {"method": "friendly_sam"})
    plain = built(KINDS[kind], None)
    assert np.any(sharp.get_weights()[0] != plain.get_weights()[0])

    sharp.save_weights(path)
    before = plain.get_weights()
    plain.load_weights(path)
    assert_same_predictions(plain, sharp)

    plain.set_weights(before)
    plain.save_weights(path)
    sharp.load_weights(path)
    assert_same_predictions(plain, sharp)

    plain.set_weights([w + 1 for w in sharp.get_weights()])
    sharp.set_weights(plain.get_weights())
    assert_same_predictions(plain, sharp)


def as_layer(inner):
    """Return a plain model with a `SAMModel` in it."""
    inputs = keras.Input((6,))
    return keras.Model(inputs, models.probabilities()(inner(inputs)))


@pytest.mark.parametrize("how", ["whole", "as_layer", "weights"])
@pytest.mark.parametrize("method", ["sam", "friendly_sam"])
@pytest.mark.parametrize("perturb", ["all", "norm_only"])
def test_a_frozen_model_loads_and_predicts(how, method, perturb, tmp_path):
    settings = {"method": method, "perturb": perturb}
    model = trained(models.batch_norm_dropout, settings)
    model.trainable = False
    path = tmp_path / "model.keras"
    if how == "weights":
        path = tmp_path / "model.weights.h5"
        model.save_weights(path)
        loaded = models.batch_norm_dropout(settings)
        loaded.trainable = False
        loaded.load_weights(path)
    else:
        model = as_layer(model) if how == "as_layer" else model
        model.save(path)
        loaded = keras.models.load_model(path)
    one, other = map(keras.ops.convert_to_numpy, (loaded(X), model(X)))
    np.testing.assert_array_equal(one, other)


def test_a_model_whose_perturb_selects_nothing_any_more_loads(tmp_path):
    model = trained(models.batch_norm_dropout, {"perturb": "norm_only"})
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert_same_predictions(loaded, model)


def test_a_file_of_the_legacy_format_keeps_every_setting(tmp_path):
    model = built(models.batch_norm_dropout, EVERY_SETTING)
    path = tmp_path / "model.h5"
    model.save(path)
    # This format does not search registered names.
    loaded = keras.models.load_model(
        path, custom_objects={"SAMModel": keras_sam.SAMModel}
    )
    assert_same_settings(loaded, model)
    assert_same_predictions(loaded, model)


def test_json_keeps_every_setting():
    model = models.batch_norm_dropout(EVERY_SETTING)
    loaded = keras.models.model_from_json(model.to_json())
    assert isinstance(loaded, keras_sam.SAMModel)
    assert_same_settings(loaded, model)
