"""Number and distribution of wrong labels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies

from keras_sam import data

LABELS = np.random.default_rng(0).integers(0, 10, 5000).astype("int32")


@settings(max_examples=30, deadline=None)
@given(
    fraction=strategies.floats(0, 1),
    num_classes=strategies.integers(2, 12),
    number=strategies.integers(0, 50),
)
def test_symmetric_noise_makes_this_fraction_wrong(
    fraction, num_classes, number
):
    labels = np.arange(number) % num_classes
    noisy, is_wrong = data.symmetric_noise(labels, fraction, num_classes)
    assert is_wrong.sum() == round(fraction * number)
    np.testing.assert_array_equal(noisy != labels, is_wrong)
    assert ((noisy >= 0) & (noisy < num_classes)).all()


def test_symmetric_noise_is_uniform_over_the_other_classes():
    noisy, is_wrong = data.symmetric_noise(LABELS, 1.0, 10)
    assert is_wrong.all()
    counts = np.bincount((noisy - LABELS) % 10, minlength=10)
    assert counts[0] == 0
    # 5,000 draws of nine classes: 556 each, with a deviation of 22.
    assert abs(counts[1:] - 5000 / 9).max() < 5 * 22.3


def test_symmetric_noise_over_all_classes_is_uniform():
    noisy, is_wrong = data.symmetric_noise(LABELS, 1.0, 10, include_own=True)
    np.testing.assert_array_equal(noisy != LABELS, is_wrong)
    counts = np.bincount((noisy - LABELS) % 10, minlength=10)
    # 5,000 draws of ten classes: 500 each, with a deviation of 21.
    assert abs(counts - 500).max() < 5 * 21.2


def test_asymmetric_noise_changes_only_classes_that_are_confused():
    noisy, is_wrong = data.asymmetric_noise(
        LABELS, 0.4, data.CIFAR10_CONFUSIONS
    )
    for own in range(10):
        members = LABELS == own
        expected = round(0.4 * members.sum())
        if own not in data.CIFAR10_CONFUSIONS:
            expected = 0
        assert is_wrong[members].sum() == expected
        other = data.CIFAR10_CONFUSIONS.get(own)
        assert set(noisy[members & is_wrong]) <= {other}


def test_the_same_seed_gives_the_same_labels_and_another_others():
    first, again, other = (
        data.symmetric_noise(LABELS, 0.4, 10, seed).labels for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_the_given_labels_are_not_changed():
    labels = LABELS.copy()
    noisy = data.symmetric_noise(labels, 0.8, 10).labels
    np.testing.assert_array_equal(labels, LABELS)
    assert noisy.dtype == labels.dtype


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((LABELS, 1.2, 10), r"`fraction` must be a number in \[0, 1\].*1\.2"),
        ((LABELS, 0.5, 1), "`num_classes` must be an integer >= 2.*=1"),
        ((LABELS, 0.5, 9), "`labels` must be in .*from 0 to 9, num_classes=9"),
        ((LABELS[:, None], 0.5, 10), r"`labels` must be.*\(5000, 1\)"),
        ((LABELS / 2, 0.5, 10), "`labels` must be integers.*float64"),
    ],
)
def test_bad_input_is_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        data.symmetric_noise(*arguments)
