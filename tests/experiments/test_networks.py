"""Networks for fine-tuning: their sources, and what is frozen."""

import keras
import numpy as np
import pytest

from keras_sam.experiments import networks


def backbone(pooled):
    """Return a small network with every layer that depends on `training`."""
    inputs = keras.Input((6, 6, 3))
    x = keras.layers.Conv2D(4, 3)(inputs)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Dropout(0.5)(x)
    if pooled:
        x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, x)


def images():
    return np.random.default_rng(0).normal(size=(5, 6, 6, 3)).astype("float32")


@pytest.mark.parametrize("pooled", [True, False])
def test_a_new_last_layer_has_the_features_of_inference(pooled):
    features = backbone(pooled)
    model = networks.fine_tuned(features, 7)
    kernel, bias = model.layers[-1].get_weights()
    x = features(images(), training=False)
    x = keras.ops.convert_to_numpy(x).astype("float64")
    expected = (x if pooled else x.mean((1, 2))) @ kernel + bias
    for training in (True, False):
        found = keras.ops.convert_to_numpy(model(images(), training=training))
        # Four products in float32 of numbers of order one.
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert len(model.trainable_variables) == 6


def test_dropout_is_before_the_last_layer_while_training():
    model = networks.fine_tuned(backbone(pooled=True), 7, dropout=0.5)
    first, second = (model(images(), training=True) for _ in range(2))
    assert np.abs(keras.ops.convert_to_numpy(first - second)).max() > 0
    first, second = (model(images(), training=False) for _ in range(2))
    assert np.abs(keras.ops.convert_to_numpy(first - second)).max() == 0


def test_a_fine_tuned_network_is_saved_with_its_mode(tmp_path):
    model = networks.fine_tuned(backbone(pooled=True), 7)
    model.save(tmp_path / "network.keras")
    again = keras.models.load_model(tmp_path / "network.keras")
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(again(images(), training=True)),
        keras.ops.convert_to_numpy(model(images(), training=True)),
    )


def test_pretrained_loads_a_file(tmp_path):
    saved = backbone(pooled=True)
    file = tmp_path / "backbone.keras"
    saved.save(file)
    found = networks.pretrained("EfficientNetB7", str(file), (6, 6, 3))
    np.testing.assert_array_equal(
        found.predict(images(), verbose=0), saved.predict(images(), verbose=0)
    )


@pytest.mark.parametrize(
    ("weights", "asked"), [("imagenet", "imagenet"), ("random", None)]
)
def test_pretrained_asks_keras_for_weights_without_the_last_layer(
    weights, asked, monkeypatch
):
    monkeypatch.setattr(
        keras.applications, "ResNet50", lambda **arguments: arguments
    )
    assert networks.pretrained("ResNet50", weights, (32, 32, 3)) == {
        "weights": asked,
        "input_shape": (32, 32, 3),
        "include_top": False,
        "pooling": "avg",
    }


@pytest.mark.parametrize("name", ["ResNet50", "cnn"])
def test_a_size_of_a_network_with_one_size_is_refused(name):
    with pytest.raises(ValueError, match=rf"`{name}` .*one size.*depth=20"):
        networks.build(name, 20, 0, 10, (32, 32, 3))


# Numbers of weights in the scripts that these networks come from.
@pytest.mark.parametrize(
    ("name", "shape", "number"),
    [
        ("mlp", (8, 8, 1), 85_002),
        ("cnn", (32, 32, 3), 73_402),
        ("cnn_without_normalization", (32, 32, 3), 33_482),
    ],
)
def test_small_network_has_its_number_of_weights(name, shape, number):
    assert networks.build(name, 0, 0, 10, shape).count_params() == number
