"""Small data sets in the file formats of the large ones."""

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

NUM_IMAGES = 8
IN_MEMORY = ("cifar10", "cifar100", "svhn_cropped", "fashion_mnist")
IN_FILES = (
    "cifar10",
    "cifar100",
    "imagenet2012",
    "oxford_flowers102",
    "oxford_iiit_pet",
    "cars196",
    "food101",
)
# Those of the real data sets; the others have "train" and "test".
_SPLITS = {
    "svhn_cropped": ("train", "test", "extra"),
    "imagenet2012": ("train", "validation"),
    "oxford_flowers102": ("train", "test", "validation"),
    "food101": ("train", "validation"),
}


def store(name, folder, file_format):
    """Store random images in the format of a data set of tensorflow-datasets.

    Name, version and features are those of the real data set, but not the
    numbers of images; nothing is downloaded.
    """
    builder = tfds.builder(name, data_dir=folder, file_format=file_format)
    builder._split_generators = lambda *_: {
        split: _examples(builder.info.features, seed)
        for seed, split in enumerate(_SPLITS.get(name, ("train", "test")))
    }
    builder.download_and_prepare()


def store_folder(folder, num_classes=2):
    """Store random images in one file each."""
    generator = np.random.default_rng(0)
    for split in ("train", "test"):
        for k in range(NUM_IMAGES):
            file = folder / split / f"class-{k % num_classes}" / f"{k}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            shape = *generator.integers(20, 40, 2), 3
            pixels = generator.integers(0, 256, shape, dtype="uint8")
            Image.fromarray(pixels).save(file)


def _examples(features, seed):
    generator = np.random.default_rng(seed)
    for k in range(NUM_IMAGES):
        yield (
            k,
            {
                name: _value(feature, generator)
                for name, feature in features.items()
            },
        )


def _value(feature, generator):
    if isinstance(feature, tfds.features.Image):
        shape = [size or generator.integers(20, 40) for size in feature.shape]
        return generator.integers(0, 256, shape, dtype="uint8")
    if isinstance(feature, tfds.features.ClassLabel):
        return generator.integers(feature.num_classes)
    if isinstance(feature, tfds.features.BBoxFeature):
        return tfds.features.BBox(0.0, 0.0, 1.0, 1.0)
    return "text"
