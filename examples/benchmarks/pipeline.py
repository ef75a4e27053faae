"""Measure the augmented images per second from one core.

    python examples/benchmarks/pipeline.py

Applies each augmentation of the paper's experiments to batches of 256 random
images of 32 x 32, the size of CIFAR-10. Prints the median over batches, with
the lowest and the highest, of images per second from one worker, in about half
a minute on one of two CPU cores. The requirement of the project is 2,000 per
second with AutoAugment.
"""

import argparse
import statistics
import time

import numpy as np
from report import print_table

from keras_sam.data import ImageBatches
from keras_sam.experiments.augmentations import AUGMENTATIONS
from keras_sam.experiments.memory import keep_freed_memory

NAMES = ("none", "basic", "cutout", "auto_augment", "svhn", "imagenet")


def speeds(batches):
    """Return images per second for each batch but the first."""
    each = []
    for index in range(len(batches)):
        start = time.perf_counter()
        images, _ = batches[index]
        each.append(len(images) / (time.perf_counter() - start))
    return each[1:]


def main():
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--smoke", action="store_true", help="few images")
    args = parser.parse_args()
    if args.smoke:
        args.batches, args.batch_size = 3, 8
    keep_freed_memory()

    number = args.batches * args.batch_size
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (number, 32, 32, 3), dtype="uint8")
    labels = np.zeros((number, 10), "float32")

    def row(name):
        changes, final_changes = AUGMENTATIONS[name]
        each = speeds(
            ImageBatches(
                images,
                labels,
                args.batch_size,
                changes=changes,
                final_changes=final_changes,
            )
        )
        extremes = f"{min(each):,.0f} to {max(each):,.0f}"
        return name, f"{statistics.median(each):,.0f}", extremes

    print_table(
        ("augmentation", "images a second and core", "lowest to highest"),
        map(row, NAMES),
    )


if __name__ == "__main__":
    main()
