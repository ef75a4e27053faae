"""A `train_step` of the user's own: sharp if it calls that of `SAMModel`."""

import keras
import pytest

import keras_sam
from tests import training
from tests.contract.twins import normal

X, Y = normal(6, 3), normal(6, 1)
MESSAGE = "does not call the one of `SAMModel`"


class Whole(keras_sam.SAMModel):
    """A whole step, without that of `SAMModel`."""

    def train_step(self, *args):
        return keras.Model.train_step(self, *args)


class Doubled(keras_sam.SAMModel):
    """The step of `SAMModel` on other inputs."""

    def train_step(self, *args):
        *state, (x, y) = args
        return super().train_step(*state, (2 * x, y))


class Decorated:
    """A mixin, whose step does something after that of the class."""

    def train_step(self, *args):
        return super().train_step(*args)


class Mixed(Decorated, keras_sam.SAMModel):
    pass


class MixedWhole(Decorated, Whole):
    pass


def compiled(cls, mode=None, **settings):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((3,))
    hidden = keras.layers.Dense(4, name="hidden")(inputs)
    hidden = keras.layers.Dropout(0.5, seed=1)(hidden)
    outputs = keras.layers.Dense(1, name="outputs")(hidden)
    model = cls(inputs, outputs, **settings)
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    model.compile(optimizer, "mse", **(mode or {"run_eagerly": True}))
    return model


def replaced_on_the_instance(*args, **settings):
    model = keras_sam.SAMModel(*args, **settings)
    model.train_step = lambda *args: keras.Model.train_step(model, *args)
    return model


PLAIN = [Whole, MixedWhole, replaced_on_the_instance]


@pytest.mark.parametrize("make", PLAIN)
def test_fit_warns_once_of_plain_steps(make, mode):
    model = compiled(make, mode)
    with pytest.warns(UserWarning, match=MESSAGE) as warnings:
        model.fit(X, Y, batch_size=2, verbose=0)
        model.fit(X, Y, batch_size=2, verbose=0)
    assert [MESSAGE in str(w.message) for w in warnings].count(True) == 1
    with pytest.warns(UserWarning, match=MESSAGE):
        compiled(make, mode).train_on_batch(X, Y)


@pytest.mark.filterwarnings("error:The model has a `train_step`")
@pytest.mark.parametrize("cls", [Doubled, Mixed])
def test_fit_is_sharp_where_the_step_of_the_class_is_called(cls, mode):
    model = compiled(cls, mode)
    for _ in range(2):
        logs = model.fit(X, Y, batch_size=2, verbose=0).history
        assert logs["sharpness"][0] > 0


@pytest.mark.filterwarnings("error:The model has a `train_step`")
def test_fit_says_nothing_of_plain_steps_that_are_asked_for():
    compiled(Whole, rho=0.0).fit(X, Y, verbose=0)


@pytest.mark.parametrize("make", PLAIN)
def test_verify_refuses_plain_steps_and_leaves_the_model_as_it_was(make):
    model = compiled(make)
    expected = compiled(keras_sam.SAMModel)
    keras_sam.verify(expected, X, Y)
    with pytest.raises(ValueError, match=f"SAM has no effect.*{MESSAGE}"):
        keras_sam.verify(model, X, Y)
    training.assert_same(training.state(model), training.state(expected))


def test_verify_sees_what_a_step_of_ones_own_makes_of_the_batch():
    model, other = compiled(Doubled), compiled(keras_sam.SAMModel)
    keras.utils.set_random_seed(0)
    expected = keras_sam.verify(other, 2 * X, Y)
    keras.utils.set_random_seed(0)
    assert keras_sam.verify(model, X, Y) == expected
    training.assert_same(training.state(model), training.state(other))


def test_from_model_says_how_a_step_of_ones_own_takes_part():
    class Own(keras.Model):
        def train_step(self, data):
            return {}

    with pytest.raises(ValueError, match=r"calls `super\(\).train_step`"):
        keras_sam.SAMModel.from_model(Own())
