"""Tasks of KerasHub, small and random, as `SAMModel`s."""

import keras
import keras_hub
import numpy as np
import pytest

import keras_sam
from keras_sam import sharpness
from tests import training

# Sums of sixteen float32 losses in two orders; measured up to 2e-7.
CLOSE = 16 * 2**-24

# Small: a new ViT divides by the norm of a class token that is zero.
RHO = 1e-3


def image_classifier():
    images = keras_hub.models.ViTImageClassifierPreprocessor(
        keras_hub.layers.ViTImageConverter(image_size=(8, 8), scale=1 / 255)
    )
    backbone = keras_hub.models.ViTBackbone(
        image_shape=(8, 8, 3),
        patch_size=(4, 4),
        num_layers=1,
        num_heads=2,
        hidden_dim=8,
        mlp_dim=16,
    )
    return keras_hub.models.ViTImageClassifier(backbone, 3, preprocessor=images)


def text_classifier():
    words = ["the", "quick", "brown", "fox"]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = keras_hub.models.BertTokenizer(special + words)
    texts = keras_hub.models.BertTextClassifierPreprocessor(
        tokenizer, sequence_length=8
    )
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=9,
        num_layers=1,
        num_heads=2,
        hidden_dim=8,
        intermediate_dim=16,
        max_sequence_length=8,
        dropout=0.0,
    )
    return keras_hub.models.BertTextClassifier(
        backbone, 3, preprocessor=texts, dropout=0.0
    )


def images():
    generator = np.random.default_rng(0)
    return generator.integers(0, 255, (16, 8, 8, 3)).astype("float32")


TASKS = {
    "images": (image_classifier, images()),
    "texts": (text_classifier, ["the quick fox", "the fox"] * 8),
}
Y = np.arange(16) % 3


@pytest.fixture(params=TASKS)
def task(request):
    """Return a new task and examples for it."""
    build, x = TASKS[request.param]
    keras.utils.set_random_seed(0)
    return build(), x


def test_a_task_trains_sharply_on_preprocessed_data(task):
    task, x = task
    view = keras_sam.SAMModel.from_model(task, rho=RHO)
    history = view.fit(x, Y, 8, 2, 0).history
    assert len(history["sharpness"]) == 2
    assert history["sharpness"][0] > 0


def test_measures_use_preprocessed_data(task):
    task, x = task
    view = keras_sam.SAMModel.from_model(task, rho=RHO)
    expected = view.evaluate(x, Y, batch_size=16, verbose=0)[0]
    found = [
        keras_sam.verify(view, x, Y).loss,
        keras_sam.suggest_rho(view, x, Y).loss,
        sharpness.Objective(view, x, Y).value,
        sharpness.Objective(task, x, Y, batch_size=4).value,
    ]
    assert found == pytest.approx([expected] * 4, rel=CLOSE)


def test_a_batch_is_trained_on(task):
    task, x = task
    view = keras_sam.SAMModel.from_model(task, rho=RHO)
    before = task.get_weights()
    assert view.train_on_batch(x, Y, return_dict=True)["sharpness"] > 0
    assert any(np.any(a != b) for a, b in zip(before, task.get_weights()))


def test_a_preset_of_the_view_is_one_of_the_task(task, tmp_path):
    task, x = task
    keras_sam.SAMModel.from_model(task).save_to_preset(str(tmp_path))
    loaded = type(task).from_preset(str(tmp_path))
    assert type(loaded) is type(task)
    training.assert_same(
        loaded.predict(x, verbose=0), task.predict(x, verbose=0)
    )


def test_a_clone_of_the_view_is_a_sharp_clone_of_the_task(task):
    task, x = task
    data = task.preprocessor(x)
    view = keras_sam.SAMModel.from_model(task, rho=RHO)
    plain, sharp = map(keras.models.clone_model, (task, view))
    assert type(plain).__name__ == "Functional"  # Without a preprocessor.
    assert sharp.sam == view.sam
    sharp.set_weights(plain.get_weights())
    training.assert_same(*(c.predict(data, verbose=0) for c in (plain, sharp)))
    assert sharp.fit(data, Y, verbose=0).history["sharpness"][0] > 0


@pytest.mark.filterwarnings("ignore:`compile\\(\\)` was not called")
@pytest.mark.filterwarnings("ignore:Skipping variable loading for optimizer")
def test_a_file_of_the_view_holds_task_and_settings(task, tmp_path):
    task, x = task
    view = keras_sam.SAMModel.from_model(task, rho=RHO)
    view.save(tmp_path / "view.keras")
    loaded = keras.saving.load_model(tmp_path / "view.keras")
    assert loaded.sam.get_config() == view.sam.get_config()
    training.assert_same(
        loaded.predict(x, verbose=0), task.predict(x, verbose=0)
    )
