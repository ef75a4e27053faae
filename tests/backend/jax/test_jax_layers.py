"""Layers around functions of JAX, whose parameters Keras names."""

import keras
import numpy as np
from jax import numpy as jnp

import keras_sam
from keras_sam.engine import roles


def call(params, inputs):
    dense, norm = params["Dense_0"], params["LayerNorm_0"]
    x = inputs @ dense["kernel"] + dense["bias"]
    return jnp.tanh(x) * norm["scale"] + norm["bias"]


def test_parameters_of_a_jax_layer_have_the_roles_of_their_names():
    params = {
        "Dense_0": {"kernel": np.ones((3, 4)), "bias": np.ones(4)},
        "LayerNorm_0": {"scale": np.ones(4), "bias": np.ones(4)},
    }
    layer = keras.layers.JaxLayer(call, params=params)
    plain = keras.Sequential([keras.Input((3,)), layer])
    sharp = keras_sam.SAMModel.from_model(plain, perturb="no_norm_no_bias")
    sharp.compile("sgd", "mse")
    found = dict(zip(map(id, sharp.trainable_variables), roles.roles(sharp)))
    assert {
        part: {name: found[id(v)] for name, v in variables.items()}
        for part, variables in layer.params.items()
    } == {
        "Dense_0": {"kernel": "kernel", "bias": "bias"},
        "LayerNorm_0": {"scale": "scale", "bias": "offset"},
    }
    x = np.ones((2, 3), "float32")
    report = keras_sam.verify(sharp, x, np.zeros((2, 4)))
    assert report.num_perturbed == 12
    assert report.guessed_roles == {}
