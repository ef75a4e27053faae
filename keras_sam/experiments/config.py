"""What an experiment is: a frozen dataclass whose fields can be set."""

import dataclasses
from collections.abc import Iterable
from typing import Any
from typing import get_type_hints

import keras

from keras_sam.experiments import augmentations
from keras_sam.experiments import networks
from keras_sam.experiments import sources

STRATEGIES = ("none", "mirrored", "data_parallel")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment:
    """One way to train on one task, over some seeds.

    The defaults are those of the SAM paper on CIFAR-10 with the authors' code,
    where the paper is silent.

    Attributes:
        row: Name of the task, one row of a table.
        variant: Name of the way to train.
        table: Where the paper prints the row.
        paper_error: The test error in per cent that the paper prints, with
            its 95 % interval over five seeds; empty if it prints none.
        source: Where data come from: a key of `sources.SOURCES`.
        dataset: Name in tensorflow-datasets.
        folder: Where the data are; with tensorflow-datasets, its `data_dir`.
        train_split: Of tensorflow-datasets.
        test_split: Of tensorflow-datasets.
        num_train: How many training images, chosen at random but always the
            same; 0 for all.
        num_test: The same of the test images.
        image_size: Height and width that images are scaled to; 0 to leave
            them as they are.
        standardize: A key of `sources.STATISTICS`.
        augmentation: A key of `augmentations.AUGMENTATIONS`.
        mixup: Parameter alpha of mixup; 0 for none.
        label_noise: Fraction of the training labels replaced by others.
        bootstrap: Whether to train twice, the second time from scratch on the
            labels that the first network predicts.
        network: A key of `networks.NETWORKS`, or a name in
            `keras.applications`.
        depth: Layers with weights; 0 for the default of the network.
        width: Channels or their factor; 0 for the default of the network.
        weights: What to fine-tune, with the statistics of batch normalization
            frozen: the file of a saved model without its last layer,
            `"imagenet"`, or `"random"`; empty to train from scratch.
        method: Name in `keras_sam.methods`.
        rho: Radius; 0 for the plain optimizer.
        num_microbatches: As for `SAMModel`.
        epochs: Passes over the training data.
        budget: Multiplies `epochs`.
        batch_size: Examples in a batch.
        learning_rate: At the start; falls to 0 by a cosine.
        momentum: Of SGD.
        nesterov: Whether momentum is Nesterov's.
        weight_decay: Lambda; `lambda / 2` times the squared norm of all
            trainable weights is part of the loss.
        clipnorm: Largest norm of the final gradient; 0 for no clipping.
        label_smoothing: As for `keras.losses.CategoricalCrossentropy`.
        jit_compile: Whether XLA compiles the step; on JAX it always does.
        eager: Whether steps are run eagerly.
        strategy: `"none"`; on TensorFlow also `"mirrored"`, on JAX also
            `"data_parallel"`: all devices of the machine.
        workers: Threads that make batches.
        seeds: One run for each.

    Raises:
        ValueError: If a value is outside its range, or there is no such name.
    """

    row: str
    variant: str
    table: str = ""
    paper_error: str = ""
    source: str = "tfds"
    dataset: str = "cifar10"
    folder: str = ""
    train_split: str = "train"
    test_split: str = "test"
    num_train: int = 0
    num_test: int = 0
    image_size: int = 0
    standardize: str = "own"
    augmentation: str = "basic"
    mixup: float = 0.0
    label_noise: float = 0.0
    bootstrap: bool = False
    network: str = "wide_resnet"
    depth: int = 0
    width: int = 0
    weights: str = ""
    method: str = "sam"
    rho: float = 0.0
    num_microbatches: int = 1
    epochs: int = 200
    budget: int = 1
    batch_size: int = 256
    learning_rate: float = 0.1
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    clipnorm: float = 5.0
    label_smoothing: float = 0.0
    jit_compile: bool = False
    eager: bool = False
    strategy: str = "none"
    workers: int = 1
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)

    def __post_init__(self) -> None:
        for name, known in (
            ("source", sources.SOURCES),
            ("standardize", sources.STATISTICS),
            ("augmentation", augmentations.AUGMENTATIONS),
            ("strategy", STRATEGIES),
        ):
            _check_name(name, getattr(self, name), known)
        if not hasattr(keras.applications, self.network):
            _check_name("network", self.network, networks.NETWORKS)
        for name, lowest in _LOWEST.items():
            value = getattr(self, name)
            if not lowest <= value < float("inf"):
                raise ValueError(
                    f"`{name}` must be finite and at least {lowest}. "
                    f"Received: {name}={value}"
                )
        if not self.seeds:
            raise ValueError("`seeds` must name at least one. Received: none")

    @property
    def name(self) -> str:
        """Row and variant, by which an experiment is run."""
        return f"{self.row}/{self.variant}"

    def with_settings(self, assignments: Iterable[str]) -> "Experiment":
        """Return the experiment with some fields set.

        Args:
            assignments: Strings `key=value`. Several seeds are separated by
                commas, truth values are `true` and `false`.

        Returns:
            `Experiment`.

        Raises:
            ValueError: If there is no such field, or the value is not of its
                type.
        """
        changes = dict(_parsed(text) for text in assignments)
        return dataclasses.replace(self, **changes)

    def smoke(self) -> "Experiment":
        """Return the experiment with a few images and a tiny network.

        Steps are eager: a single one is over before it would be compiled.
        """
        network, depth, width = networks.smallest(self.network)
        return dataclasses.replace(
            self,
            network=network,
            depth=depth,
            width=width,
            weights="random" if self.weights else "",
            num_train=8,
            num_test=8,
            image_size=min(self.image_size, 32),
            batch_size=8,
            epochs=1,
            eager=True,
            seeds=(0,),
        )

    def settings(self) -> dict[str, Any]:
        """Return what decides on the result of a run, seed and paths apart."""
        fields = dataclasses.asdict(self)
        for name in ("folder", "workers", "seeds", "table", "paper_error"):
            del fields[name]
        return fields


_LOWEST = {
    "num_train": 0,
    "num_test": 0,
    "image_size": 0,
    "mixup": 0,
    "rho": 0,
    "num_microbatches": 1,
    "epochs": 1,
    "budget": 1,
    "batch_size": 1,
    "learning_rate": 0,
    "weight_decay": 0,
    "clipnorm": 0,
    "workers": 0,
}


def _check_name(name: str, value: str, known: Iterable[str]) -> None:
    if value not in known:
        names = ", ".join(f'"{k}"' for k in known)
        raise ValueError(
            f"`{name}` must be one of {names}. Received: {name}={value!r}"
        )


def _parsed(assignment: str) -> tuple[str, Any]:
    name, _, text = assignment.partition("=")
    types = get_type_hints(Experiment)
    if name not in types:
        raise ValueError(
            f"An experiment has no setting `{name}`. It has "
            f"{', '.join(types)}. Received: {assignment!r}"
        )
    try:
        return name, _READERS[types[name]](text)
    except (ValueError, KeyError) as error:
        raise ValueError(
            f"`{name}` must be {_TYPES[types[name]]}. Received: {assignment!r}"
        ) from error


_READERS: dict[Any, Any] = {
    str: str,
    int: int,
    float: float,
    bool: lambda text: {"true": True, "false": False}[text.lower()],
    tuple[int, ...]: lambda text: tuple(map(int, text.split(","))),
}
_TYPES: dict[Any, str] = {
    str: "text",
    int: "an integer",
    float: "a number",
    bool: "`true` or `false`",
    tuple[int, ...]: "integers with commas between them",
}
