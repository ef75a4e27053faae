"""The example of fine-tuning trains weights and keeps statistics."""

import keras
import numpy as np
import pytest

import keras_sam
from examples import finetune


@pytest.fixture
def backbone(tmp_path):
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(4, 3)(inputs)
    x = keras.layers.BatchNormalization()(x)
    file = tmp_path / "backbone.keras"
    keras.Model(inputs, x).save(file)
    return finetune.load_backbone(file, size=8)


def test_weights_are_trained_and_statistics_are_kept(backbone):
    images, labels = keras_sam.data.digits().train
    data = images[:20].astype("float32"), labels[:20]
    statistics, weights = (
        [v.numpy() for v in variables]
        for variables in (
            backbone.non_trainable_variables,
            backbone.trainable_variables,
        )
    )
    network = finetune.fine_tuned(backbone, 10)
    finetune.fitted(network, data, epochs=1, rho=0.05)
    for variable, before in zip(backbone.non_trainable_variables, statistics):
        np.testing.assert_array_equal(variable.numpy(), before)
    for variable, before in zip(backbone.trainable_variables, weights):
        assert np.abs(variable.numpy() - before).max() > 0


def test_few_returns_a_number_of_each_class():
    images, labels = keras_sam.data.digits().train
    chosen, classes = finetune.few(images, labels, 3, seed=0)
    assert chosen.shape == (30, 8, 8, 1)
    assert np.bincount(classes).tolist() == [3] * 10


def test_a_network_without_images_is_an_error(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["finetune.py", "--backbone", "ResNet50"])
    with pytest.raises(SystemExit):
        finetune.main()
    assert "--backbone and --images" in capsys.readouterr().err
