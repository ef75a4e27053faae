"""Images with labels, as arrays, from where one has them."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class ImageDataset:
    """Training and test images with labels.

    Attributes:
        train: Array of bytes of shape `(num_images, height, width, channels)`,
            and integer labels of shape `(num_images,)`.
        test: The same.
        num_classes: Integer.
    """

    train: tuple[Any, Any]
    test: tuple[Any, Any]
    num_classes: int

    def subset(self, num_train: int, num_test: int) -> "ImageDataset":
        """Return a random choice of the images, always the same.

        Args:
            num_train: Integer, at most the number of training images.
            num_test: Integer, at most the number of test images.

        Returns:
            `ImageDataset`.

        Raises:
            ValueError: If there are not so many.
        """
        return dataclasses.replace(
            self,
            train=_choose(self.train, num_train),
            test=_choose(self.test, num_test),
        )


def from_tfds(
    name: str, data_dir: str | Path | None = None, **arguments: Any
) -> ImageDataset:
    """Return a data set of tensorflow-datasets with images of one size.

    Args:
        name: `"cifar10"`, `"cifar100"`, `"svhn_cropped"`, `"fashion_mnist"`
            or any other with `image` and `label`, a `train` and a `test`
            split.
        data_dir: Where tensorflow-datasets keeps its files.
        **arguments: As for `tensorflow_datasets.load`.

    Returns:
        `ImageDataset`.

    Raises:
        ImportError: If tensorflow-datasets is not installed.
    """
    try:
        import tensorflow_datasets
    except ImportError as error:
        raise ImportError(
            "Data by name comes from tensorflow-datasets: "
            "`pip install tensorflow-datasets tensorflow`."
        ) from error
    data, info = tensorflow_datasets.load(
        name,
        split=["train", "test"],
        batch_size=-1,
        data_dir=data_dir,
        with_info=True,
        **arguments,
    )
    train, test = (
        (part["image"], part["label"].astype("int32"))
        for part in tensorflow_datasets.as_numpy(data)
    )
    return ImageDataset(train, test, info.features["label"].num_classes)


def from_strips(folder: str | Path) -> ImageDataset:
    """Return square images that are stacked in files, one class in each.

    Args:
        folder: Has `train/CLASS-K.EXT` and `test/CLASS-K.EXT`: vertical strips
            of square images as wide as the strip. Classes are numbered in
            alphabetical order.

    Returns:
        `ImageDataset`.

    Raises:
        ValueError: If there are no such files.
    """
    files = _files(Path(folder), "*")
    names = sorted({_class_of_strip(file) for file in files["train"]})

    def read(split: str) -> tuple[Any, Any]:
        strips = [_strip(file) for file in files[split]]
        labels = [
            np.full(len(strip), names.index(_class_of_strip(file)), "int32")
            for file, strip in zip(files[split], strips)
        ]
        return np.concatenate(strips), np.concatenate(labels)

    return ImageDataset(read("train"), read("test"), len(names))


def from_folder(folder: str | Path, size: tuple[int, int]) -> ImageDataset:
    """Return images in files of their own, in a folder for each class.

    Args:
        folder: Has `train/CLASS/FILE` and `test/CLASS/FILE`. Classes are
            numbered in alphabetical order.
        size: Height and width. Images of another size are scaled to cover it
            and cut to its middle.

    Returns:
        `ImageDataset`.

    Raises:
        ValueError: If there are no such files.
    """
    from PIL import Image
    from PIL import ImageOps

    files = _files(Path(folder), "*/*")
    names = sorted({file.parent.name for file in files["train"]})

    def read(split: str) -> tuple[Any, Any]:
        images = []
        for file in files[split]:
            with Image.open(file) as image:
                fitted = ImageOps.fit(image.convert("RGB"), size[::-1])
            images.append(np.asarray(fitted))
        labels = [names.index(file.parent.name) for file in files[split]]
        return np.stack(images), np.array(labels, "int32")

    return ImageDataset(read("train"), read("test"), len(names))


def digits() -> ImageDataset:
    """Return the 1,797 handwritten digits of scikit-learn, 8 x 8 positions.

    A quarter of each class, always the same, is for testing.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    data = load_digits()
    images = (data.images[..., None] * (255 / 16)).round().astype("uint8")
    train_x, test_x, train_y, test_y = train_test_split(
        images,
        data.target.astype("int32"),
        test_size=450,
        random_state=0,
        stratify=data.target,
    )
    return ImageDataset((train_x, train_y), (test_x, test_y), 10)


def _choose(data: tuple[Any, Any], number: int) -> tuple[Any, Any]:
    images, labels = data
    if not 1 <= number <= len(labels):
        raise ValueError(
            f"There are {len(labels)} images. Received: a subset of {number}"
        )
    chosen = np.random.default_rng(0).permutation(len(labels))[:number]
    return images[chosen], labels[chosen]


def _files(folder: Path, pattern: str) -> dict[str, list[Path]]:
    files = {
        split: sorted(p for p in (folder / split).glob(pattern) if p.is_file())
        for split in ("train", "test")
    }
    if not all(files.values()):
        raise ValueError(
            f"`folder` must hold images as train/{pattern} and test/{pattern}. "
            f"Received: folder={str(folder)!r}"
        )
    return files


def _class_of_strip(file: Path) -> str:
    return file.stem.rsplit("-", 1)[0]


def _strip(file: Path) -> Any:
    from PIL import Image

    with Image.open(file) as image:
        pixels = np.asarray(image.convert("RGB"))
    width = pixels.shape[1]
    return pixels.reshape(-1, width, width, 3)
