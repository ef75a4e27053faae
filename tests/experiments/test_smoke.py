"""Experiments run with `--smoke`, from data in the formats that users have.

Each data set is processed, with a linear network, in every way in which any
experiment does, and each network is trained in every way in which any
experiment does. Other differences are numbers: radius, epochs, rates.
"""

import math

import keras
import pytest

from keras_sam.experiments import EXPERIMENTS
from keras_sam.experiments import networks
from keras_sam.experiments import run
from tests.experiments import stored

# Classes of the data sets, from their papers; two in the stored folders.
NUM_CLASSES = {
    "cifar10": 10,
    "cifar100": 100,
    "svhn_cropped": 10,
    "fashion_mnist": 10,
    "imagenet2012": 1000,
    "oxford_flowers102": 102,
    "oxford_iiit_pet": 37,
    "cars196": 196,
    "food101": 101,
    "aircraft": 2,
    "birdsnap": 2,
}


def representatives(property_of):
    """Return the name of one experiment for each value of a property."""
    names = {}
    for name, experiment in EXPERIMENTS.items():
        names.setdefault(property_of(experiment.smoke()), name)
    return list(names.values())


def way_of_processing(tiny):
    """Return the settings that select code for the data."""
    settings = tiny.settings()
    for name in ("network", "task", "variant", *NUMBERS):
        del settings[name]
    return str(settings | {"sam": {**tiny.sam, "rho": tiny.sam["rho"] > 0}})


NUMBERS = (
    "depth", "width", "epochs", "budget", "learning_rate", "weight_decay",
)  # fmt: skip


def way_of_training(tiny):
    """Return the settings that select code for training."""
    return (
        tiny.network,
        bool(tiny.weights),
        *({**tiny.sam, "rho": tiny.sam["rho"] > 0}.items()),
        tiny.mixup > 0,
        tiny.bootstrap,
    )


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Return the folders of the data, by source."""
    folder = tmp_path_factory.mktemp("data")
    for source, names, file_format in (
        ("tfds", stored.IN_MEMORY, "tfrecord"),
        ("tfds_files", stored.IN_FILES, "array_record"),
    ):
        for name in names:
            stored.store(name, folder / source, file_format)
    stored.store_folder(folder / "folder")
    return {path.name: path for path in folder.iterdir()}


def smoke(experiment, folders):
    """Return an experiment with `--smoke --set folder=...`."""
    folder = folders[experiment.source]
    return experiment.smoke().with_settings([f"folder={folder}"])


@pytest.fixture
def built(monkeypatch):
    """Replace all networks with linear ones; return their shapes."""
    shapes = []

    def build(name, depth, width, num_classes, input_shape):
        shapes.append((input_shape, num_classes))
        return linear(input_shape, num_classes)

    def fine_tuned(backbone, num_classes):
        shapes.append((backbone.input_shape[1:], num_classes))
        return made(backbone, num_classes)

    # It collects garbage, which takes longer than training a linear network.
    monkeypatch.setattr(keras.utils, "clear_session", lambda: None)
    made = networks.fine_tuned
    monkeypatch.setattr(networks, "build", build)
    monkeypatch.setattr(networks, "check", lambda *_: None)
    monkeypatch.setattr(networks, "fine_tuned", fine_tuned)
    monkeypatch.setattr(
        networks, "pretrained", lambda name, weights, shape: linear(shape, 3)
    )
    return shapes


def linear(input_shape, num_outputs):
    inputs = keras.Input(input_shape)
    flat = keras.layers.Flatten()(inputs)
    return keras.Model(inputs, keras.layers.Dense(num_outputs)(flat))


@pytest.mark.parametrize("name", representatives(way_of_processing))
def test_every_data_set_is_processed_in_every_way(
    name, folders, built, tmp_path
):
    experiment = smoke(EXPERIMENTS[name], folders)
    [record] = run(experiment, tmp_path, verbose=0)
    assert record["settings"] == experiment.settings()
    assert math.isfinite(record["loss"])
    # One image of eight is 12.5 %.
    assert record["error"] in {12.5 * k for k in range(9)}
    if not experiment.bootstrap:
        expected = 12.5 * round(8 * experiment.label_noise)
        assert record["wrong_labels"] == expected
    is_fashion = experiment.dataset == "fashion_mnist"
    size = (28, 28, 1) if is_fashion else (32, 32, 3)
    assert set(built) == {(size, NUM_CLASSES[experiment.dataset])}


@pytest.mark.parametrize("name", representatives(way_of_training))
def test_every_network_is_trained_in_every_way(name, folders, tmp_path):
    experiment = smoke(EXPERIMENTS[name], folders)
    [record] = run(experiment, tmp_path, verbose=0)
    assert math.isfinite(record["loss"])
    assert math.isfinite(record["sharpness"])
    assert (record["sharpness"] != 0) == (experiment.sam["rho"] > 0)


# Millions of weights of the networks that `smoke` replaces, from the table in
# the documentation of Keras. The paper on EfficientNet prints 66 for B7.
@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("ResNet50", "25.6"),
        ("ResNet101", "44.7"),
        ("ResNet152", "60.4"),
        ("EfficientNetB7", "66.7"),
    ],
)
def test_network_of_imagenet_has_as_many_weights_as_keras_prints(
    name, millions
):
    # Weights are not allocated.
    with keras.StatelessScope():
        model = networks.build(name, 0, 0, 1000, (224, 224, 3))
    assert f"{model.count_params() / 1e6:.1f}" == millions
    assert model.output_shape == (None, 1000)
    assert model.layers[-1].activation is keras.activations.linear


def test_every_other_network_is_replaced_by_one_of_its_family():
    replaced = {e.network: e.smoke().network for e in EXPERIMENTS.values()}
    changed = {k: v for k, v in replaced.items() if k != v}
    assert changed == {
        "ResNet101": "ResNet50",
        "ResNet152": "ResNet50",
        "EfficientNetB7": "MobileNet",
    }
