"""Arithmetic on vectors, and what memory a step takes for it."""

import sys
import weakref

import keras
import numpy as np
import pytest
import torch

import keras_sam
from keras_sam import backend
from keras_sam import methods
from keras_sam import vectors
from keras_sam.backend.torch.vectors import scale_lazily
from tests.contract.twins import normal


def test_dot_pairs_elements_however_they_lie_in_memory():
    matrix = torch.arange(6.0).reshape(2, 3)
    transposed = matrix.t().contiguous().t()
    assert transposed.stride() != matrix.stride()
    assert float(vectors.dot([matrix], [transposed])) == 55.0


def test_dot_of_many_elements_is_as_exact_as_float32():
    values = torch.rand(10**7, generator=torch.Generator().manual_seed(0))
    exact = np.dot(values.double().numpy(), values.double().numpy())
    # One after another, ten million roundings add up to about 1e-4.
    assert float(vectors.dot([values], [values])) == pytest.approx(
        exact, rel=2e-6
    )


SCALED = scale_lazily(torch.tensor(3.0), [torch.ones(2), torch.zeros(1)])


def test_what_is_scaled_lazily_is_like_a_list():
    assert len(SCALED) == 2
    assert [tensor.tolist() for tensor in SCALED] == [[3.0, 3.0], [0.0]]
    assert SCALED[-1].tolist() == [0.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_scaled_lazily_is_added_in_the_dtypes_of_the_first(dtype):
    first = [torch.ones(2, dtype=dtype), torch.ones(1, dtype=dtype)]
    memory = [torch.empty_like(tensor) for tensor in first]
    for total in vectors.add(first, SCALED), backend.add(first, SCALED, memory):
        assert [tensor.dtype for tensor in total] == [dtype, dtype]
        assert [tensor.tolist() for tensor in total] == [[4.0, 4.0], [1.0]]


def test_perturbed_weights_have_the_same_memory_in_each_step():
    variable = keras.Variable(torch.ones(2))
    arguments = [variable], [variable.value.detach()]
    [first] = backend.perturbed_weights(*arguments, [torch.ones(2)])
    [second] = backend.perturbed_weights(*arguments, [torch.zeros(2)])
    assert first.data_ptr() == second.data_ptr()
    assert second.tolist() == variable.value.tolist() == [1.0, 1.0]


class Watched(methods.SAM):
    """SAM, which knows whether the gradients that it was given are there."""

    def perturb(self, gradients, weights, rho, state):
        WATCHED[:] = [weakref.ref(gradient) for gradient in gradients]
        return super().perturb(gradients, weights, rho, state)


WATCHED = []


class Watcher(keras.layers.Dense):
    """Notes at each pass where its kernel is, and which gradients there are."""

    def __init__(self):
        super().__init__(1)
        self.seen = []

    def call(self, inputs):
        alive = [reference() is not None for reference in WATCHED]
        self.seen.append((self.kernel.value.data_ptr(), any(alive)))
        return super().call(inputs)


def seen_in_two_steps(loss_scale=None):
    layer = Watcher()
    inputs = keras.Input((4,))
    model = keras_sam.SAMModel(inputs, layer(inputs), method=Watched())
    model.compile(keras.optimizers.SGD(loss_scale_factor=loss_scale), "mse")
    model.train_on_batch(normal(4, 4), normal(4, 1))
    layer.seen.clear()  # Keras has built loss and metrics in a pass of its own.
    WATCHED.clear()
    for _ in range(2):
        model.train_on_batch(normal(4, 4), normal(4, 1))
    return layer.seen


def test_the_perturbed_weights_of_each_step_are_in_the_same_memory():
    seen = seen_in_two_steps()
    places = [place for place, _ in seen]
    assert len(places) == 4
    assert places[1] == places[3] != places[0] == places[2]


@pytest.mark.skipif(
    sys.version_info < (3, 11), reason="a call keeps its arguments alive"
)
def test_gradients_that_nothing_needs_are_freed_before_the_second_pass():
    for loss_scale in (None, 2.0):
        seen = seen_in_two_steps(loss_scale)
        assert [alive for _, alive in seen] == [False] * 4
