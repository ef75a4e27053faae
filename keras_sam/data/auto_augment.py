"""AutoAugment: learned policies of pairs of operations."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

Operation = tuple[str, float, int]
"""A name, the probability to apply it, and its magnitude from 0 to 9."""

_TEXT = {
    "cifar": """
        Invert 0.1 7 Contrast 0.2 6; Rotate 0.7 2 TranslateX 0.3 9
        Sharpness 0.8 1 Sharpness 0.9 3; ShearY 0.5 8 TranslateY 0.7 9
        AutoContrast 0.5 8 Equalize 0.9 2; ShearY 0.2 7 Posterize 0.3 7
        Color 0.4 3 Brightness 0.6 7; Sharpness 0.3 9 Brightness 0.7 9
        Equalize 0.6 5 Equalize 0.5 1; Contrast 0.6 7 Sharpness 0.6 5
        Color 0.7 7 TranslateX 0.5 8; Equalize 0.3 7 AutoContrast 0.4 8
        TranslateY 0.4 3 Sharpness 0.2 6; Brightness 0.9 6 Color 0.2 8
        Solarize 0.5 2 Invert 0.0 3; Equalize 0.2 0 AutoContrast 0.6 0
        Equalize 0.2 8 Equalize 0.6 4; Color 0.9 9 Equalize 0.6 6
        AutoContrast 0.8 4 Solarize 0.2 8; Brightness 0.1 3 Color 0.7 0
        Solarize 0.4 5 AutoContrast 0.9 3; TranslateY 0.9 9 TranslateY 0.7 9
        AutoContrast 0.9 2 Solarize 0.8 3; Equalize 0.8 8 Invert 0.1 3
        TranslateY 0.7 9 AutoContrast 0.9 1""",
    "svhn": """
        ShearX 0.9 4 Invert 0.2 3; ShearY 0.9 8 Invert 0.7 5
        Equalize 0.6 5 Solarize 0.6 6; Invert 0.9 3 Equalize 0.6 3
        Equalize 0.6 1 Rotate 0.9 3; ShearX 0.9 4 AutoContrast 0.8 3
        ShearY 0.9 8 Invert 0.4 5; ShearY 0.9 5 Solarize 0.2 6
        Invert 0.9 6 AutoContrast 0.8 1; Equalize 0.6 3 Rotate 0.9 3
        ShearX 0.9 4 Solarize 0.3 3; ShearY 0.8 8 Invert 0.7 4
        Equalize 0.9 5 TranslateY 0.6 6; Invert 0.9 4 Equalize 0.6 7
        Contrast 0.3 3 Rotate 0.8 4; Invert 0.8 5 TranslateY 0.0 2
        ShearY 0.7 6 Solarize 0.4 8; Invert 0.6 4 Rotate 0.8 4
        ShearY 0.3 7 TranslateX 0.9 3; ShearX 0.1 6 Invert 0.6 5
        Solarize 0.7 2 TranslateY 0.6 7; ShearY 0.8 4 Invert 0.8 8
        ShearX 0.7 9 TranslateY 0.8 3; ShearY 0.8 5 AutoContrast 0.7 3
        ShearX 0.7 2 Invert 0.1 5""",
    "imagenet": """
        Posterize 0.4 8 Rotate 0.6 9; Solarize 0.6 5 AutoContrast 0.6 5
        Equalize 0.8 8 Equalize 0.6 3; Posterize 0.6 7 Posterize 0.6 6
        Equalize 0.4 7 Solarize 0.2 4; Equalize 0.4 4 Rotate 0.8 8
        Solarize 0.6 3 Equalize 0.6 7; Posterize 0.8 5 Equalize 1.0 2
        Rotate 0.2 3 Solarize 0.6 8; Equalize 0.6 8 Posterize 0.4 6
        Rotate 0.8 8 Color 0.4 0; Rotate 0.4 9 Equalize 0.6 2
        Equalize 0.0 7 Equalize 0.8 8; Invert 0.6 4 Equalize 1.0 8
        Color 0.6 4 Contrast 1.0 8; Rotate 0.8 8 Color 1.0 2
        Color 0.8 8 Solarize 0.8 7; Sharpness 0.4 7 Invert 0.6 8
        ShearX 0.6 5 Equalize 1.0 9; Color 0.4 0 Equalize 0.6 3
        Equalize 0.4 7 Solarize 0.2 4; Solarize 0.6 5 AutoContrast 0.6 5
        Invert 0.6 4 Equalize 1.0 8; Color 0.6 4 Contrast 1.0 8
        Equalize 0.8 8 Equalize 0.6 3""",
}


def _parsed(text: str) -> tuple[tuple[Operation, Operation], ...]:
    words = text.replace(";", " ").split()
    operations = [
        (name, float(probability), int(magnitude))
        for name, probability, magnitude in zip(
            words[::3], words[1::3], words[2::3]
        )
    ]
    return tuple(zip(operations[::2], operations[1::2]))


POLICIES = {name: _parsed(text) for name, text in _TEXT.items()}
"""Pairs of operations by the data set that they were learned on: tables 7 to 9
of the AutoAugment paper.
"""


@dataclasses.dataclass(frozen=True)
class AutoAugment:
    """Transforms each image by one pair of operations, drawn from a policy.

    Each operation of the pair is applied with its own probability. Geometric
    operations and enhancements have either sign with probability 1/2, and fill
    uncovered areas with grey. `keras.layers.RandAugment` and the operations of
    `keras.layers` have other ranges and draws than these tables.

    Args:
        policy: `"cifar"` (CIFAR-10, CIFAR-100), `"svhn"` or `"imagenet"`.

    Call arguments:
        images: Array of bytes of shape `(num_images, height, width, 3)`.
        generator: NumPy generator.

    Example:
    >>> images = np.zeros((5, 32, 32, 3), "uint8")
    >>> augment = keras_sam.data.AutoAugment("cifar")
    >>> augmented = augment(images, np.random.default_rng(0))
    >>> augmented.shape, augmented.dtype
    ((5, 32, 32, 3), dtype('uint8'))

    Raises:
        ValueError: If there is no such policy, or the images are not of bytes.

    Reference:
        [Cubuk et al., 2019](https://arxiv.org/abs/1805.09501), tables 6 to 9.
        Deviation of the SAM authors' code: 95 pairs for CIFAR, of which the
        paper prints 25.
    """

    policy: str = "cifar"

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            names = ", ".join(f'"{name}"' for name in POLICIES)
            raise ValueError(
                f"`policy` must be one of {names}. "
                f"Received: policy={self.policy!r}"
            )

    def __call__(self, images: Any, generator: np.random.Generator) -> Any:
        if images.dtype != np.uint8:
            raise ValueError(
                "`images` must be bytes: apply this before they are "
                f"standardized. Received: images of type {images.dtype}"
            )
        pairs = POLICIES[self.policy]
        chosen = generator.integers(0, len(pairs), len(images))
        draws = generator.random((len(images), 2))
        signs = generator.choice((-1.0, 1.0), (len(images), 2))
        return np.stack([
            _transformed(image, pairs[k], draw, sign)
            for image, k, draw, sign in zip(images, chosen, draws, signs)
        ])


def _transformed(
    image: Any, pair: tuple[Operation, Operation], draws: Any, signs: Any
) -> Any:
    from PIL import Image

    picture = Image.fromarray(image)
    for (name, probability, magnitude), draw, sign in zip(pair, draws, signs):
        if draw < probability:
            # 0 to 9 are ten values, equally spaced over the range of the name.
            picture = operation(name)(picture, magnitude / 9, sign)
    return np.asarray(picture)


def operation(name: str) -> Callable[[Any, float, float], Any]:
    """Return a function of a picture, a magnitude in [0, 1] and a sign.

    The ranges are those of the paper's table 6. Translations are relative to
    the size of the image: at most 150/331 of it.

    Args:
        name: As in the paper.

    Returns:
        A function that returns a picture.
    """
    from PIL import ImageEnhance
    from PIL import ImageOps

    def affine(coefficients: Callable[[float], Any]) -> Any:
        return lambda p, m, s: _affine(p, coefficients(s * m))

    def enhancement(enhancer: Any) -> Any:
        return lambda p, m, s: enhancer(p).enhance(1 + 0.9 * s * m)

    return {
        "ShearX": affine(lambda m: (1, 0.3 * m, 0, 0, 1, 0)),
        "ShearY": affine(lambda m: (1, 0, 0, 0.3 * m, 1, 0)),
        "TranslateX": lambda p, m, s: _affine(
            p, (1, 0, 150 / 331 * s * m * p.width, 0, 1, 0)
        ),
        "TranslateY": lambda p, m, s: _affine(
            p, (1, 0, 0, 0, 1, 150 / 331 * s * m * p.height)
        ),
        "Rotate": lambda p, m, s: p.rotate(30 * s * m, fillcolor=_GREY),
        "AutoContrast": lambda p, m, s: ImageOps.autocontrast(p),
        "Invert": lambda p, m, s: ImageOps.invert(p),
        "Equalize": lambda p, m, s: ImageOps.equalize(p),
        "Solarize": lambda p, m, s: ImageOps.solarize(p, round(256 * (1 - m))),
        "Posterize": lambda p, m, s: ImageOps.posterize(p, 8 - round(4 * m)),
        "Color": enhancement(ImageEnhance.Color),
        "Contrast": enhancement(ImageEnhance.Contrast),
        "Brightness": enhancement(ImageEnhance.Brightness),
        "Sharpness": enhancement(ImageEnhance.Sharpness),
    }[name]


_GREY = (128, 128, 128)


def _affine(picture: Any, coefficients: Any) -> Any:
    from PIL import Image

    return picture.transform(
        picture.size, Image.Transform.AFFINE, coefficients, fillcolor=_GREY
    )
