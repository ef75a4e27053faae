"""An experiment: a frozen dataclass whose fields can be set by text."""

import ast
import dataclasses
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any
from typing import get_type_hints

import keras

from keras_sam.experiments import augmentations
from keras_sam.experiments import networks
from keras_sam.experiments import sources
from keras_sam.settings import Settings
from keras_sam.validation import integer
from keras_sam.validation import number

STRATEGIES = ("none", "mirrored", "data_parallel")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment:
    """A task, a way to train on it, and seeds.

    The defaults are those of the SAM paper on CIFAR-10, and of the authors'
    code where the paper does not specify them.

    Attributes:
        task: Name of the task, one row of a table.
        variant: Name of the way to train.
        sam: Arguments of `SAMModel`, by name. By default `{"rho": 0.0}`, the
            plain optimizer.
        table: The table of the paper that has the task.
        paper_error: The test error in per cent that the paper prints, with
            its 95 % interval over five seeds; empty if it prints none.
        hardware: The hardware of the paper, a key of `recipe.SPEEDS`; empty
            if it is not stated.
        source: The source of the data, a key of `sources.SOURCES`.
        dataset: Name in tensorflow-datasets.
        folder: Folder of the data; with tensorflow-datasets, its `data_dir`.
        train_split: Of tensorflow-datasets.
        test_split: Of tensorflow-datasets.
        num_train: Number of training images, a fixed random subset; 0 for all.
        num_test: Number of test images, a fixed random subset; 0 for all.
        redrawn: Whether each seed has another subset of the training images.
        held_out: Number of these training images that are held out and
            replace the test images; 0 for none.
        imbalance: How many times as many training images the first class has
            as the last one; 1 for all images.
        image_size: Height and width that images are scaled to; 0 to keep
            their size.
        standardize: A key of `sources.STATISTICS`.
        augmentation: A key of `augmentations.AUGMENTATIONS`.
        mixup: Parameter alpha of mixup; 0 for none.
        label_noise: Fraction of the training labels drawn at random.
        include_own: Whether they are drawn from all classes, including the
            right one, instead of from the other classes.
        watched: Number of training images on which the fractions of right and
            of wrong labels learned are measured after each epoch; 0 for none.
        bootstrap: Whether to train twice, the second time from scratch on the
            labels that the first network predicts.
        network: A key of `networks.NETWORKS`, a name in `keras.applications`,
            or `"file"`, the network in the file of `weights`.
        depth: Layers with weights; 0 for the default of the network.
        width: Channels or their factor; 0 for the default of the network.
        weights: Weights to fine-tune, with the statistics of batch
            normalization frozen: the file of a saved model without its last
            layer, `"imagenet"`, or `"random"`; empty to train from scratch.
        epochs: Passes over the training data.
        budget: Multiplies `epochs`.
        batch_size: Examples in a batch.
        learning_rate: The initial one.
        cosine_decay: Whether the learning rate decays to 0 by a cosine.
        stable: The fraction of training after which the learning rate decays
            to 0 linearly instead; 0 for none.
        momentum: Of SGD.
        nesterov: Whether momentum is Nesterov's.
        ema: Momentum of a moving average of the weights, which is evaluated
            after training; 0 for none.
        weight_decay: Lambda; `lambda / 2` times the squared norm of all
            trainable weights is part of the loss.
        decoupled: Whether weight decay is that of `keras.optimizers.SGD`
            instead of part of the loss.
        clipnorm: Maximum norm of the final gradient; 0 for no clipping.
        label_smoothing: As for `keras.losses.CategoricalCrossentropy`.
        spectrum: Epochs after which the eigenvalues of the Hessian are
            measured. If not empty, their density is measured at the end.
        jit_compile: Whether XLA compiles the step; on JAX it always does.
        eager: Whether steps are run eagerly.
        strategy: `"none"`; on TensorFlow also `"mirrored"`, on JAX also
            `"data_parallel"`: all devices of the machine.
        workers: Number of threads that make batches.
        seeds: One run for each.

    Example:
    >>> from keras_sam.experiments import EXPERIMENTS
    >>> experiment = EXPERIMENTS["label-noise-40/sam"]
    >>> experiment.sam, experiment.paper_error
    ({'rho': 0.1}, '6.6')
    >>> experiment.with_settings(["rho=0.2", "seeds=0"]).sam
    {'rho': 0.2}

    Raises:
        ValueError: If a value is outside its range, or a name is unknown.
    """

    task: str
    variant: str
    sam: Mapping[str, Any] = dataclasses.field(
        default_factory=lambda: {"rho": 0.0}
    )
    table: str = ""
    paper_error: str = ""
    hardware: str = ""
    source: str = "tfds"
    dataset: str = "cifar10"
    folder: str = ""
    train_split: str = "train"
    test_split: str = "test"
    num_train: int = 0
    num_test: int = 0
    redrawn: bool = False
    held_out: int = 0
    imbalance: float = 1.0
    image_size: int = 0
    standardize: str = "own"
    augmentation: str = "basic"
    mixup: float = 0.0
    label_noise: float = 0.0
    include_own: bool = False
    watched: int = 0
    bootstrap: bool = False
    network: str = "wide_resnet"
    depth: int = 0
    width: int = 0
    weights: str = ""
    epochs: int = 200
    budget: int = 1
    batch_size: int = 256
    learning_rate: float = 0.1
    cosine_decay: bool = True
    stable: float = 0.0
    momentum: float = 0.9
    nesterov: bool = True
    ema: float = 0.0
    weight_decay: float = 5e-4
    decoupled: bool = False
    clipnorm: float = 5.0
    label_smoothing: float = 0.0
    spectrum: tuple[int, ...] = ()
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
        if not callable(getattr(keras.applications, self.network, None)):
            _check_name("network", self.network, (*networks.NETWORKS, "file"))
        if self.network == "file" and self.weights in _NO_FILES:
            raise ValueError(
                '`network="file"` needs `weights`, the file of a saved model. '
                f"Received: weights={self.weights!r}"
            )
        self._check_numbers()
        if not all(1 <= epoch <= self.num_epochs for epoch in self.spectrum):
            raise ValueError(
                f"`spectrum` must be epochs from 1 to {self.num_epochs}. "
                f"Received: spectrum={self.spectrum}"
            )
        for name in self.sam:
            _check_name("sam", name, SAM_ARGUMENTS)
        Settings(**self.sam)

    def _check_numbers(self) -> None:
        for names, least in _INTEGERS.items():
            for name in names:
                integer(name, getattr(self, name), least)
        for names, interval in _INTERVALS.items():
            for name in names:
                number(name, getattr(self, name), interval)
        if not self.seeds:
            raise ValueError("`seeds` must name at least one. Received: none")
        if not all(0 <= seed < 2**32 for seed in self.seeds):
            raise ValueError(
                "`seeds` must be integers from 0 to 2^32 - 1. "
                f"Received: seeds={self.seeds}"
            )
        if self.watched and not self.label_noise:
            raise ValueError(
                "`watched` needs wrong labels, and therefore `label_noise`. "
                f"Received: watched={self.watched}, label_noise=0"
            )

    @property
    def name(self) -> str:
        """Task and variant, the name on the command line."""
        return f"{self.task}/{self.variant}"

    @property
    def num_epochs(self) -> int:
        """The number of passes over the training data."""
        return self.epochs * self.budget

    def with_settings(self, assignments: Iterable[str]) -> "Experiment":
        """Return the experiment with some fields or arguments of `sam` set.

        Args:
            assignments: Strings `key=value`, where the key is a field or an
                argument of `SAMModel`. Several seeds are separated by commas,
                truth values are `true` and `false`.

        Returns:
            `Experiment`.

        Raises:
            ValueError: If there is no such key, or the value is not of its
                type.
        """
        changes = dict(_parsed(text) for text in assignments)
        sam = {k: changes.pop(k) for k in SAM_ARGUMENTS if k in changes}
        return dataclasses.replace(self, sam={**self.sam, **sam}, **changes)

    def smoke(self) -> "Experiment":
        """Return the experiment with a few images and a tiny network.

        Steps are eager: compilation would take longer than the single step.
        """
        network, depth, width = networks.smallest(self.network)
        is_random = self.weights and network != "file"
        return dataclasses.replace(
            self,
            network=network,
            depth=depth,
            width=width,
            weights="random" if is_random else self.weights,
            num_train=8,
            num_test=8,
            imbalance=1.0,
            watched=min(self.watched, 8),
            held_out=min(self.held_out, 2),
            image_size=min(self.image_size, 32),
            batch_size=8,
            epochs=1,
            spectrum=self.spectrum and (1,),
            eager=True,
            seeds=(0,),
        )

    def settings(self) -> dict[str, Any]:
        """Return all settings that affect the result of a run, but the seed.

        Returns:
            Dictionary that JSON can represent.
        """
        fields = {
            name: getattr(self, name)
            for name in _TYPES
            if name not in _NOT_DECISIVE
        }
        fields["spectrum"] = list(self.spectrum)
        fields["sam"] = {
            name: keras.saving.serialize_keras_object(value)
            for name, value in self.sam.items()
        }
        return fields


SAM_ARGUMENTS = {
    field.name: field.default for field in dataclasses.fields(Settings)
}
"""The arguments of `SAMModel`, with their defaults."""

_TYPES = get_type_hints(Experiment)
_NO_FILES = ("", "imagenet", "random")
_NOT_DECISIVE = (
    *("folder", "workers", "seeds", "table", "paper_error", "hardware"),
)
_INTEGERS = {
    ("epochs", "budget", "batch_size"): 1,
    (
        *("num_train", "num_test", "held_out", "watched", "image_size"),
        *("depth", "width", "workers"),
    ): 0,
}
_INTERVALS = {
    ("mixup", "learning_rate", "weight_decay", "clipnorm"): "[0, inf)",
    ("label_noise", "momentum", "label_smoothing"): "[0, 1]",
    ("ema", "stable"): "[0, 1)",
    ("imbalance",): "[1, inf)",
}


def _check_name(name: str, value: str, known: Iterable[str]) -> None:
    if value not in known:
        names = ", ".join(f'"{k}"' for k in known)
        raise ValueError(
            f"`{name}` must be one of {names}. Received: {name}={value!r}"
        )


def _parsed(assignment: str) -> tuple[str, Any]:
    name, _, text = assignment.partition("=")
    types = {**_TYPES, **dict.fromkeys(SAM_ARGUMENTS, Any)}
    del types["sam"]
    if name not in types:
        raise ValueError(
            f"An experiment has no setting `{name}`. It has "
            f"{', '.join(types)}. Received: {assignment!r}"
        )
    read, description = _READERS[types[name]]
    try:
        return name, read(text)
    except (ValueError, KeyError) as error:
        raise ValueError(
            f"`{name}` must be {description}. Received: {assignment!r}"
        ) from error


def _literal(text: str) -> Any:
    """Return the number in a text, else the text; `Settings` checks it."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


_READERS: dict[Any, tuple[Any, str]] = {
    str: (str, "text"),
    int: (int, "an integer"),
    float: (float, "a number"),
    bool: (
        lambda text: {"true": True, "false": False}[text.lower()],
        "`true` or `false`",
    ),
    tuple[int, ...]: (
        lambda text: tuple(map(int, text.split(","))),
        "integers with commas between them",
    ),
    Any: (_literal, ""),
}
