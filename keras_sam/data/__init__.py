"""Data for the papers' experiments: sources, augmentation, wrong labels.

Everything uses NumPy and Pillow, and is therefore the same on every backend.
"""

from keras_sam.data.augmentation import crop
from keras_sam.data.augmentation import cutout
from keras_sam.data.augmentation import flip
from keras_sam.data.augmentation import random_resized_crop
from keras_sam.data.auto_augment import AutoAugment
from keras_sam.data.batches import Batches
from keras_sam.data.batches import ImageBatches
from keras_sam.data.batches import channel_statistics
from keras_sam.data.batches import standardized
from keras_sam.data.datasets import ImageDataset
from keras_sam.data.datasets import ImageFiles
from keras_sam.data.datasets import digits
from keras_sam.data.datasets import from_folder
from keras_sam.data.datasets import from_strips
from keras_sam.data.datasets import from_tfds
from keras_sam.data.datasets import from_tfds_files
from keras_sam.data.label_noise import CIFAR10_CONFUSIONS
from keras_sam.data.label_noise import NoisyLabels
from keras_sam.data.label_noise import asymmetric_noise
from keras_sam.data.label_noise import symmetric_noise

__all__ = [
    "CIFAR10_CONFUSIONS",
    "AutoAugment",
    "Batches",
    "ImageBatches",
    "ImageDataset",
    "ImageFiles",
    "NoisyLabels",
    "asymmetric_noise",
    "channel_statistics",
    "crop",
    "cutout",
    "digits",
    "flip",
    "from_folder",
    "from_strips",
    "from_tfds",
    "from_tfds_files",
    "random_resized_crop",
    "standardized",
    "symmetric_noise",
]
