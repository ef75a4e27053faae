"""The tables of models, losses, data and options of the contract tests.

A new kind of model joins by a function in `models.py` and one row in `MODELS`.
"""

import functools
from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import keras
import numpy as np

from tests import frameworks
from tests import models
from tests.methods.table import NAMES

METHODS = {name: {"method": name} for name in NAMES}
"""Arguments of `SAMModel`."""

NUM_EXAMPLES = 20
BATCH_SIZE = 8  # So that the last of three batches has four examples.

_random = np.random.default_rng(7)


def _normal(*shape):
    return _random.normal(size=(NUM_EXAMPLES, *shape)).astype("float32")


FEATURES = _normal(6)
FEW_FEATURES = _normal(4)
SEQUENCES = _normal(5, 6)
IMAGES = _normal(8, 8, 3)
TOKENS = _random.integers(0, 9, size=(NUM_EXAMPLES, 5))
TOKENS[:, -1] = 0  # Every example ends in padding, none is all padding.
TOKENS[:, 0] = 1

CLASSES = _random.integers(0, 3, size=NUM_EXAMPLES)
CLASSES[:3] = [0, 1, 2]
TOKEN_CLASSES = _random.integers(0, 3, size=(NUM_EXAMPLES, 5))
REAL = _normal(1)
ONE_HOT = keras.utils.to_categorical(CLASSES, 3).astype("float32")
SIGNS = 2 * ONE_HOT - 1


class Task(NamedTuple):
    """A model, and data to train it on.

    Attributes:
        build: Takes the arguments of `SAMModel`, or `None` for a plain model.
        x: Nest of arrays.
        y: Nest of arrays.
        loss: For `compile`.
        metrics: For `compile`.
    """

    build: Callable[[dict[str, Any] | None], keras.Model]
    x: Any = FEATURES
    y: Any = CLASSES
    loss: Any = "sparse_categorical_crossentropy"
    metrics: Any = ("accuracy",)


MODELS = {
    "dense": Task(models.dense),
    "dict_inputs": Task(
        models.dict_inputs,
        {"first": FEATURES, "second": FEW_FEATURES},
        {"kind": CLASSES, "size": REAL},
        {"kind": "sparse_categorical_crossentropy", "size": "mse"},
        {"kind": "accuracy", "size": "mae"},
    ),
    "tuple_inputs": Task(
        models.tuple_inputs,
        (FEATURES, FEW_FEATURES),
        (CLASSES, REAL),
        ["sparse_categorical_crossentropy", "mae"],
        [["accuracy"], ["mse"]],
    ),
    "list_outputs": Task(
        models.list_outputs,
        FEATURES,
        [CLASSES, REAL],
        ["sparse_categorical_crossentropy", "huber"],
        [["accuracy"], []],
    ),
    "sequential": Task(models.sequential),
    "unbuilt_sequential": Task(models.unbuilt_sequential),
    "subclass": Task(models.subclass),
    "adopted_subclass": Task(models.adopted_subclass),
    "functional_subclass": Task(models.functional_subclass),
    "without_training_argument": Task(models.without_training_argument),
    "batch_norm_dropout": Task(models.batch_norm_dropout),
    "noise": Task(models.noise),
    "shared_layer": Task(models.shared_layer),
    "nested_model": Task(models.nested_model),
    "frozen_layers": Task(models.frozen_layers),
    "regularized": Task(models.regularized),
    "unused_weights": Task(models.unused_weights),
    "lstm": Task(models.lstm, SEQUENCES),
    "gru_dropout": Task(models.gru_dropout, SEQUENCES),
    "attention": Task(models.attention, SEQUENCES),
    "masked_embedding": Task(models.masked_embedding, TOKENS, TOKEN_CLASSES),
    "conv_batch_norm": Task(models.conv_batch_norm, IMAGES),
}

_losses = keras.losses
LOSSES = {
    "binary_crossentropy": (_losses.BinaryCrossentropy, ONE_HOT),
    "binary_focal": (_losses.BinaryFocalCrossentropy, ONE_HOT),
    "categorical_crossentropy": (
        lambda: _losses.CategoricalCrossentropy(label_smoothing=0.1),
        ONE_HOT,
    ),
    "categorical_focal": (_losses.CategoricalFocalCrossentropy, ONE_HOT),
    "categorical_generalized": (
        _losses.CategoricalGeneralizedCrossEntropy,
        CLASSES,
    ),
    "categorical_hinge": (_losses.CategoricalHinge, ONE_HOT),
    # With the default of 80, one rounding of rho moves weights by 7e-4.
    "circle": (lambda: _losses.Circle(gamma=16.0), CLASSES),
    "cosine_similarity": (_losses.CosineSimilarity, ONE_HOT),
    "dice": (_losses.Dice, ONE_HOT),
    "hinge": (_losses.Hinge, SIGNS),
    "huber": (lambda: _losses.Huber(0.3), ONE_HOT),
    "kl_divergence": (_losses.KLDivergence, ONE_HOT),
    "log_cosh": (_losses.LogCosh, ONE_HOT),
    "mae": (_losses.MeanAbsoluteError, ONE_HOT),
    "mape": (_losses.MeanAbsolutePercentageError, ONE_HOT + 1),
    "mse_sum": (lambda: _losses.MeanSquaredError(reduction="sum"), ONE_HOT),
    "msle": (_losses.MeanSquaredLogarithmicError, ONE_HOT),
    "poisson": (_losses.Poisson, ONE_HOT),
    "sparse_ignoring_a_class": (
        lambda: _losses.SparseCategoricalCrossentropy(ignore_class=2),
        CLASSES,
    ),
    "squared_hinge": (_losses.SquaredHinge, SIGNS),
    "tversky": (_losses.Tversky, ONE_HOT),
    "function": (
        lambda: lambda y, p: keras.ops.mean(keras.ops.abs(y - p) ** 3),
        ONE_HOT,
    ),
}
"""A loss of three probabilities, and targets for it."""

_WEIGHTS = np.linspace(0.1, 2.0, NUM_EXAMPLES).astype("float32")
_CLASS_WEIGHT = {0: 0.5, 1: 2.0, 2: 1.0}


class Batches(keras.utils.PyDataset):
    """Slices of arrays."""

    def __init__(self, *arrays):
        super().__init__()
        self.arrays = arrays

    def __len__(self):
        return -(-NUM_EXAMPLES // BATCH_SIZE)

    def __getitem__(self, index):
        rows = slice(index * BATCH_SIZE, (index + 1) * BATCH_SIZE)
        return keras.tree.map_structure(lambda a: a[rows], self.arrays)


def _forever(batches):
    while True:
        for i in range(len(batches)):
            yield batches[i]


DATA = {
    "arrays": lambda x, y: {"x": x, "y": y, "batch_size": BATCH_SIZE},
    "validation": lambda x, y: {
        "x": x,
        "y": y,
        "batch_size": BATCH_SIZE,
        "validation_split": 0.25,
    },
    "tensors": lambda x, y: {
        "x": keras.ops.convert_to_tensor(x),
        "y": keras.ops.convert_to_tensor(y),
        "batch_size": BATCH_SIZE,
    },
    "sample_weight": lambda x, y: {
        "x": x,
        "y": y,
        "batch_size": BATCH_SIZE,
        "sample_weight": _WEIGHTS,
    },
    "class_weight": lambda x, y: {
        "x": x,
        "y": y,
        "batch_size": BATCH_SIZE,
        "class_weight": _CLASS_WEIGHT,
    },
    "generator": lambda x, y: {
        "x": _forever(Batches(x, y)),
        "steps_per_epoch": 3,
    },
    "py_dataset": lambda x, y: {"x": Batches(x, y)},
    "weighted_py_dataset": lambda x, y: {
        "x": Batches(x, y),
        "class_weight": _CLASS_WEIGHT,
    },
}
"""Arguments of `fit`, from examples and classes."""

DATA |= {
    name: functools.partial(make, weights=_WEIGHTS)
    for name, make in frameworks.datasets(BATCH_SIZE).items()
}

_optimizers = keras.optimizers
OPTIMIZERS = {
    "sgd": lambda: _optimizers.SGD(0.1),
    "nesterov": lambda: _optimizers.SGD(0.1, momentum=0.9, nesterov=True),
    "adam": lambda: _optimizers.Adam(0.01),
    "amsgrad": lambda: _optimizers.Adam(0.01, amsgrad=True),
    "adamw": lambda: _optimizers.AdamW(0.01, weight_decay=0.1),
    "rmsprop": lambda: _optimizers.RMSprop(0.01, momentum=0.5, centered=True),
    "adagrad": lambda: _optimizers.Adagrad(0.1),
    "adadelta": lambda: _optimizers.Adadelta(1.0),
    "adamax": lambda: _optimizers.Adamax(0.01),
    "nadam": lambda: _optimizers.Nadam(0.01),
    "ftrl": lambda: _optimizers.Ftrl(0.1),
    "lion": lambda: _optimizers.Lion(0.01),
    "lamb": lambda: _optimizers.Lamb(0.01),
    "adafactor": lambda: _optimizers.Adafactor(0.01),
    "clipnorm": lambda: _optimizers.SGD(0.1, clipnorm=0.05),
    "global_clipnorm": lambda: _optimizers.SGD(0.1, global_clipnorm=0.05),
    "clipvalue": lambda: _optimizers.SGD(0.1, clipvalue=0.01),
    "weight_decay": lambda: _optimizers.SGD(0.1, weight_decay=0.1),
    "ema": lambda: _optimizers.SGD(
        0.1, use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=4
    ),
    "accumulation": lambda: _optimizers.SGD(
        0.1, momentum=0.9, gradient_accumulation_steps=2
    ),
    "loss_scale_factor": lambda: _optimizers.SGD(0.1, loss_scale_factor=128.0),
    "loss_scale": lambda: _optimizers.LossScaleOptimizer(
        _optimizers.SGD(0.1, clipnorm=0.05), initial_scale=2.0**8
    ),
    "schedule": lambda: _optimizers.SGD(
        _optimizers.schedules.CosineDecay(0.2, 8), momentum=0.9
    ),
}
"""Every optimizer of Keras, and every option that they share."""

IS_NEWER_KERAS = hasattr(_optimizers, "MultiOptimizer")
"""Whether Keras is newer than the oldest that is supported, 3.10."""

if IS_NEWER_KERAS:
    # The oldest lacks these; its own `fit` with TensorFlow fails with Muon.
    OPTIMIZERS |= {
        "muon": lambda: _optimizers.Muon(0.01),
        "schedule_free": lambda: _optimizers.ScheduleFreeAdamW(0.01),
        "multiple": lambda: _optimizers.MultiOptimizer(
            _optimizers.OptimizerMap(
                _optimizers.SGD(0.1), {".*/bias": _optimizers.Adam(0.01)}
            )
        ),
    }

PRECISIONS = ("float32", "mixed_float16", "mixed_bfloat16")

EXECUTIONS = frameworks.EXECUTIONS
"""Arguments of `compile`."""


def cycle(*tables):
    """Return rows of names, as many as the longest table has.

    Each name of each table is in some row, and two tables meet in different
    pairs: a table of n names is rotated by one after each round.
    """
    tables = [list(table) for table in tables]
    longest = max(len(table) for table in tables)
    return [
        tuple(table[(i + i // len(table)) % len(table)] for table in tables)
        for i in range(longest)
    ]
