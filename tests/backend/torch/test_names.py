"""Files name nothing that only PyTorch has."""

import zipfile

import keras
import pytest
from keras import optimizers

from tests import models

OPTIMIZERS = {
    "sgd": lambda: optimizers.SGD(0.1, momentum=0.9),
    "adam": lambda: optimizers.Adam(0.1),
    "loss_scale": lambda: optimizers.LossScaleOptimizer(optimizers.AdamW(0.1)),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("build", [models.dense, models.sequential])
def test_a_file_has_public_names_and_loads(build, name, tmp_path):
    model = build({"method": "sam"})
    model.compile(OPTIMIZERS[name](), "mse")
    path = tmp_path / "model.keras"
    model.save(path)
    config = zipfile.ZipFile(path).read("config.json").decode()
    assert "keras.src" not in config
    assert '"module": "keras.optimizers"' in config
    loaded = keras.models.load_model(path)
    assert type(loaded.optimizer) is type(model.optimizer)
    assert loaded.optimizer.get_config() == model.optimizer.get_config()
