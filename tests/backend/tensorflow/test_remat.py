"""The memory of layers that are computed again in the backward pass."""

import weakref

import keras
from keras import layers

import keras_sam
from tests.contract.test_remat import Block
from tests.contract.twins import normal


class KeepsCount(Block):
    """Knows which of its results are still there."""

    results = ()

    def compute(self, x):
        for layer in self.inner:
            x = layer(x)
            self.results = [*self.results, weakref.ref(x)]
        return x


class End(layers.Layer):
    """Calls a function where a forward pass ends."""

    action = None

    def call(self, inputs):
        if self.action is not None:
            self.action()
        return inputs


def results_kept_by_each_pass(way):
    """Return how many activations a tape holds after each forward pass."""
    block, end = KeepsCount(way, 8, 6), End()
    inputs = keras.Input((8,))
    model = keras_sam.SAMModel(inputs, end(block(inputs)))
    model.compile("sgd", "mse", run_eagerly=True)
    x = normal(4, 8)
    model.train_on_batch(x, x)
    kept = []

    def count():
        kept.append(sum(r() is not None for r in block.results))
        block.results = []

    block.results = []
    end.action = count
    model.train_on_batch(x, x)
    return kept


def test_both_passes_keep_less():
    assert results_kept_by_each_pass("none") == [6, 6]
    # The last one, which is the result of the block.
    assert results_kept_by_each_pass("function") == [1, 1]
