"""A plain model and `SAMModel`s made from it: views with their own steps."""

import dataclasses
import gc
import inspect
import weakref
from unittest import mock

import keras
import numpy as np
import pytest
from keras.src.saving import object_registration

import keras_sam
from tests import cases
from tests import frameworks
from tests import models

X, Y = cases.FEATURES, cases.CLASSES
FUNCTIONS = ("train_function", "test_function", "predict_function")

PLAIN = {
    "functional": lambda: models.batch_norm_dropout(None),
    "subclass": models.PlainNet,
}


def compiled(model, mode=None, **arguments):
    model.compile(**{
        "optimizer": keras.optimizers.SGD(0.1),
        "loss": "sparse_categorical_crossentropy",
        **(mode or {"run_eagerly": True}),
        **arguments,
    })
    return model


def adopted(plain, **settings):
    return keras_sam.SAMModel.from_model(plain, **settings)


def fit(model):
    return model.fit(X, Y, batch_size=8, shuffle=False, verbose=0).history


def start(kind="functional"):
    """Return a new plain model, the same in each call."""
    keras.utils.set_random_seed(1)
    plain = PLAIN[kind]()
    plain(X[:1])
    return plain


def assert_same_weights(model, other):
    for one, two in zip(model.weights, other.weights, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("kind", PLAIN)
def test_each_view_takes_its_own_steps_after_one_compile(kind, mode):
    plain, expected = compiled(start(kind), mode), compiled(start(kind), mode)
    sharp = adopted(plain, rho=0.5)
    assert fit(sharp)["sharpness"][0] > 0
    for one, other in zip(plain.variables, expected.variables, strict=True):
        other.assign(one.numpy())
    assert fit(plain) == fit(expected)
    assert_same_weights(plain, expected)
    assert fit(sharp)["sharpness"][0] > 0
    assert "sharpness" not in fit(plain)


def run(view):
    """Make the view compile all of its functions."""
    view.fit(X, Y, verbose=0, validation_data=(X, Y))
    view.predict(X, verbose=0)


def functions(view):
    return [getattr(view, name) for name in FUNCTIONS]


def test_each_view_compiles_once():
    plain = compiled(models.dense(None), frameworks.GRAPH)
    views = [plain, adopted(plain, rho=0.5), adopted(plain, rho=0.0)]
    found = []
    for view in views * 2:
        run(view)
        found.append(functions(view))
    assert found[:3] == found[3:]
    assert len({*found[0], *found[1], *found[2], None}) == 10
    assert [vars(plain)[name] for name in FUNCTIONS] == found[0]


@pytest.mark.parametrize("who", ["plain", "sharp", "other", "new"])
def test_compile_of_a_view_discards_the_functions_of_all(who):
    plain = compiled(models.dense(None), frameworks.GRAPH)
    views = {
        "plain": plain,
        "sharp": adopted(plain, rho=0.5),
        "other": adopted(plain, rho=0.0),
    }
    for view in views.values():
        run(view)
    views["new"] = adopted(plain)  # Has nothing yet to discard.
    compiled(views[who], frameworks.GRAPH, optimizer="adam")
    for view in views.values():
        assert functions(view) == [None] * 3
    fit(plain)
    fit(views["sharp"])
    num_batches = -(-len(X) // 8)
    assert int(plain.optimizer.iterations) == 2 * num_batches


def test_predictions_before_compile_are_those_of_the_plain_model():
    plain = start()
    np.testing.assert_array_equal(
        adopted(plain).predict(X, verbose=0), plain.predict(X, verbose=0)
    )


def test_functions_on_the_class_have_their_signatures():
    for name in FUNCTIONS:
        assert getattr(keras_sam.SAMModel, name) is not None


@pytest.mark.parametrize("kind", PLAIN)
def test_the_class_can_be_inspected_and_imitated(kind):
    for cls in (keras_sam.SAMModel, type(adopted(PLAIN[kind]()))):
        members = dict(inspect.getmembers(cls))
        assert {*FUNCTIONS, "fit"} <= members.keys()
        imitation = mock.create_autospec(cls, instance=True)
        imitation.fit(X, Y, epochs=2)
        imitation.fit.assert_called_once_with(X, Y, epochs=2)


@pytest.mark.parametrize("kind", PLAIN)
def test_views_keep_their_own_settings(kind):
    plain = compiled(start(kind), frameworks.GRAPH)
    sharp = adopted(plain, method="friendly_sam", rho=0.5)
    off = adopted(plain, rho=0.0)
    for _ in range(2):
        assert fit(sharp)["sharpness"][0] > 0
        assert fit(off)["sharpness"] == [0.0]
    assert (sharp.sam.rho, off.sam.rho) == (0.5, 0.0)
    assert sharp.sam.method == keras_sam.methods.FriendlySAM()
    assert len(sharp.variables) > len(off.variables) == len(plain.variables)


@pytest.mark.parametrize("kind", PLAIN)
def test_each_view_is_saved_with_its_own_state(kind, tmp_path):
    plain = compiled(start(kind))
    views = {
        "friendly": adopted(plain, method="friendly_sam"),
        "look": adopted(plain, method="look_sam"),
    }
    expected = {}
    for name, view in views.items():
        fit(view)
        expected[name] = [v.numpy() for v in view._sam.variables]
    for name, view in views.items():
        view.save(tmp_path / f"{name}.keras")
    plain.save(tmp_path / "plain.keras")
    for name, view in views.items():
        loaded = keras.models.load_model(tmp_path / f"{name}.keras")
        assert loaded.sam.get_config() == view.sam.get_config()
        found = [v.numpy() for v in loaded._sam.variables]
        assert len(found) > 0
        for one, other in zip(found, expected[name], strict=True):
            np.testing.assert_array_equal(one, other)
    loaded = keras.models.load_model(tmp_path / "plain.keras")
    assert type(loaded) is type(plain)
    assert_same_weights(loaded, plain)


def test_a_view_leaves_nothing_with_the_plain_model():
    plain = compiled(start())
    before = vars(plain).keys()
    adopted(plain, method="friendly_sam")
    assert vars(plain).keys() == before


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unhashable(keras_sam.methods.SAM):
    """A method with a field that cannot be hashed."""

    numbers: list = dataclasses.field(default_factory=list)


def test_a_method_need_not_be_hashable():
    method = Unhashable(numbers=[1.0])
    with pytest.raises(TypeError, match="unhashable"):
        hash(method)
    sharp = compiled(models.batch_norm_dropout({"method": method, "rho": 0.1}))
    assert fit(sharp)["sharpness"][0] > 0
    view = adopted(compiled(start()), method=method)
    assert fit(view)["sharpness"][0] > 0
    for model in (sharp, view):
        assert keras.models.clone_model(model).sam.method is method


class Selection:
    """A `perturb` callable that weak references can point to."""

    def __call__(self, variable):
        return variable.name == "kernel"


def settings_of_its_own(i):
    return {
        "method": Unhashable(numbers=[i]),
        "rho": keras.optimizers.schedules.ExponentialDecay(i + 1.0, 9, 0.9),
        "perturb": Selection(),
    }


def functional(i):
    inputs = keras.Input((6,))
    outputs = models.probabilities()(inputs)
    return keras_sam.SAMModel(inputs, outputs, **settings_of_its_own(i))


MAKERS = {
    "functional": functional,
    "subclass": lambda i: models.SharpNet(**settings_of_its_own(i)),
    "functional_subclass": lambda i: models.SharpFunctionalNet(
        **settings_of_its_own(i)
    ),
    "adopted": lambda i: adopted(
        models.sequential(None), **settings_of_its_own(i)
    ),
    "adopted_subclass": lambda i: adopted(
        models.PlainNet(), **settings_of_its_own(i)
    ),
    "clone": lambda i: keras.models.clone_model(functional(i)),
}


def number_of_classes(cls=keras_sam.SAMModel):
    return sum(number_of_classes(sub) + 1 for sub in cls.__subclasses__())


def held():
    """Return the number of classes, and of classes registered with Keras."""
    gc.collect()
    return number_of_classes(), len(object_registration.GLOBAL_CUSTOM_NAMES)


def references(model):
    settings = [model.sam, model.sam.method, model.sam.rho, model.sam.perturb]
    return [weakref.ref(thing) for thing in (model, *settings)]


@pytest.mark.parametrize("kind", MAKERS)
def test_deleted_models_leave_nothing_behind(kind):
    before = held()
    made = [MAKERS[kind](i) for i in range(200)]
    assert len({id(model.sam.method) for model in made}) == 200
    found = [reference for model in made for reference in references(model)]
    made.clear()
    assert held() == before
    assert not any(reference() for reference in found)


@pytest.mark.parametrize("kind", ["functional", "adopted", "clone"])
def test_trained_models_leave_nothing_behind(kind):
    before = held()
    found = []
    for i in range(2):
        model = compiled(MAKERS[kind](i), frameworks.GRAPH)
        model.fit(X, Y, verbose=0, validation_data=(X, Y))
        found += references(model)
        del model
    assert held() == before
    assert not any(reference() for reference in found)


def test_a_selection_that_refers_to_the_model_is_freed_with_it():
    found = []
    for _ in range(2):
        plain = start()
        left_out = plain.layers[-1].trainable_variables
        view = adopted(
            plain,
            perturb=lambda variable, left=left_out, model=plain: (
                not any(variable is v for v in left)
            ),
        )
        fit(compiled(view))
        found += [weakref.ref(plain), weakref.ref(view)]
        del plain, left_out, view
    gc.collect()
    assert not any(reference() for reference in found)


def test_views_of_a_model_that_lives_on_leave_nothing():
    plain = start()
    before = held()
    views = [adopted(plain, **settings_of_its_own(i)) for i in range(200)]
    found = [reference for view in views for reference in references(view)]
    views.clear()
    assert held() == before
    assert not any(reference() for reference in found)


def test_a_clone_outlives_its_model():
    model = functional(0)
    expected = model.sam
    clone = keras.models.clone_model(model)
    del model
    gc.collect()
    assert keras.models.clone_model(clone).sam == clone.sam == expected
    name = keras.saving.get_registered_name(type(clone))
    assert name == "keras_sam>SAMModel"
