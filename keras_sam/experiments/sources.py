"""Where images come from, by name."""

import dataclasses
from typing import Any

import numpy as np

from keras_sam import data
from keras_sam.data.datasets import ImageDataset

SOURCES = ("tfds", "tfds_files", "strips", "folder", "digits")
"""`"tfds"` holds all images in memory, `"tfds_files"` reads them from files
when they are needed; the others are the functions of `keras_sam.data`.
"""

STATISTICS = ("own", "imagenet", "none")
"""Whether channels are standardized by mean and deviation of the training
images, by those of ImageNet, or left in [0, 255], for networks that scale them
themselves.
"""

_IMAGENET = (
    np.array((123.675, 116.28, 103.53), "float32"),
    np.array((58.395, 57.12, 57.375), "float32"),
)


def load(experiment: Any) -> ImageDataset:
    """Return the images of an experiment.

    Args:
        experiment: `Experiment`.

    Returns:
        `ImageDataset`.

    Raises:
        ValueError: If the data are not there.
    """
    size = (experiment.image_size, experiment.image_size)
    splits = (experiment.train_split, experiment.test_split)
    folder = experiment.folder or None
    if experiment.source == "digits":
        found = data.digits()
    elif experiment.source == "tfds":
        found = data.from_tfds(experiment.dataset, folder, splits)
    elif experiment.source == "tfds_files":
        found = data.from_tfds_files(experiment.dataset, size, folder, splits)
    elif experiment.source == "strips":
        found = data.from_strips(experiment.folder)
    else:
        found = data.from_folder(experiment.folder, size)
    if experiment.num_train or experiment.num_test:
        found = found.subset(
            experiment.num_train or len(found.train[1]),
            experiment.num_test or len(found.test[1]),
        )
    if experiment.image_size not in (0, found.train[0].shape[1]):
        found = _scaled(found, size)
    return found


def statistics(name: str, images: Any) -> tuple[Any, Any]:
    """Return the mean and deviation that images are standardized by.

    Args:
        name: One of `STATISTICS`.
        images: Those for training.

    Returns:
        Two arrays of shape `(channels,)`.
    """
    if name == "own":
        return data.channel_statistics(images)
    if name == "imagenet":
        return _IMAGENET
    channels = images.shape[-1]
    return np.zeros(channels, "float32"), np.ones(channels, "float32")


def _scaled(found: ImageDataset, size: tuple[int, int]) -> ImageDataset:
    from PIL import Image

    def scaled(images: Any) -> Any:
        shape = (len(images), *size, images.shape[-1])
        pictures = (Image.fromarray(image.squeeze()) for image in images)
        return np.stack([
            np.asarray(picture.resize(size, Image.Resampling.BILINEAR))
            for picture in pictures
        ]).reshape(shape)

    return dataclasses.replace(
        found,
        train=(scaled(found.train[0]), found.train[1]),
        test=(scaled(found.test[0]), found.test[1]),
    )
