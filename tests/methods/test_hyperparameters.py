"""Hyperparameters: invalid ones, serialization, and their effect."""

import dataclasses

import keras
import numpy as np
import pytest

import keras_sam
from keras_sam import methods
from tests import small_network
from tests.methods.table import METHODS
from tests.methods.table import NAMES

NAN = float("nan")
INFINITY = float("inf")


@pytest.mark.parametrize("name", NAMES)
def test_get_knows_a_method_by_name_instance_and_configuration(name):
    method = methods.get(name)
    assert type(method) is type(METHODS[name].method)
    assert methods.get(method) is method
    config = keras.saving.serialize_keras_object(method)
    assert methods.get(config) == method
    assert keras_sam.SAMModel(method=name).sam.method == method


@pytest.mark.parametrize("identifier", ["SAM", "weightedsam", None, 1, int])
def test_get_names_the_methods_where_it_knows_none(identifier):
    message = '`method` must be .* "sam", "asam".*"ae_sam".* Received: method='
    with pytest.raises(ValueError, match=message):
        methods.get(identifier)
    with pytest.raises(ValueError, match=message):
        keras_sam.SAMModel(method=identifier)


@pytest.mark.parametrize("name", METHODS)
def test_configuration_makes_the_same_method(name):
    method = METHODS[name].method
    assert type(method).from_config(method.get_config()) == method

    config = keras.saving.serialize_keras_object(method)
    copy = keras.saving.deserialize_keras_object(config)
    assert type(copy) is type(method)
    for field in dataclasses.fields(method):
        actual, expected = (getattr(m, field.name) for m in (copy, method))
        if name == "ae_sam" and field.name == "threshold":
            # Schedules of Keras do not know when they are equal.
            actual, expected = actual.get_config(), expected.get_config()
        assert actual == expected


@pytest.mark.parametrize("name", METHODS)
def test_model_keeps_the_method_when_saved(name, tmp_path):
    model = small_network.of_method(name)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    actual, expected = (
        keras.saving.serialize_keras_object(m.sam.method)
        for m in (loaded, model)
    )
    assert actual == expected


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: methods.ASAM(eta=-0.1), "`eta` .*Received: eta=-0.1"),
        (lambda: methods.ASAM(eta=NAN), "`eta` .*Received: eta=nan"),
        (lambda: methods.ASAM(eta=INFINITY), "`eta` .*Received: eta=inf"),
        (lambda: methods.GSAM(alpha=-1), "`alpha` .*Received: alpha=-1"),
        (lambda: methods.GSAM(alpha=NAN), "`alpha` .*Received: alpha=nan"),
        (lambda: methods.GSAM(alpha=INFINITY), "`alpha` .*Received: alpha=inf"),
        (
            lambda: methods.WeightedSAM(gamma=1.0),
            "`gamma` must be a number in .0, 1.*1.0",
        ),
        (
            lambda: methods.WeightedSAM(gamma=-0.1),
            "`gamma` must be a number in .0, 1.*-0.1",
        ),
        (
            lambda: methods.FriendlySAM(decay=1.0),
            "`decay` must be a number in .0, 1.*1.0",
        ),
        (
            lambda: methods.FriendlySAM(decay=NAN),
            "`decay` must be a number in .0, 1.*nan",
        ),
        (
            lambda: methods.FriendlySAM(sigma=NAN),
            "`sigma` .*Received: sigma=nan",
        ),
        (
            lambda: methods.VaSSO(theta=0.0),
            "`theta` must be a number in .0, 1.*0.0",
        ),
        (
            lambda: methods.VaSSO(theta=1.1),
            "`theta` must be a number in .0, 1.*1.1",
        ),
        (lambda: methods.MomentumSAM(momentum=1.0), "`momentum` must .*1.0"),
        (lambda: methods.MomentumSAM(momentum=-0.1), "`momentum` must .*-0.1"),
        (lambda: methods.LookSAM(period=0), "`period` must be an integer.*0"),
        (
            lambda: methods.LookSAM(period=2.5),
            "`period` must be an integer.*2.5",
        ),
        (lambda: methods.LookSAM(alpha=-1.0), "`alpha` .*Received: alpha=-1.0"),
        (
            lambda: methods.AESAM(decay=1.0),
            "`decay` must be a number in .0, 1.*1.0",
        ),
        (lambda: methods.LESAM(max_radius=0.0), "`max_radius` .*0.0"),
        (
            lambda: methods.LESAM(max_radius=INFINITY),
            "`max_radius` must be a number in .0, inf.*inf",
        ),
        (lambda: methods.PreconditionedSAM(beta=1.0), "`beta` must .*1.0"),
        (lambda: methods.PreconditionedSAM(epsilon=0), "`epsilon` must .*0"),
        (
            lambda: methods.RandomAscent(seed=-1),
            "`seed` must be an integer.*-1",
        ),
        (
            lambda: methods.RandomAscent(metric="adaptive"),
            "`metric` must be .*per_filter.*metric='adaptive'",
        ),
        (lambda: methods.SAM(metric="l2"), "`metric` must be .*metric='l2'"),
        (lambda: methods.SAM(metric=2), "`metric` must be .*metric=2"),
        (
            lambda: methods.AdaptiveMetric(eta=-0.1),
            "`eta` .*Received: eta=-0.1",
        ),
        (lambda: methods.AESAM(threshold=NAN), "`threshold` .*threshold=nan"),
        (lambda: methods.AESAM(threshold="1"), "`threshold` .*threshold='1'"),
        (lambda: methods.AESAM(threshold=None), "`threshold` .*threshold=None"),
    ],
)
def test_bad_hyperparameter_is_refused_by_name(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_hyperparameters_are_keywords_and_do_not_change():
    with pytest.raises(TypeError, match="positional argument"):
        methods.GSAM(0.1)
    method = methods.GSAM(alpha=0.1)
    with pytest.raises(dataclasses.FrozenInstanceError, match="alpha"):
        method.alpha = 0.2


@pytest.mark.parametrize("name", METHODS)
def test_default_radius_is_that_of_the_method(name):
    model = keras_sam.SAMModel(method=METHODS[name].method)
    assert model.sam.rho == METHODS[name].default_rho


@pytest.mark.parametrize(
    "method, expected",
    [
        (methods.SAM(metric="adaptive"), 0.5),
        (methods.GSAM(metric=methods.AdaptiveMetric(eta=1.0)), 0.5),
        # A budget of loss, whatever a length is measured in.
        (methods.LESAM(metric="adaptive"), 0.1),
    ],
)
def test_default_radius_is_ten_times_as_large_in_the_adaptive_metric(
    method, expected
):
    assert method.default_rho == expected


class AllRoles(keras.layers.Layer):
    """Returns the sum of weights of every role."""

    def build(self, shape):
        self.parts = [
            keras.layers.Embedding(3, 2, name="embedding"),
            keras.layers.Dense(2, name="dense"),
            keras.layers.BatchNormalization(name="norm"),
        ]
        for part, part_shape in zip(self.parts, [(1,), (1, 3), (1, 2)]):
            part.build(part_shape)
        self.temperature = self.add_weight(shape=(), name="temperature")

    def call(self, inputs):
        weights = self.trainable_variables
        return inputs + sum(keras.ops.sum(w.value) for w in weights)


SIZES = {
    "embedding/embeddings": 6,
    "dense/kernel": 6,
    "dense/bias": 2,
    "norm/gamma": 2,
    "norm/beta": 2,
    "temperature": 1,
}
"""How many elements each weight has."""


@pytest.mark.parametrize(
    "scale_all, unscaled",
    [(False, ["dense/bias", "norm/beta"]), (True, [])],
)
def test_asam_scales_all_but_biases_and_offsets(scale_all, unscaled):
    inputs = keras.Input((1,))
    model = keras_sam.SAMModel(
        inputs,
        AllRoles(name="all")(inputs),
        method=methods.ASAM(eta=0.5, scale_all=scale_all),
        rho=0.7,
    )
    for weight in model.trainable_variables:
        weight.assign(np.full(weight.shape, -2.0))
    # With a gradient of one everywhere, e is rho T^2 / ||T||, and T is
    # |-2| + 0.5 where weights are scaled and 1 elsewhere.
    model.compile("sgd", lambda y, y_pred: y_pred)
    report = keras_sam.verify(model, np.zeros((1, 1)), np.zeros((1, 1)))
    t = {path: 1.0 if path in unscaled else 2.5 for path in SIZES}
    length = np.sqrt(sum(SIZES[path] * t[path] ** 2 for path in SIZES))
    assert report.relative_sizes == {
        # A handful of float32 operations.
        f"all/{path}": pytest.approx(0.7 * t[path] ** 2 / length / 2, rel=1e-6)
        for path in SIZES
    }
