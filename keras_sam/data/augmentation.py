"""Random transforms of images, with separate draws for each image.

Each function takes images of shape `(num_images, height, width, channels)` and
a NumPy generator, and returns new images of the same shape and type.
"""

from typing import Any

import numpy as np


def flip(images: Any, generator: np.random.Generator) -> Any:
    """Mirror each image left to right with probability 1/2.

    Args:
        images: Array of shape `(num_images, height, width, channels)`.
        generator: NumPy generator.

    Returns:
        Array of the same shape and type.

    Example:
    >>> images = np.array([[1, 2, 3], [4, 5, 6]]).reshape(2, 1, 3, 1)
    >>> flipped = keras_sam.data.flip(images, np.random.default_rng(0))
    >>> flipped[:, 0, :, 0].tolist()
    [[1, 2, 3], [6, 5, 4]]
    """
    chosen = generator.random(len(images)) < 0.5
    return np.where(chosen[:, None, None, None], images[:, :, ::-1], images)


def crop(images: Any, generator: np.random.Generator, padding: int = 4) -> Any:
    """Shift each image by up to `padding` positions, with mirrored borders.

    The images are padded by reflection and cropped at a random position.

    Args:
        images: Array of shape `(num_images, height, width, channels)`.
        generator: NumPy generator.
        padding: Integer >= 0, smaller than the images. Defaults to 4, as in
            the SAM paper for images of 32 x 32.

    Returns:
        Array of the same shape and type.

    Example:
    >>> images = np.arange(9).reshape(1, 3, 3, 1)
    >>> generator = np.random.default_rng(0)
    >>> keras_sam.data.crop(images, generator, padding=1)[0, :, :, 0].tolist()
    [[3, 4, 5], [6, 7, 8], [3, 4, 5]]
    """
    border = (padding, padding)
    padded = np.pad(images, ((0, 0), border, border, (0, 0)), mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(
        padded, images.shape[1:3], axis=(1, 2)
    )
    # Windows have the shape (image, top, left, channel, height, width).
    top, left = generator.integers(0, 2 * padding + 1, (2, len(images)))
    return np.moveaxis(windows[np.arange(len(images)), top, left], 1, -1)


def cutout(images: Any, generator: np.random.Generator, size: int = 16) -> Any:
    """Set a square of each image to zero.

    The center is anywhere in the image, so that the square may extend over the
    border. Images should be standardized before, so that zero is the mean.

    Args:
        images: Array of shape `(num_images, height, width, channels)`.
        generator: NumPy generator.
        size: Even integer, the side of the square. Defaults to 16, as in the
            paper on CIFAR-10.

    Returns:
        Array of the same shape and type.

    Example:
    >>> images = np.ones((1, 4, 4, 1), int)
    >>> generator = np.random.default_rng(0)
    >>> keras_sam.data.cutout(images, generator, size=2)[0, :, :, 0].tolist()
    [[1, 1, 1, 1], [1, 1, 1, 1], [1, 0, 0, 1], [1, 0, 0, 1]]

    Reference:
        [DeVries and Taylor, 2017](https://arxiv.org/abs/1708.04552). Deviation
        of the SAM authors' code: one square for the whole batch.
    """
    number, height, width, _ = images.shape
    # With c the center, |i - c + 1/2| < size / 2 holds for exactly `size`
    # positions i, from c - size / 2 to c + size / 2 - 1.
    inside = [
        np.abs(
            np.arange(length) - generator.integers(0, length, (number, 1)) + 0.5
        )
        < size / 2
        for length in (height, width)
    ]
    hole = inside[0][:, :, None] & inside[1][:, None, :]
    return np.where(hole[..., None], np.zeros((), images.dtype), images)


def random_resized_crop(
    images: Any, generator: np.random.Generator, size: int = 0
) -> Any:
    """Crop a random part of each image and scale it to a square.

    The part has 8 to 100 % of the area and an aspect ratio between 3/4 and
    4/3; if it does not fit, it is clipped at the border.

    Args:
        images: Array of bytes of shape `(num_images, height, width, 3)`.
        generator: NumPy generator.
        size: Integer, height and width of the result. Defaults to 0, the
            height of the images.

    Returns:
        Array of bytes of shape `(num_images, size, size, 3)`.

    Example:
    >>> images = np.zeros((5, 40, 30, 3), "uint8")
    >>> generator = np.random.default_rng(0)
    >>> keras_sam.data.random_resized_crop(images, generator, 32).shape
    (5, 32, 32, 3)

    Reference:
        [Szegedy et al., 2015](https://arxiv.org/abs/1409.4842), section 6.
    """
    from PIL import Image

    number, height, width, _ = images.shape
    size = size or height
    areas = generator.uniform(0.08, 1.0, number) * height * width
    # Uniform in the logarithm: r and 1 / r are equally likely.
    ratios = np.exp(generator.uniform(np.log(3 / 4), np.log(4 / 3), number))
    heights = np.clip(np.sqrt(areas / ratios), 1, height)
    widths = np.clip(np.sqrt(areas * ratios), 1, width)
    tops = generator.random(number) * (height - heights)
    lefts = generator.random(number) * (width - widths)
    boxes = zip(lefts, tops, lefts + widths, tops + heights)
    return np.stack([
        np.asarray(
            Image.fromarray(image).resize(
                (size, size), Image.Resampling.BILINEAR, box
            )
        )
        for image, box in zip(images, boxes)
    ])
