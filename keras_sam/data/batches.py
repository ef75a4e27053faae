"""Batches for `fit`, in an order that depends on seed and epoch."""

from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_sam import validation

Transform = Callable[[Any, np.random.Generator], Any]
"""A function of images and a NumPy generator, as in `augmentation`."""


class Batches(keras.utils.PyDataset):
    """Batches of arrays for `fit`, in a new order in each epoch.

    The order depends on the seed and the epoch only, so that it is the same on
    every backend, for every method, and for a run that is stopped and resumed.
    On TensorFlow, `fit(x, y)` after `keras.utils.set_random_seed` repeats one
    order in every epoch
    ([tensorflow#35682](https://github.com/tensorflow/tensorflow/issues/35682)),
    with which wrong labels are memorized sooner.

    Pass them to `fit` with `shuffle=False`, because Keras would shuffle the
    batches once more, with a generator that does not depend on the epoch alone.

    With several workers on JAX or PyTorch, call `test_on_batch` on a batch
    before the first `fit`: otherwise Keras draws batches to build the model,
    and starts each epoch with some of the epoch before.

    Args:
        x: Array of shape `(num_examples, ...)`, or a nest of such arrays.
        y: The same.
        batch_size: Integer >= 1. The last batch of an epoch may be smaller.
            Defaults to 32.
        seed: Integer. Defaults to 0.
        epoch: Integer, the first epoch. Defaults to 0.
        **kwargs: As for `keras.utils.PyDataset`: `workers`,
            `use_multiprocessing`, `max_queue_size`.

    Example, with the model of `keras_sam.sharpness`:

    >>> batches = keras_sam.data.Batches(x, y, batch_size=2, seed=0)
    >>> _ = model.fit(batches, epochs=5, shuffle=False, verbose=0)
    >>> len(batches), batches[0][0].shape
    (2, (2, 3))

    Raises:
        ValueError: If the arrays differ in length, or `batch_size` is below 1.
    """

    def __init__(
        self,
        x: Any,
        y: Any,
        batch_size: int = 32,
        seed: int = 0,
        epoch: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        lengths = [len(array) for array in keras.tree.flatten((x, y))]
        if len(set(lengths)) != 1:
            raise ValueError(
                "`x` and `y` must hold equally many examples. "
                f"Received arrays of lengths: {lengths}"
            )
        self._data = x, y
        self._num_examples = lengths[0]
        self._batch_size = validation.integer("batch_size", batch_size)
        self._seed = seed
        self._epoch = epoch
        self._order = self._shuffled()

    def __len__(self) -> int:
        return -(-self._num_examples // self._batch_size)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        """Return one batch of `x` and `y`."""
        start = index * self._batch_size
        rows = self._order[start : start + self._batch_size]
        return keras.tree.map_structure(lambda array: array[rows], self._data)

    def on_epoch_end(self) -> None:
        """Shuffle again."""
        self._epoch += 1
        self._order = self._shuffled()

    def _shuffled(self) -> Any:
        generator = np.random.default_rng((self._seed, self._epoch))
        return generator.permutation(self._num_examples)


class ImageBatches(Batches):
    """Shuffled, augmented, standardized batches, on any backend.

    The content of a batch depends on the seed, the epoch and its position
    only, not on the number of workers or on previous batches.

    Args:
        images: Array of bytes of shape `(num_images, height, width,
            channels)`.
        labels: Array of shape `(num_images, ...)`.
        batch_size: Integer >= 1. The last batch of an epoch may be smaller.
            Defaults to 128.
        changes: Functions of images and a generator, applied to the bytes in
            this order: `AutoAugment()`, `crop`, `flip`.
        statistics: Means and deviations, as from `channel_statistics`.
            Defaults to those of the images.
        final_changes: The same, applied after standardization: `cutout`.
        **kwargs: As for `Batches`: `seed`, `epoch`, `workers`.

    Example:
    >>> from keras_sam import data
    >>> images, labels = data.digits().train
    >>> batches = data.ImageBatches(images, labels, changes=[data.crop])
    >>> x, y = batches[0]
    >>> x.shape, x.dtype, len(batches)
    ((128, 8, 8, 1), dtype('float32'), 11)

    Raises:
        ValueError: As `Batches` does.
    """

    def __init__(
        self,
        images: Any,
        labels: Any,
        batch_size: int = 128,
        changes: Sequence[Transform] = (),
        statistics: tuple[Any, Any] | None = None,
        final_changes: Sequence[Transform] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(images, np.asarray(labels), batch_size, **kwargs)
        self._changes = changes
        self._final_changes = final_changes
        self._statistics = statistics or channel_statistics(images)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        """Return the images and labels of one batch."""
        images, labels = super().__getitem__(index)
        generator = np.random.default_rng((self._seed, self._epoch, index))
        for transform in self._changes:
            images = transform(images, generator)
        images = standardized(images, self._statistics)
        for transform in self._final_changes:
            images = transform(images, generator)
        return images, labels


def standardized(images: Any, statistics: tuple[Any, Any]) -> Any:
    """Return images whose channels have mean 0 and deviation 1, float32.

    Args:
        images: Array of shape `(num_images, height, width, channels)`.
        statistics: The `channel_statistics` of the training images.

    Returns:
        Array of the same shape.

    Example:
    >>> images = np.array([0, 255], "uint8").reshape(1, 1, 2, 1)
    >>> statistics = keras_sam.data.channel_statistics(images)
    >>> keras_sam.data.standardized(images, statistics).ravel().tolist()
    [-1.0, 1.0]
    """
    mean, deviation = statistics
    return (images.astype("float32") - mean) / deviation


def channel_statistics(images: Any) -> tuple[Any, Any]:
    """Return the mean and standard deviation of each channel, float32.

    Args:
        images: Array of shape `(num_images, height, width, channels)`.

    Returns:
        Two arrays of shape `(channels,)`.

    Example:
    >>> images = np.array([0, 255], "uint8").reshape(1, 1, 2, 1)
    >>> keras_sam.data.channel_statistics(images)
    (array([127.5], dtype=float32), array([127.5], dtype=float32))
    """
    # In float32, a sum over all pixels of a data set would lose digits.
    axes = (0, 1, 2)
    mean = images.mean(axes, dtype="float64")
    deviation = images.std(axes, dtype="float64")
    return mean.astype("float32"), deviation.astype("float32")
