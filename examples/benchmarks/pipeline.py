"""Measure how many augmented images a second one core delivers.

    python examples/benchmarks/pipeline.py

Batches of 256 random images of 32 x 32, as large as those of CIFAR-10, go
through each augmentation of the paper's experiments. It prints the median
over batches, with the lowest and the highest, of images a second from one
worker, in about half a minute on one of two CPU cores. What the project asks
for is 2,000 a second with AutoAugment.
"""

import argparse
import statistics
import time

import numpy as np

from keras_sam.data import ImageBatches
from keras_sam.experiments.augmentations import AUGMENTATIONS
from keras_sam.experiments.memory import keep_freed_memory

NAMES = ("none", "basic", "cutout", "auto_augment", "svhn", "imagenet")


def speeds(batches):
    """Return images a second for each batch but the first."""
    found = []
    for index in range(len(batches)):
        start = time.perf_counter()
        images, _ = batches[index]
        found.append(len(images) / (time.perf_counter() - start))
    return found[1:]


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
    print("| augmentation | images a second and core | lowest to highest |")
    print("| --- | --- | --- |")
    for name in NAMES:
        changes, final_changes = AUGMENTATIONS[name]
        found = speeds(
            ImageBatches(
                images,
                labels,
                args.batch_size,
                changes=changes,
                final_changes=final_changes,
            )
        )
        spread = f"{min(found):,.0f} to {max(found):,.0f}"
        print(f"| {name} | {statistics.median(found):,.0f} | {spread} |")


if __name__ == "__main__":
    main()
