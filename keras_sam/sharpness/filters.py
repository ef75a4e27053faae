"""The filters of Keras kernels, and filter-normalized directions.

A filter is the part of a kernel that computes one output of a layer. Its axis
depends on the layer:

- the last axis for `Dense`, `Conv1D` to `Conv3D` and recurrent layers, whose
  kernels have the shape (..., out);
- the last but one for `Conv1DTranspose` to `Conv3DTranspose`: (..., out, in);
- the last two for `DepthwiseConv1D` and `2D` and the `depthwise_kernel` of
  `SeparableConv1D` and `2D`: (..., in, multiplier);
- for `EinsumDense`, and so for queries, keys, values and outputs of attention,
  the axes that its equation gives to the output;
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
    """Return the axes of a kernel that index its filters.

    Args:
        layer: The innermost layer that has the kernel.
        variable: The kernel.

    Returns:
        Axes >= 0; none for a variable with fewer than two axes, which is one
        filter.
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
    """Return the innermost layer of each weight, by the weight's identity."""
    # Outer layers list the weights of inner ones too: the innermost is the one
    # with the fewest layers inside, which is set last.
    layers = sorted(
        backend.flatten_layers(model),
        key=lambda layer: -len(backend.flatten_layers(layer)),
    )
    return {id(v): layer for layer in layers for v in layer.weights}


def scaled_like(direction: Any, weight: Any, axes: list[int]) -> Any:
    """Return a direction whose filters have the norms of those of a weight.

    Equation (1) of Li et al. (2018, https://arxiv.org/abs/1712.09913).

    Args:
        direction: Array of the weight's shape.
        weight: Array.
        axes: The axes that index filters; see `filter_axes`.

    Returns:
        Array. A filter of zeros stays zero.
    """
    others = tuple(i for i in range(weight.ndim) if i not in axes)
    # Rescaling a filter of the weights rescales the direction with it, so the
    # loss along the direction does not depend on the scale of the weights.
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
