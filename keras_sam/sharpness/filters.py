"""Which slices of a Keras kernel are filters, and directions scaled by them.

A filter is what makes one output of a layer. Where its axis is depends on the
layer:

- the last axis for `Dense`, `Conv1D` to `Conv3D` and recurrent layers, whose
  kernels have the shape (..., out);
- the last but one for `Conv1DTranspose` to `Conv3DTranspose`: (..., out, in);
- the last two for `DepthwiseConv1D` and `2D` and the `depthwise_kernel` of
  `SeparableConv1D` and `2D`: (..., in, multiplier);
- for `EinsumDense`, and so for queries, keys, values and outputs of attention,
  those that the output has according to its equation;
- the first for `Embedding`, one filter for each word: (words, out).
"""

from typing import Any

import keras
import numpy as np

from keras_sam import backend

_TRANSPOSED = (
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
)
_DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)


def filter_axes(layer: keras.Layer, variable: keras.Variable) -> list[int]:
    """Return the axes of a kernel that tell its filters apart.

    Args:
        layer: The layer that the kernel belongs to itself.
        variable: The kernel.

    Returns:
        Axes >= 0; none for a variable with fewer than two axes, all of which
        is then one filter.
    """
    rank = len(variable.shape)
    if rank < 2:
        return []
    if isinstance(layer, keras.layers.Embedding):
        return [0]
    if isinstance(layer, _TRANSPOSED):
        return [rank - 2]
    is_depthwise = variable.name == "depthwise_kernel"
    if isinstance(layer, _DEPTHWISE) or is_depthwise:
        return [rank - 2, rank - 1]
    if isinstance(layer, keras.layers.EinsumDense):
        operands, output = layer.equation.replace(" ", "").split("->")
        kernel = operands.split(",")[1]
        return [i for i, letter in enumerate(kernel) if letter in output]
    return [rank - 1]


def owners(model: keras.Model) -> dict[int, keras.Layer]:
    """Return the innermost layer of each weight, by its identity."""
    found: dict[int, keras.Layer] = {}
    sizes: dict[int, int] = {}
    for layer in backend.flatten_layers(model):
        size = len(backend.flatten_layers(layer))
        for variable in layer.weights:
            if size <= sizes.get(id(variable), size):
                found[id(variable)] = layer
                sizes[id(variable)] = size
    return found


def scaled_like(direction: Any, weight: Any, axes: list[int]) -> Any:
    """Return a direction whose filters have the norms of those of a weight.

    Equation (1) of Li et al. (2018, https://arxiv.org/abs/1712.09913).

    Args:
        direction: Array of the weight's shape.
        weight: Array.
        axes: What `filter_axes` returned.

    Returns:
        Array. Where a filter of the direction is zero, it stays zero.
    """
    others = tuple(i for i in range(weight.ndim) if i not in axes)
    size = np.sqrt(np.sum(direction**2, axis=others, keepdims=True))
    wanted = np.sqrt(np.sum(weight**2, axis=others, keepdims=True))
    return direction * wanted / np.where(size == 0, 1.0, size)


def random_direction(objective: Any, generator: np.random.Generator) -> Any:
    """Return a filter-normalized Gaussian direction, a flat vector."""
    layers = owners(objective.model)
    parts = []
    for variable, weight in zip(
        objective.variables, objective.arrays(objective.weights)
    ):
        drawn = generator.standard_normal(weight.shape)
        axes = filter_axes(layers[id(variable)], variable)
        parts.append(scaled_like(drawn, weight.astype("float64"), axes))
    return objective.flatten(parts)
