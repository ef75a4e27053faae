"""Each transform draws for each image separately, and does what it is for."""

import numpy as np
import pytest
from PIL import Image

from keras_sam import data
from keras_sam.data import auto_augment

NUM_IMAGES = 2000
IMAGES = np.random.default_rng(0).integers(
    1, 256, (NUM_IMAGES, 12, 10, 3), dtype="uint8"
)


def generator():
    return np.random.default_rng(1)


@pytest.mark.parametrize(
    "transform", [data.flip, data.crop, data.cutout, data.AutoAugment()]
)
def test_transform_keeps_shape_type_and_its_argument(transform):
    images = IMAGES[:20].copy()
    changed = transform(images, generator())
    assert changed.shape == images.shape
    assert changed.dtype == images.dtype
    np.testing.assert_array_equal(images, IMAGES[:20])
    np.testing.assert_array_equal(changed, transform(images, generator()))


def test_flip_mirrors_half_of_the_images():
    flipped = data.flip(IMAGES, generator())
    is_same = (flipped == IMAGES).all((1, 2, 3))
    mirrored = (flipped == IMAGES[:, :, ::-1]).all((1, 2, 3))
    assert (is_same ^ mirrored).all()
    # Five standard deviations of 2,000 coins.
    assert abs(mirrored.mean() - 0.5) < 5 * 0.5 / np.sqrt(NUM_IMAGES)


def test_crop_is_one_of_all_shifts_of_the_mirrored_image():
    cropped = data.crop(IMAGES, generator(), padding=2)
    found = np.zeros((5, 5), int)
    for image, result in zip(IMAGES, cropped):
        padded = np.pad(image, ((2, 2), (2, 2), (0, 0)), mode="reflect")
        matches = [
            (i, j)
            for i in range(5)
            for j in range(5)
            if (padded[i : i + 12, j : j + 10] == result).all()
        ]
        assert len(matches) == 1
        found[matches[0]] += 1
    # 2,000 draws of 25 positions: 80 each, with a deviation of 8.8.
    assert abs(found - 80).max() < 5 * 8.8


def test_cutout_sets_one_square_with_its_center_in_the_image_to_zero():
    holes = (data.cutout(IMAGES, generator(), size=4) == 0).all(-1)
    centers = set()
    for hole in holes:
        rows, columns = np.flatnonzero(hole.any(1)), np.flatnonzero(hole.any(0))
        assert hole.sum() == len(rows) * len(columns)  # a rectangle
        assert 2 <= len(rows) <= 4
        assert 2 <= len(columns) <= 4
        centers.add((rows[-1], columns[-1]))
    # Two rows above the center and one below: the last rows are 1 to 11.
    assert len(centers) == 11 * 9
    assert holes.any(0).all()


def boxes(height, width, number, size):
    """Return the boxes of `random_resized_crop`: lefts, tops, sizes.

    Red is the column and green the row of a position, so that both are linear
    in the result; away from the borders they determine the box.
    """
    rows, columns = np.mgrid[:height, :width]
    image = np.stack([columns, rows, rows], -1).astype("uint8")
    images = np.broadcast_to(image, (number, *image.shape))
    results = data.random_resized_crop(images, generator(), size)
    assert results.dtype == np.uint8
    assert results.shape == (number, size, size, 3)
    inside = slice(size // 4, -size // 4)
    positions = np.arange(size)[inside] + 0.5
    found = []
    for channel, axis in ((0, 1), (1, 2)):
        profile = results[:, inside, inside, channel].mean(axis)
        slope, start = np.polyfit(positions, profile.T, 1)
        # The center of position 0 is at 0.5.
        found.append((start + 0.5, slope * size))
    (lefts, widths), (tops, heights) = found
    return lefts, tops, widths, heights


def test_resized_crop_has_the_areas_and_ratios_of_the_paper():
    height, width, number = 200, 240, 1000
    lefts, tops, widths, heights = boxes(height, width, number, 32)
    # Bytes are rounded: half a position, over 16 of 32 of them.
    error = 1.5
    for start, length, whole in (
        (lefts, widths, width),
        (tops, heights, height),
    ):
        assert start.min() > -error
        assert (start + length).max() < whole + error
        # Small parts are uniform over the free space.
        free = whole - length
        fraction = (start / free)[free > whole / 2]
        deviation = np.sqrt(1 / 12 / len(fraction))
        assert abs(fraction.mean() - 0.5) < 5 * deviation
    areas = widths * heights / (height * width)
    assert 0.07 < areas.min() < 0.1
    assert 0.9 < areas.max() < 1.02
    # Areas that fit with any ratio are uniform: 200 * 4/3 is the largest width
    # with the full height, and 240 * 4/3 exceeds the height.
    fits = areas < 200**2 * 3 / 4 / (height * width)
    uniform = (areas[fits] - 0.08) / (areas[fits].max() - 0.08)
    assert abs(uniform.mean() - 0.5) < 5 * np.sqrt(1 / 12 / fits.sum())
    logarithms = np.log(widths / heights)[fits] / np.log(4 / 3)
    assert 0.95 < abs(logarithms).max() < 1.1
    assert abs(logarithms.mean()) < 5 * np.sqrt(1 / 3 / fits.sum())
    expected = (areas[fits].max() - 0.08) / 0.92
    assert abs(fits.mean() - expected) < 5 * np.sqrt(0.25 / number)


def test_resized_crop_is_the_same_for_the_same_seed():
    first = data.random_resized_crop(IMAGES[:20], generator(), 8)
    again = data.random_resized_crop(IMAGES[:20], generator(), 8)
    other = data.random_resized_crop(IMAGES[:20], np.random.default_rng(2), 8)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert data.random_resized_crop(IMAGES[:2], generator()).shape[1:3] == (
        12, 12,
    )  # fmt: skip


def test_every_printed_policy_has_25_pairs_of_known_operations():
    for pairs in auto_augment.POLICIES.values():
        assert len(pairs) == 25
        for pair in pairs:
            for name, probability, magnitude in pair:
                assert callable(auto_augment.operation(name))
                assert 0 <= probability <= 1
                assert 0 <= magnitude <= 9


def picture():
    return Image.fromarray(IMAGES[0])


@pytest.mark.parametrize(
    ("name", "magnitude", "expected"),
    [
        ("Invert", 1.0, 255 - IMAGES[0]),
        (
            "Solarize",
            0.5,
            np.where(IMAGES[0] < 128, IMAGES[0], 255 - IMAGES[0]),
        ),
        ("Solarize", 0.0, IMAGES[0]),
        ("Posterize", 1.0, IMAGES[0] & 0xF0),
        ("Brightness", 0.0, IMAGES[0]),
        ("Rotate", 0.0, IMAGES[0]),
        ("ShearX", 0.0, IMAGES[0]),
    ],
)
def test_operation_does_what_its_name_says(name, magnitude, expected):
    changed = auto_augment.operation(name)(picture(), magnitude, 1.0)
    np.testing.assert_array_equal(np.asarray(changed), expected)


@pytest.mark.parametrize(
    ("name", "axis"), [("TranslateX", 1), ("TranslateY", 0)]
)
def test_translation_is_relative_to_the_size_and_fills_with_grey(name, axis):
    changed = auto_augment.operation(name)(picture(), 0.5, 1.0)
    shift = round(150 / 331 * 0.5 * IMAGES[0].shape[axis])
    changed = np.moveaxis(np.asarray(changed), axis, 0)
    image = np.moveaxis(IMAGES[0], axis, 0)
    np.testing.assert_array_equal(changed[:-shift], image[shift:])
    np.testing.assert_array_equal(changed[-shift:], 128)


def test_auto_augment_applies_an_operation_with_its_probability(monkeypatch):
    pair = (("Invert", 0.3, 0), ("Solarize", 0.0, 9))
    monkeypatch.setitem(auto_augment.POLICIES, "cifar", (pair,))
    changed = data.AutoAugment()(IMAGES, generator())
    is_inverted = (changed == 255 - IMAGES).all((1, 2, 3))
    assert (is_inverted | (changed == IMAGES).all((1, 2, 3))).all()
    deviation = np.sqrt(0.3 * 0.7 / NUM_IMAGES)
    assert abs(is_inverted.mean() - 0.3) < 5 * deviation


def test_auto_augment_refuses_other_policies_and_types():
    with pytest.raises(
        ValueError, match=r"`policy` must be .*\"svhn\".*'mnist'"
    ):
        data.AutoAugment("mnist")
    with pytest.raises(ValueError, match=r"`images` must be bytes.*float32"):
        data.AutoAugment()(IMAGES.astype("float32"), generator())
