"""Sources of images by name."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from keras_sam import data
from keras_sam.data.datasets import ImageDataset

SOURCES = ("tfds", "tfds_files", "strips", "folder", "digits")
"""`"tfds"` keeps all images in memory, `"tfds_files"` reads them from files
when they are needed; the others are the functions of `keras_sam.data`.
"""

STATISTICS = ("own", "imagenet", "mnist", "unit", "none")
"""Whether channels are standardized by mean and deviation of the training
images, by those of ImageNet or of MNIST, scaled to [0, 1], or left in [0, 255]
for networks that scale their inputs.
"""

SIZES = {
    "cifar10": (50_000, 32, 3, 10),
    "cifar100": (50_000, 32, 3, 100),
    "svhn_cropped": (604_388, 32, 3, 10),
    "fashion_mnist": (60_000, 28, 1, 10),
    "digits": (1347, 8, 1, 10),
    "imagenet2012": (1_281_167, 0, 3, 1000),
    "aircraft": (6667, 0, 3, 100),
    "birdsnap": (47_386, 0, 3, 500),
    "cars196": (8144, 0, 3, 196),
    "food101": (75_750, 0, 3, 101),
    "oxford_flowers102": (2040, 0, 3, 102),
    "oxford_iiit_pet": (3680, 0, 3, 37),
}
"""Number of training images, height and width (0 if images differ), channels,
and number of classes.
"""

_IMAGENET = (
    np.array((123.675, 116.28, 103.53), "float32"),
    np.array((58.395, 57.12, 57.375), "float32"),
)

_MNIST = (np.array([33.3285], "float32"), np.array([78.5655], "float32"))


def load(experiment: Any, seed: int = 0) -> ImageDataset:
    """Return the images of an experiment, for one of its seeds."""
    size = (experiment.image_size, experiment.image_size)
    splits = (experiment.train_split, experiment.test_split)
    folder = experiment.folder or None
    name = experiment.dataset
    loaders: dict[str, Callable[[], ImageDataset]] = {
        "digits": data.digits,
        "tfds": lambda: data.from_tfds(name, folder, splits),
        "tfds_files": lambda: data.from_tfds_files(name, size, folder, splits),
        "strips": lambda: data.from_strips(experiment.folder),
        "folder": lambda: data.from_folder(experiment.folder, size),
    }
    dataset = loaders[experiment.source]()
    if experiment.num_train or experiment.num_test:
        dataset = dataset.subset(
            experiment.num_train or len(dataset.train[1]),
            experiment.num_test or len(dataset.test[1]),
            seed if experiment.redrawn else 0,
        )
    if experiment.imbalance > 1:
        dataset = dataset.long_tailed(experiment.imbalance)
    if experiment.held_out:
        dataset = dataset.held_out(experiment.held_out)
    if experiment.image_size not in (0, dataset.train[0].shape[1]):
        dataset = _scaled(dataset, size)
    return dataset


def statistics(name: str, images: Any) -> tuple[Any, Any]:
    """Return mean and deviation of each channel, by a name in `STATISTICS`."""
    if name == "own":
        return data.channel_statistics(images)
    if name == "imagenet":
        return _IMAGENET
    if name == "mnist":
        return _MNIST
    channel = np.ones(images.shape[-1], "float32")
    return 0 * channel, 255 * channel if name == "unit" else channel


def _scaled(dataset: ImageDataset, size: tuple[int, int]) -> ImageDataset:
    from PIL import Image

    def scaled(images: Any) -> Any:
        shape = (len(images), *size, images.shape[-1])
        pictures = (Image.fromarray(image.squeeze()) for image in images)
        return np.stack([
            np.asarray(picture.resize(size, Image.Resampling.BILINEAR))
            for picture in pictures
        ]).reshape(shape)

    return dataclasses.replace(
        dataset,
        train=(scaled(dataset.train[0]), dataset.train[1]),
        test=(scaled(dataset.test[0]), dataset.test[1]),
    )
