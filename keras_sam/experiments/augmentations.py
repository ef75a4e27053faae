"""Augmentations of the paper's experiments by name."""

import functools

from keras_sam.data.augmentation import crop
from keras_sam.data.augmentation import cutout
from keras_sam.data.augmentation import flip
from keras_sam.data.augmentation import random_resized_crop
from keras_sam.data.auto_augment import AutoAugment
from keras_sam.data.batches import Transform

Transforms = tuple[Transform, ...]

AUGMENTATIONS: dict[str, tuple[Transforms, Transforms]] = {
    "none": ((), ()),
    "flip": ((flip,), ()),
    "basic": ((crop, flip), ()),
    "cutout": ((crop, flip), (cutout,)),
    "auto_augment": ((AutoAugment("cifar"), crop, flip), ()),
    "svhn": ((AutoAugment("svhn"),), (cutout,)),
    "small_crop": ((functools.partial(crop, padding=1),), ()),
    "imagenet": ((random_resized_crop, flip), ()),
}
"""Transforms of the bytes, and transforms after standardization.

`"basic"`, `"cutout"` and `"auto_augment"` are the columns of the paper's table
1; `"svhn"` is for its table 5, without flips and crops as in the authors' code;
`"small_crop"` is for the digits.
"""
