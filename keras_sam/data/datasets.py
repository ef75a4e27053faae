"""Images with labels, as arrays, from several sources."""

import dataclasses
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from keras_sam import validation


@dataclasses.dataclass(frozen=True)
class ImageDataset:
    """Training and test images with labels.

    Attributes:
        train: Array of bytes of shape `(num_images, height, width, channels)`,
            and integer labels of shape `(num_images,)`.
        test: The same.
        num_classes: Integer.

    Example:
    >>> dataset = keras_sam.data.digits().held_out(300)
    >>> dataset.train[0].shape, dataset.test[0].shape, dataset.num_classes
    ((1047, 8, 8, 1), (300, 8, 8, 1), 10)
    """

    train: tuple[Any, Any]
    test: tuple[Any, Any]
    num_classes: int

    def subset(
        self, num_train: int, num_test: int, seed: int = 0
    ) -> "ImageDataset":
        """Return a random subset of the images.

        Args:
            num_train: Integer, at most the number of training images.
            num_test: Integer, at most the number of test images.
            seed: Integer, of the training images. The test images are always
                the same. Defaults to 0.

        Returns:
            `ImageDataset`.

        Raises:
            ValueError: If there are fewer images.
        """
        return dataclasses.replace(
            self,
            train=_choose(self.train, num_train, seed),
            test=_choose(self.test, num_test, 0),
        )

    def held_out(self, number: int) -> "ImageDataset":
        """Return a fixed random split of the training images.

        Args:
            number: Integer, the number of images for testing. The others, at
                least one, are for training.

        Returns:
            `ImageDataset`, without the present test images.

        Raises:
            ValueError: If there are no more images than `number`.
        """
        images, labels = self.train
        if not 1 <= number < len(labels):
            raise ValueError(
                f"Of {len(labels)} images some must remain to train on. "
                f"Received: {number} to be held out"
            )
        order = np.random.default_rng(0).permutation(len(labels))
        train, test = (
            (images[rows], labels[rows])
            for rows in (order[number:], order[:number])
        )
        return dataclasses.replace(self, train=train, test=test)

    def long_tailed(self, imbalance: float) -> "ImageDataset":
        """Return fewer and fewer training images for later classes.

        Class k of K keeps `n * imbalance ** (-k / (K - 1))` of its images,
        rounded down, with n those of the smallest class: a fixed random
        subset. The test images stay balanced.

        Args:
            imbalance: Number >= 1, how many times as many images the first
                class has as the last one.

        Returns:
            `ImageDataset`.

        Raises:
            ValueError: If `imbalance` is below 1, or the last class would have
                no image.

        Reference:
            [Cui et al., 2019](https://arxiv.org/abs/1901.05555), section 5.1.
        """
        imbalance = validation.number("imbalance", imbalance, "[1, inf)")
        images, labels = self.train
        most = np.bincount(labels, minlength=self.num_classes).min()
        share = imbalance ** (
            -np.arange(self.num_classes) / (self.num_classes - 1)
        )
        # A product such as 5000 * 100^-1 may come out just below 50.
        kept = np.floor(most * share + 1e-6).astype("int64")
        if kept[-1] < 1:
            raise ValueError(
                "`imbalance` must leave an image of each class, of which the "
                f"smallest has {most}. Received: imbalance={imbalance}"
            )
        order = np.random.default_rng(0).permutation(len(labels))
        rows = np.concatenate([
            order[labels[order] == k][:count] for k, count in enumerate(kept)
        ])
        rows.sort()
        return dataclasses.replace(self, train=(images[rows], labels[rows]))


def from_tfds(
    name: str,
    data_dir: str | Path | None = None,
    splits: tuple[str, str] = ("train", "test"),
    **arguments: Any,
) -> ImageDataset:
    """Return a data set of tensorflow-datasets with images of one size.

    Args:
        name: `"cifar10"`, `"cifar100"`, `"svhn_cropped"`, `"fashion_mnist"`
            or any other with `image` and `label`.
        data_dir: Folder of the files of tensorflow-datasets.
        splits: For training and for testing. Defaults to `"train"` and
            `"test"`; SVHN in the papers is `"train+extra"` and `"test"`.
        **arguments: As for `tensorflow_datasets.load`.

    Returns:
        `ImageDataset`.

    Example, with `folder` for the files of tensorflow-datasets:

    >>> dataset = keras_sam.data.from_tfds("cifar10", data_dir=folder)
    >>> dataset.train[0].shape[1:], dataset.num_classes
    ((32, 32, 3), 10)

    Raises:
        ImportError: If tensorflow-datasets is not installed.
    """
    tensorflow_datasets = _tensorflow_datasets()
    data, info = tensorflow_datasets.load(
        name,
        split=list(splits),
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


class ImageFiles:
    """Images that are read from files and scaled when they are indexed.

    Args:
        records: Sequence of dictionaries whose `image` has the bytes of a
            file.
        size: Height and width. Images are scaled to cover it and cropped at
            their center.

    Example:
    >>> import io
    >>> from PIL import Image
    >>> file = io.BytesIO()
    >>> Image.new("RGB", (40, 30)).save(file, "png")
    >>> records = 5 * [{"image": file.getvalue()}]
    >>> images = keras_sam.data.ImageFiles(records, (32, 32))
    >>> len(images), images[:2].shape
    (5, (2, 32, 32, 3))
    """

    def __init__(self, records: Any, size: tuple[int, int]) -> None:
        self._records = records
        self._size = size

    def __len__(self) -> int:
        return len(self._records)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """The shape of the array of all images."""
        return len(self), *self._size, 3

    def __getitem__(self, rows: Any) -> Any:
        """Return images by their positions.

        Args:
            rows: Integer array of shape `(num_images,)`, or a slice.

        Returns:
            Array of bytes of shape `(num_images, height, width, 3)`.
        """
        if isinstance(rows, slice):
            rows = range(*rows.indices(len(self)))
        return np.stack([
            _fitted(io.BytesIO(self._records[int(row)]["image"]), self._size)
            for row in rows
        ])


def from_tfds_files(
    name: str,
    size: tuple[int, int],
    data_dir: str | Path | None = None,
    splits: tuple[str, str] = ("train", "test"),
) -> ImageDataset:
    """Return a data set of tensorflow-datasets that does not fit in memory.

    Images are decoded when a batch needs them; the labels are read at once,
    which takes one pass over the files. The data set must be stored as
    `array_record`, as `tensorflow_datasets.data_source` prepares it.

    Args:
        name: `"imagenet2012"`, `"food101"`, or any other with `image` and
            `label`.
        size: Height and width. Images are scaled to cover it and cropped at
            their center.
        data_dir: Folder of the files of tensorflow-datasets.
        splits: For training and for testing. Defaults to `"train"` and
            `"test"`.

    Returns:
        `ImageDataset` of `ImageFiles`.

    Example, with `folder` for the files of tensorflow-datasets:

    >>> dataset = keras_sam.data.from_tfds_files(
    ...     "food101", (64, 64), folder, splits=("train", "validation")
    ... )
    >>> dataset.train[0].shape[1:], dataset.num_classes
    ((64, 64, 3), 101)

    Raises:
        ImportError: If tensorflow-datasets is not installed.
    """
    tensorflow_datasets = _tensorflow_datasets()
    as_bytes = tensorflow_datasets.decode.SkipDecoding()
    records = tensorflow_datasets.data_source(
        name,
        split=list(splits),
        data_dir=data_dir,
        decoders={"image": as_bytes},
    )
    train, test = (
        (
            ImageFiles(part, size),
            np.array([record["label"] for record in part], "int32"),
        )
        for part in records
    )
    features = records[0].dataset_info.features
    return ImageDataset(train, test, features["label"].num_classes)


def _tensorflow_datasets() -> Any:
    try:
        import tensorflow_datasets
    except ImportError as error:
        raise ImportError(
            "Data sets by name require tensorflow-datasets: "
            "`pip install tensorflow-datasets tensorflow`."
        ) from error
    return tensorflow_datasets


def from_strips(folder: str | Path) -> ImageDataset:
    """Return square images that are stacked in files of one class each.

    Args:
        folder: Has `train/CLASS-K.EXT` and `test/CLASS-K.EXT`, vertical strips
            of square images of the strip's width. Classes are numbered in
            alphabetical order.

    Returns:
        `ImageDataset`.

    Example:
    >>> import pathlib
    >>> import tempfile
    >>> from PIL import Image
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> for split in ("train", "test"):
    ...     (folder / split).mkdir()
    ...     for name in ("cat-1", "cat-2", "dog-1"):
    ...         strip = Image.new("RGB", (32, 5 * 32))
    ...         strip.save(folder / split / f"{name}.png")
    >>> dataset = keras_sam.data.from_strips(folder)
    >>> dataset.train[0].shape, np.bincount(dataset.train[1]).tolist()
    ((15, 32, 32, 3), [10, 5])

    Raises:
        ValueError: If there are no such files.
    """
    return _read(folder, "*", lambda file: file.stem.rsplit("-", 1)[0], _strip)


def from_folder(folder: str | Path, size: tuple[int, int]) -> ImageDataset:
    """Return images in single files, in a folder for each class.

    Args:
        folder: Has `train/CLASS/FILE` and `test/CLASS/FILE`. Classes are
            numbered in alphabetical order.
        size: Height and width. Images of another size are scaled to cover it
            and cropped at their center.

    Returns:
        `ImageDataset`.

    Example:
    >>> import pathlib
    >>> import tempfile
    >>> from PIL import Image
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> for split in ("train", "test"):
    ...     for name in ("cat", "dog"):
    ...         (folder / split / name).mkdir(parents=True)
    ...         photo = Image.new("RGB", (40, 30))
    ...         photo.save(folder / split / name / "1.png")
    >>> dataset = keras_sam.data.from_folder(folder, size=(32, 32))
    >>> dataset.train[0].shape, dataset.train[1].tolist()
    ((2, 32, 32, 3), [0, 1])

    Raises:
        ValueError: If there are no such files.
    """
    return _read(
        folder,
        "*/*",
        lambda file: file.parent.name,
        lambda file: _fitted(file, size)[None],
    )


def digits() -> ImageDataset:
    """Return the 1,797 handwritten digits of scikit-learn, 8 x 8 pixels.

    A fixed quarter of each class is for testing.

    Example:
    >>> dataset = keras_sam.data.digits()
    >>> dataset.train[0].shape, dataset.test[0].shape
    ((1347, 8, 8, 1), (450, 8, 8, 1))
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    data = load_digits()
    # Pixels of the digits are integers from 0 to 16.
    images = (data.images[..., None] * (255 / 16)).round().astype("uint8")
    train_x, test_x, train_y, test_y = train_test_split(
        images,
        data.target.astype("int32"),
        test_size=450,
        random_state=0,
        stratify=data.target,
    )
    return ImageDataset((train_x, train_y), (test_x, test_y), 10)


def _choose(data: tuple[Any, Any], number: int, seed: int) -> tuple[Any, Any]:
    images, labels = data
    if not 1 <= number <= len(labels):
        raise ValueError(
            f"There are {len(labels)} images. Received: a subset of {number}"
        )
    # A prefix of one permutation: smaller subsets are parts of larger ones.
    chosen = np.random.default_rng(seed).permutation(len(labels))[:number]
    return images[chosen], labels[chosen]


def _read(
    folder: str | Path,
    pattern: str,
    class_of: Callable[[Path], str],
    images_of: Callable[[Path], Any],
) -> ImageDataset:
    """Return the images of files, each of which has one class.

    Raises:
        ValueError: If there are no files.
    """
    files = {
        split: sorted(
            p for p in (Path(folder) / split).glob(pattern) if p.is_file()
        )
        for split in ("train", "test")
    }
    if not all(files.values()):
        raise ValueError(
            f"`folder` must hold images as train/{pattern} and test/{pattern}. "
            f"Received: folder={str(folder)!r}"
        )
    names = sorted({class_of(file) for file in files["train"]})

    def read(split: str) -> tuple[Any, Any]:
        images = [images_of(file) for file in files[split]]
        classes = [names.index(class_of(file)) for file in files[split]]
        labels = np.repeat(np.array(classes, "int32"), [len(x) for x in images])
        return np.concatenate(images), labels

    return ImageDataset(read("train"), read("test"), len(names))


def _fitted(file: Any, size: tuple[int, int]) -> Any:
    from PIL import Image
    from PIL import ImageOps

    with Image.open(file) as image:
        return np.asarray(ImageOps.fit(image.convert("RGB"), size[::-1]))


def _strip(file: Path) -> Any:
    from PIL import Image

    with Image.open(file) as image:
        pixels = np.asarray(image.convert("RGB"))
    width = pixels.shape[1]
    return pixels.reshape(-1, width, width, 3)
