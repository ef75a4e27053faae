"""`from_model(m)` trains `m` itself, and `m` stays a plain Keras model."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_sam
from tests import cases
from tests import models

X, Y = cases.FEATURES, cases.CLASSES

PLAIN = {
    "functional": lambda: models.batch_norm_dropout(None),
    "sequential": lambda: models.sequential(None),
    "unbuilt_sequential": lambda: models.unbuilt_sequential(None),
    "subclass": models.PlainNet,
    "functional_subclass": models.PlainFunctionalNet,
}


def compiled(model, **arguments):
    model.compile(**{
        "optimizer": "sgd",
        "loss": "sparse_categorical_crossentropy",
        "run_eagerly": True,
        **arguments,
    })
    return model


def predict(model):
    return keras.ops.convert_to_numpy(model(X))


@pytest.mark.parametrize("kind", PLAIN)
def test_the_model_itself_is_trained(kind):
    plain = PLAIN[kind]()
    sharp = compiled(keras_sam.SAMModel.from_model(plain, rho=0.1))
    assert isinstance(sharp, keras_sam.SAMModel)
    assert not isinstance(plain, keras_sam.SAMModel)
    assert sharp.name == plain.name
    before = predict(plain)
    sharp.fit(X, Y, verbose=0)
    assert len(sharp.weights) == len(plain.weights) > 0
    for one, other in zip(sharp.weights, plain.weights):
        assert one is other
    np.testing.assert_array_equal(predict(plain), predict(sharp))
    assert np.any(before != predict(plain))


@pytest.mark.parametrize("kind", PLAIN)
def test_the_sharp_view_is_an_instance_of_the_class_of_the_model(kind):
    plain = PLAIN[kind]()
    sharp = keras_sam.SAMModel.from_model(plain)
    if "sequential" not in kind:  # Keras makes plain clones of those.
        assert isinstance(sharp, type(plain))
    if kind != "sequential":  # Becomes the functional model of its layers.
        assert [layer.name for layer in sharp.layers] == [
            layer.name for layer in plain.layers
        ]
    assert type(sharp).__name__ == "SAMModel"


@pytest.mark.parametrize("kind", ["functional", "subclass"])
def test_fit_of_the_sharp_view_is_sharp_whoever_was_trained_before(kind):
    plain = compiled(PLAIN[kind]())
    assert "sharpness" not in plain.fit(X, Y, verbose=0).history
    sharp = keras_sam.SAMModel.from_model(plain, rho=0.1)
    assert sharp.fit(X, Y, verbose=0).history["sharpness"][0] > 0
    compiled(plain)
    assert "sharpness" not in plain.fit(X, Y, verbose=0).history
    assert sharp.fit(X, Y, verbose=0).history["sharpness"][0] > 0
    assert sharp.train_on_batch(X, Y, return_dict=True)["sharpness"] > 0


@pytest.mark.parametrize("kind", ["sequential", "unbuilt_sequential"])
def test_training_of_a_sequential_model_is_resumed(kind):
    plain = compiled(PLAIN[kind]())
    plain.fit(X, Y, verbose=0)
    sharp = compiled(keras_sam.SAMModel.from_model(plain, rho=0.1))
    assert sharp.fit(X, Y, verbose=0).history["sharpness"][0] > 0
    np.testing.assert_array_equal(predict(plain), predict(sharp))


def test_a_compiled_model_stays_compiled():
    plain = compiled(models.batch_norm_dropout(None), optimizer="adam")
    sharp = keras_sam.SAMModel.from_model(plain)
    assert sharp.optimizer is plain.optimizer
    sharp.fit(X, Y, verbose=0)
    assert int(plain.optimizer.iterations) == 1


def test_a_subclass_adopts_models_too(tmp_path):
    @keras.saving.register_keras_serializable("tests")
    class Named(keras_sam.SAMModel):
        pass

    sharp = compiled(Named.from_model(models.sequential(None), rho=0.3))
    assert isinstance(sharp, Named)
    sharp.save(tmp_path / "named.keras")
    loaded = keras.models.load_model(tmp_path / "named.keras")
    assert isinstance(loaded, Named)
    assert loaded.sam.rho == 0.3


LOAD_WITHOUT_KERAS_SAM = """
import json
import sys

sys.modules["keras_sam"] = None
import keras
import numpy as np

folder = sys.argv[1]
x = np.load(folder + "/x.npy")
for kind in sys.argv[2:]:
    model = keras.models.load_model(f"{folder}/{kind}.keras")
    model.fit(x[:8], np.zeros(8), verbose=0)
    model.load_weights(f"{folder}/{kind}.weights.h5")
    np.save(f"{folder}/{kind}.npy", model.predict(x, verbose=0))
    print(json.dumps([kind, type(model).__name__]))
"""


def test_files_of_the_model_load_where_keras_sam_is_not_installed(tmp_path):
    expected, lines = {}, []
    for kind in ("functional", "sequential", "unbuilt_sequential"):
        plain = PLAIN[kind]()
        sharp = compiled(
            keras_sam.SAMModel.from_model(plain, method="friendly_sam")
        )
        sharp.fit(X, Y, verbose=0)
        if kind == "sequential":
            compiled(plain)
        plain.save(tmp_path / f"{kind}.keras")
        sharp.save_weights(tmp_path / f"{kind}.weights.h5")
        expected[kind] = sharp.predict(X, verbose=0)
        lines.append([kind, type(plain).__name__])
    np.save(tmp_path / "x.npy", X)

    result = subprocess.run(
        [sys.executable, "-c", LOAD_WITHOUT_KERAS_SAM, tmp_path, *expected],
        check=True,
        capture_output=True,
        text=True,
    )
    assert [json.loads(line) for line in result.stdout.splitlines()] == lines
    for kind, predictions in expected.items():
        np.testing.assert_array_equal(
            np.load(tmp_path / f"{kind}.npy"), predictions
        )


class Scaled(keras.Model):
    """Prepares its data, with its own order of arguments."""

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(3, activation="softmax")

    def call(self, x):
        return self.dense(x)

    def fit(self, x, y, batch_size=None, sample_weight=None, **options):
        options |= {"batch_size": batch_size, "sample_weight": sample_weight}
        return super().fit(x / 10, y, **options)

    def train_on_batch(self, x, y=None, sample_weight=None, **options):
        return super().train_on_batch(
            x / 10, y, sample_weight=sample_weight, **options
        )


def test_arguments_may_have_another_order_in_the_class_of_the_model():
    weights = np.ones(len(X), "float32")
    sharp = compiled(keras_sam.SAMModel.from_model(Scaled(), rho=0.1))
    history = sharp.fit(X, Y, 8, 2, 0).history
    assert len(history["loss"]) == 2
    loss = sharp.train_on_batch(X, Y, weights)
    assert loss != sharp.train_on_batch(X, Y)
    with pytest.raises(TypeError, match="too many positional"):
        sharp.fit(X, Y, *[None] * 20)
    with pytest.raises(TypeError, match=r"multiple values .*'epochs'"):
        sharp.fit(X, Y, 8, 2, epochs=2)


def test_a_sequential_model_without_a_shape_trains_as_in_keras():
    plain = models.unbuilt_sequential(None)
    sharp = keras_sam.SAMModel.from_model(plain)
    sharp.add(keras.layers.Dense(2, name="more"))
    assert plain.layers[-1] is sharp.pop()
    assert not hasattr(sharp, "inputs")
    sharp(X)
    assert len(sharp.inputs) == 1
    assert sharp.output_shape == plain.output_shape == (len(X), 3)
    assert sharp.input_dtype == plain.input_dtype
    assert sharp.count_params() == plain.count_params() > 0


class Published(Scaled):
    """Writes its own format."""

    def save_to_text(self, path):
        config = keras.saving.serialize_keras_object(self)
        path.write_text(json.dumps(config))


def test_formats_of_other_libraries_contain_the_plain_model(tmp_path):
    plain = Published()
    sharp = keras_sam.SAMModel.from_model(plain)
    for model, name in (plain, "plain"), (sharp, "sharp"):
        model.save_to_text(tmp_path / name)
    written = [(tmp_path / name).read_text() for name in ("plain", "sharp")]
    assert written[0] == written[1]
    assert json.loads(written[1])["class_name"] == "Published"
