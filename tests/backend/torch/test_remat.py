"""The memory of layers that are computed again in the backward pass."""

import keras
import pytest
import torch
from keras import layers

import keras_sam
from tests.contract.test_remat import Block
from tests.contract.twins import normal


class Begin(layers.Layer):
    """Calls a function where a pass begins."""

    action = None

    def call(self, inputs):
        if self.action is not None:
            self.action()
        return inputs


def bytes_kept_by_each_pass(way):
    """Return what is kept for the backward pass, by each pass of a step."""
    begin = Begin()
    inputs = keras.Input((8,))
    model = keras_sam.SAMModel(inputs, Block(way, 8, 6)(begin(inputs)))
    model.compile("sgd", "mse")
    x = normal(512, 8)
    model.train_on_batch(x, x)
    kept = []
    begin.action = lambda: kept.append(0)

    def count(tensor):
        if kept:
            kept[-1] += tensor.nbytes
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda t: t):
        model.train_on_batch(x, x)
    return kept


@pytest.mark.parametrize("way", ["function", "full", "list_of_layers"])
def test_both_passes_keep_less(way):
    without, remat = map(bytes_kept_by_each_pass, ("none", way))
    assert len(without) == len(remat) == 2
    for a, b in zip(remat, without):
        # An output less for each layer that is computed again.
        assert a < 0.75 * b
