"""What variables are for, where Keras named them."""

import keras
import numpy as np
import pytest

import keras_sam
from keras_sam.engine import roles


class Unnamed(keras.layers.Layer):
    """Gives no variable a name."""

    def build(self, input_shape):
        self.weight = self.add_weight((3, 4))
        self.out_bias = self.add_weight((1, 4))
        self.gate = self.add_weight((4,))
        self.parts = {
            "Norm_0": {"bias": self.add_weight((4,)), "w": self.add_weight(())},
            "Dense_0": {"scale": self.add_weight((4, 1))},
        }
        self.others = [self.add_weight((2, 2)), self.add_weight((2,))]
        self.built = True

    def call(self, x):
        x = x @ self.weight + self.out_bias + self.gate
        norm, [matrix, shift] = self.parts["Norm_0"], self.others
        x = norm["w"] * x + norm["bias"]
        x *= keras.ops.transpose(self.parts["Dense_0"]["scale"])
        return x + keras.ops.sum(matrix @ shift[:, None])


def model():
    keras.utils.set_random_seed(1)
    network = keras.Sequential([keras.Input((3,)), Unnamed(name="layer")])
    model = keras_sam.SAMModel.from_model(network, perturb="no_norm_no_bias")
    model.compile("sgd", "mse")
    return model


def expected(layer):
    """Return each variable with its role, and whether that is a guess."""
    norm = layer.parts["Norm_0"]
    return [
        (layer.weight, "kernel", True),
        (layer.out_bias, "bias", False),
        (layer.gate, "bias", True),
        (norm["bias"], "offset", False),
        (norm["w"], "scale", False),
        (layer.parts["Dense_0"]["scale"], "scale", False),
        (layer.others[0], "kernel", True),
        (layer.others[1], "bias", True),
    ]


def test_what_keras_named_goes_by_where_it_is_kept_and_by_its_shape():
    sharp = model()
    layer = sharp.get_layer("layer")
    variables = sharp.trainable_variables
    found = {id(v): role for v, role in zip(variables, roles.roles(sharp))}
    rows = expected(layer)
    assert [found[id(v)] for v, *_ in rows] == [role for _, role, _ in rows]
    guessed = {v.path: role for v, role, is_guessed in rows if is_guessed}
    assert roles.guessed(sharp) == guessed


def test_guesses_are_shown_with_what_a_step_does():
    sharp = model()
    x = np.ones((2, 3), "float32")
    report = keras_sam.verify(sharp, x, x[:, :1])
    assert report.guessed_roles == roles.guessed(sharp)
    assert "roles guessed from shapes:\n" in str(report)
    gate = sharp.get_layer("layer").gate
    assert f"\n  {gate.path}: bias" in str(report)


def test_nothing_is_guessed_of_layers_of_keras():
    layers = [keras.layers.Dense(2), keras.layers.BatchNormalization()]
    plain = keras.Sequential([keras.Input((3,)), *layers])
    assert roles.guessed(plain) == {}


@pytest.mark.parametrize("shape, role", [((4,), "bias"), ((3, 4), "kernel")])
def test_in_a_loop_of_ones_own_the_shape_tells_without_a_name(shape, role):
    assert roles.role_by_name(keras.Variable(np.ones(shape))) == role
