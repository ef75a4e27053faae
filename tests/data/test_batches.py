"""Batches depend on seed, epoch and position, and on nothing else."""

import keras
import numpy as np
import pytest

from keras_sam import data
from tests.record_orders import Witness

IMAGES = np.random.default_rng(0).integers(0, 256, (50, 8, 8, 3), dtype="uint8")
LABELS = np.arange(50)
CHANGES = {"changes": (data.AutoAugment(), data.crop, data.flip)}


def batches(**arguments):
    return data.ImageBatches(IMAGES, LABELS, 16, **arguments)


def test_every_image_comes_once_an_epoch_with_its_label():
    found = batches()
    for _ in range(2):
        parts = [found[k] for k in range(len(found))]
        assert [len(x) for x, _ in parts] == [16, 16, 16, 2]
        x, y = (np.concatenate(part) for part in zip(*parts))
        np.testing.assert_array_equal(np.sort(y), LABELS)
        expected = data.standardized(IMAGES, data.channel_statistics(IMAGES))
        np.testing.assert_array_equal(x, expected[y])
        found.on_epoch_end()


def test_images_are_standardized_by_channel():
    x = np.concatenate([batches()[k][0] for k in range(4)], dtype="float64")
    # Each number is rounded by up to 2^-24 of its size in each operation.
    np.testing.assert_allclose(x.mean((0, 1, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(x.std((0, 1, 2)), 1, atol=1e-6)


def test_a_run_resumed_at_an_epoch_has_the_batches_of_that_epoch():
    whole, rest = (
        batches(**CHANGES, seed=3),
        batches(**CHANGES, seed=3, epoch=1),
    )
    first = whole[1]
    whole.on_epoch_end()
    for one, other in zip(whole[1], rest[1]):
        np.testing.assert_array_equal(one, other)
    assert (whole[1][1] != first[1]).any()


def test_batches_do_not_depend_on_the_order_or_the_seed_of_numpy():
    first, second = batches(**CHANGES), batches(**CHANGES)
    expected = first[2]
    np.random.seed(9)  # noqa: NPY002
    second[0], second[1]
    for one, other in zip(expected, second[2]):
        np.testing.assert_array_equal(one, other)
    assert (batches(**CHANGES, seed=1)[2][1] != expected[1]).any()


def test_final_changes_are_applied_to_standardized_images():
    x, y = batches(final_changes=(lambda images, generator: 2 * images,))[0]
    plain, labels = batches()[0]
    np.testing.assert_array_equal(y, labels)
    np.testing.assert_array_equal(x, 2 * plain)


def test_fit_takes_them_with_any_number_of_workers():
    one, two = (losses_of_fit(workers) for workers in (1, 2))
    assert one == two


def losses_of_fit(workers):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(50)])
    model.compile(
        keras.optimizers.SGD(1e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    # Without this, on JAX and PyTorch Keras begins the first epoch with batches
    # of the previous one, if there are several workers.
    model.test_on_batch(*batches()[0])
    found = batches(**CHANGES, workers=workers)
    return model.fit(found, epochs=2, shuffle=False, verbose=0).history["loss"]


def test_fit_has_the_order_of_seed_and_epoch():
    x = np.arange(50, dtype="float32")[:, None]
    witness = Witness()
    witness.compile("sgd", run_eagerly=True)
    batches = data.Batches(x, x, 16, seed=3)
    witness.fit(batches, shuffle=False, epochs=2, verbose=0)
    found = np.frombuffer(b"".join(witness.seen), "float32")
    # On every backend, Keras calls `on_epoch_end` once before the first epoch.
    expected = [
        np.random.default_rng((3, epoch)).permutation(50) for epoch in (1, 2)
    ]
    np.testing.assert_array_equal(found, np.concatenate(expected))


def test_arrays_may_be_nested():
    x = {"a": np.arange(5), "b": (np.arange(5) + 10, np.arange(5) + 20)}
    found, y = data.Batches(x, np.arange(5), batch_size=3, seed=1)[1]
    np.testing.assert_array_equal(found["a"], y)
    np.testing.assert_array_equal(found["b"][0], y + 10)
    np.testing.assert_array_equal(found["b"][1], y + 20)


def test_bad_input_is_refused_by_name():
    with pytest.raises(ValueError, match=r"`x` and `y`.*\[50, 3\]"):
        data.ImageBatches(IMAGES, LABELS[:3])
    with pytest.raises(ValueError, match=r"`batch_size` must be.*=0"):
        data.ImageBatches(IMAGES, LABELS, 0)
