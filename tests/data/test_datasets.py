"""Every source returns the same arrays."""

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from keras_sam import data

GENERATOR = np.random.default_rng(0)
CLASSES = ("cat", "aero_plane")
IMAGES = {
    (split, name): GENERATOR.integers(0, 256, (number, 6, 6, 3), dtype="uint8")
    for name in CLASSES
    for split, number in (("train", 5), ("test", 3))
}


def assert_has_all_images(found):
    assert found.num_classes == 2
    for split in ("train", "test"):
        x, y = getattr(found, split)
        for label, name in enumerate(sorted(CLASSES)):
            np.testing.assert_array_equal(x[y == label], IMAGES[split, name])


def test_strips_hold_images_below_one_another(tmp_path):
    for (split, name), images in IMAGES.items():
        (tmp_path / split).mkdir(exist_ok=True)
        for k, part in enumerate((images[:2], images[2:])):
            strip = Image.fromarray(part.reshape(-1, 6, 3))
            strip.save(tmp_path / split / f"{name}-{k}.png")
    assert_has_all_images(data.from_strips(tmp_path))


def test_folders_hold_a_file_for_each_image(tmp_path):
    for (split, name), images in IMAGES.items():
        folder = tmp_path / split / name
        folder.mkdir(parents=True)
        for k, image in enumerate(images):
            Image.fromarray(image).save(folder / f"{k}.png")
    assert_has_all_images(data.from_folder(tmp_path, (6, 6)))
    x, _ = data.from_folder(tmp_path, (4, 3)).train
    assert x.shape[1:] == (4, 3, 3)


class Tiny(tfds.core.GeneratorBasedBuilder):
    """Data in the format of tensorflow-datasets."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict({
                "image": tfds.features.Image(shape=(6, 6, 3)),
                "label": tfds.features.ClassLabel(names=sorted(CLASSES)),
            })
        )

    def _split_generators(self, dl_manager):
        return {split: self._examples(split) for split in ("train", "test")}

    def _examples(self, split):
        for name in CLASSES:
            for k, image in enumerate(IMAGES[split, name]):
                yield f"{name}{k}", {"image": image, "label": name}

    _generate_examples = _examples


def test_tensorflow_datasets_are_read_by_name(tmp_path):
    Tiny(data_dir=tmp_path).download_and_prepare()
    found = data.from_tfds("tiny", data_dir=tmp_path, shuffle_files=False)
    assert found.num_classes == 2
    for split in ("train", "test"):
        x, y = getattr(found, split)
        for label, name in enumerate(sorted(CLASSES)):
            order = np.lexsort(x[y == label].reshape(-1, 108).T)
            expected = IMAGES[split, name]
            ordered = expected[np.lexsort(expected.reshape(-1, 108).T)]
            np.testing.assert_array_equal(x[y == label][order], ordered)


def test_tensorflow_datasets_are_read_from_files_on_request(tmp_path):
    Tiny(data_dir=tmp_path, file_format="array_record").download_and_prepare()
    found = data.from_tfds_files("tiny", (6, 6), data_dir=tmp_path)
    assert found.num_classes == 2
    for split, number in (("train", 10), ("test", 6)):
        files, y = getattr(found, split)
        assert len(files) == number
        assert files.shape == (number, 6, 6, 3)
        x = files[:]
        np.testing.assert_array_equal(files[np.array([3, 1])], x[[3, 1]])
        for label, name in enumerate(sorted(CLASSES)):
            expected = {image.tobytes() for image in IMAGES[split, name]}
            assert {image.tobytes() for image in x[y == label]} == expected
    small = data.from_tfds_files("tiny", (4, 3), data_dir=tmp_path).subset(2, 1)
    assert small.train[0].shape == (2, 4, 3, 3)


def test_digits_are_split_by_class():
    found = data.digits()
    assert found.train[0].shape == (1347, 8, 8, 1)
    assert found.test[0].shape == (450, 8, 8, 1)
    assert found.train[0].max() == 255
    frequencies = np.bincount(found.test[1]) / 450
    assert abs(frequencies - 0.1).max() < 0.01


def test_subset_is_a_choice_without_repetition():
    found = data.digits().subset(100, 50)
    assert len(found.train[0]) == len(found.train[1]) == 100
    assert len(found.test[0]) == 50
    assert len(np.unique(found.train[0].reshape(100, -1), axis=0)) == 100
    again = data.digits().subset(100, 50)
    np.testing.assert_array_equal(found.train[1], again.train[1])
    with pytest.raises(ValueError, match=r"There are 450 images.*451"):
        data.digits().subset(100, 451)


def test_subsets_of_other_seeds_have_the_same_test_images():
    whole = data.digits()
    first, second = (whole.subset(100, 50, seed) for seed in (0, 1))
    np.testing.assert_array_equal(first.test[0], second.test[0])
    assert first.train[1].tolist() == whole.subset(100, 50).train[1].tolist()
    assert first.train[1].tolist() != second.train[1].tolist()


@pytest.mark.parametrize(
    "read", [data.from_strips, lambda folder: data.from_folder(folder, (4, 4))]
)
def test_a_folder_without_images_is_refused_by_name(read, tmp_path):
    with pytest.raises(ValueError, match="`folder` must hold images as train/"):
        read(tmp_path)


def test_a_long_tail_of_cifar10_has_the_counts_of_the_literature():
    labels = np.repeat(np.arange(10), 5000)[::-1].copy()
    images = np.arange(50_000, dtype="int32")
    test = (images[:10], labels[:10])
    whole = data.ImageDataset((images, labels), test, 10)
    tail = whole.long_tailed(100)
    counts = [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    assert np.bincount(tail.train[1]).tolist() == counts
    assert sum(counts) == 12_406
    # Distinct images, each with its label, always the same ones.
    np.testing.assert_array_equal(labels[tail.train[0]], tail.train[1])
    assert len(set(tail.train[0].tolist())) == 12_406
    np.testing.assert_array_equal(
        whole.long_tailed(100).train[0], tail.train[0]
    )
    assert tail.test is test
    assert len(whole.long_tailed(1).train[1]) == 50_000


@pytest.mark.parametrize("imbalance", [0.5, 1e6])
def test_a_long_tail_keeps_an_image_of_each_class(imbalance):
    with pytest.raises(ValueError, match=r"`imbalance` must .*Received"):
        data.digits().long_tailed(imbalance)
