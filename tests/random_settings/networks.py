"""Networks that are put together at random, and data for them."""

import dataclasses
from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import keras
import numpy as np
from keras import layers

import keras_sam
from tests import frameworks

NUM_CLASSES = 3
NUM_TOKENS = 9


@keras.saving.register_keras_serializable("tests")
class Traced(layers.Layer):
    """Counts the times that its Python code runs."""

    count = 0

    def call(self, inputs):
        self.count += 1
        return inputs


def dense(x):
    return layers.Dense(4, activation="tanh")(x)


def normalized(x):
    # A bias before a normalization has no gradient but rounding.
    x = layers.Dense(4, use_bias=False)(x)
    return layers.Activation("silu")(layers.BatchNormalization()(x))


def convolution(x):
    x = layers.Conv2D(3, 3, use_bias=False)(x)
    x = layers.Activation("silu")(layers.BatchNormalization()(x))
    return layers.GlobalAveragePooling2D()(x)


def embedding(x):
    x = layers.Embedding(NUM_TOKENS, 3, mask_zero=True)(x)
    return layers.GlobalAveragePooling1D()(x)


def masked_lstm(x):
    x = layers.Embedding(NUM_TOKENS, 3, mask_zero=True)(x)
    return layers.LSTM(3)(x)


def recurrent(x):
    x = layers.Bidirectional(layers.GRU(2, return_sequences=True))(x)
    return layers.LSTM(3)(x)


def attention(x):
    x = layers.Dense(4)(x)
    x = layers.LayerNormalization()(x + layers.MultiHeadAttention(2, 2)(x, x))
    return layers.GlobalAveragePooling1D()(x)


class Branch(NamedTuple):
    """What becomes of one input.

    Attributes:
        body: Function of a symbolic tensor.
        shape: That of an example.
        dtype: `"int32"` for tokens.
        has_norm: Whether there is a normalization.
    """

    body: Callable[[Any], Any]
    shape: tuple[int, ...]
    dtype: str = "float32"
    has_norm: bool = False


BRANCHES = {
    "dense": Branch(dense, (5,)),
    "normalized": Branch(normalized, (5,), has_norm=True),
    "convolution": Branch(convolution, (5, 5, 2), has_norm=True),
    "embedding": Branch(embedding, (4,), "int32"),
    "masked_lstm": Branch(masked_lstm, (4,), "int32"),
    "recurrent": Branch(recurrent, (4, 3)),
    "attention": Branch(attention, (4, 3), has_norm=True),
}


@dataclasses.dataclass(frozen=True)
class Network:
    """Branches that are joined, with one or two outputs.

    Attributes:
        branches: Keys of `BRANCHES`, one for each input. Two of the same kind
            share their layers.
        is_frozen: Whether the first branch is.
        dropout: Rate, after the branches.
        l2: Factor of a regularizer.
        num_outputs: 1 for classes, 2 for classes and a number.
    """

    branches: tuple[str, ...]
    is_frozen: bool
    dropout: float
    l2: float
    num_outputs: int

    @property
    def has_trainable_norm(self):
        return any(BRANCHES[kind].has_norm for kind in self._trained)

    @property
    def has_sparse_gradients(self):
        return not self._trained.isdisjoint({"embedding", "masked_lstm"})

    @property
    def is_loaded_as_saved(self):
        """Whether Keras loads a frozen branch as frozen.

        It makes the layers inside of a `MultiHeadAttention` trainable.
        """
        return not (self.is_frozen and self.branches[0] == "attention")

    @property
    def _trained(self):
        """The kinds of branches that are."""
        frozen = {self.branches[0]} if self.is_frozen else set()
        return set(self.branches) - frozen

    def build(self, settings=None, is_adopted=False):
        """Return the model.

        Args:
            settings: Arguments of `SAMModel`; `None` for a plain model.
            is_adopted: Whether the `SAMModel` is made of a plain model.
        """
        kinds = [BRANCHES[kind] for kind in self.branches]
        inputs = [keras.Input(kind.shape, dtype=kind.dtype) for kind in kinds]
        bodies = {kind: body(BRANCHES[kind]) for kind in self.branches}
        bodies[self.branches[0]].trainable = not self.is_frozen
        found = [bodies[kind](x) for kind, x in zip(self.branches, inputs)]
        x = found[0] if len(found) == 1 else layers.Concatenate()(found)
        x = Traced(name="traced")(x)
        x = layers.Dropout(self.dropout, **frameworks.SEED)(x)
        regularizer = keras.regularizers.L2(self.l2)
        x = layers.Dense(4, "tanh", kernel_regularizer=regularizer)(x)
        outputs = [
            layers.Dense(NUM_CLASSES, "softmax", dtype="float32", name="kind")(
                x
            ),
            layers.Dense(1, dtype="float32", name="size")(x),
        ][: self.num_outputs]
        ends = one_or_all(inputs), one_or_all(outputs)
        if settings is None:
            return keras.Model(*ends)
        if is_adopted:
            return keras_sam.SAMModel.from_model(keras.Model(*ends), **settings)
        return keras_sam.SAMModel(*ends, **settings)

    def data(self, num_examples):
        """Return inputs and targets, lists of arrays."""
        generator = np.random.default_rng(0)
        x = []
        for kind in self.branches:
            shape = (num_examples, *BRANCHES[kind].shape)
            if BRANCHES[kind].dtype == "int32":
                tokens = generator.integers(0, NUM_TOKENS, shape)
                tokens[:, 0] = 1  # None is all padding.
                x.append(tokens.astype("int32"))
            else:
                x.append(generator.normal(size=shape).astype("float32"))
        classes = generator.integers(0, NUM_CLASSES, num_examples)
        numbers = generator.normal(size=(num_examples, 1)).astype("float32")
        y = [classes, numbers][: self.num_outputs]
        return one_or_all(x), one_or_all(y)


def one_or_all(things):
    return things[0] if len(things) == 1 else things


def body(branch):
    """Return the layers of a branch as a model."""
    inputs = keras.Input(branch.shape, dtype=branch.dtype)
    return keras.Model(inputs, branch.body(inputs))
