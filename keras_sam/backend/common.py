"""What backends share, and defaults that a backend may replace."""

import contextlib
import weakref
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_sam.backend import keras_private
from keras_sam.types import Tensor
from keras_sam.types import Vector


def as_tensor(value: Tensor) -> Tensor:
    """Return what a variable reads as, as a tensor without a history."""
    return value


def as_input(leaf: Any) -> Any:
    """Return a part of a batch as a tensor; `None` stays."""
    return None if leaf is None else keras.ops.convert_to_tensor(leaf)


def densify(gradient: Tensor, weight: Tensor) -> Tensor:
    """Return a sparse gradient as a tensor, duplicate rows summed.

    Args:
        gradient: A gradient.
        weight: A tensor of its shape.
    """
    del weight
    return gradient


def stored_values(gradient: Tensor) -> Tensor:
    """Return what a sparse gradient stores, a dense one as it is."""
    return gradient


def filled_like(gradient: Tensor, value: float) -> Tensor:
    """Return a gradient of the same kind, all of one value."""
    return keras.ops.full_like(gradient, value)


def take(tensor: Tensor, start: Tensor, size: Tensor) -> Tensor:
    """Return consecutive examples, the rows from `start` on."""
    index = start + keras.ops.arange(size)
    return keras.ops.take(tensor, index, axis=0)


def with_equal_lengths(
    nest: Any, lengths: dict[str, Tensor], message: str
) -> Any:
    """Return a nest whose tensors are known to have equal lengths.

    Args:
        nest: Nest of tensors.
        lengths: Their lengths by name.
        message: What an error says.
    """
    del lengths, message
    return nest


def num_replicas() -> int:
    """Return 1: a step sees the whole batch, on however many devices."""
    return 1


def mean_over_replicas(nest: Any) -> Any:
    """Return the mean of tensors over the replicas that call this."""
    return nest


def draws_by_example() -> contextlib.AbstractContextManager[Any]:
    """Return a context for passes over a batch and over some of its examples.

    In it the numbers that Keras draws for the first examples do not depend on
    how many examples follow. With most generators they never do.
    """
    return contextlib.nullcontext()


def with_pure_randomness(function: Callable[[], Any]) -> Any:
    """Return what a function returns: seeds are variables of Keras."""
    return function()


def normal_like(vector: Vector, seed: int, count: Tensor) -> Vector:
    """Return standard normal numbers, the same for the same arguments.

    Args:
        vector: Tensors whose shapes and dtypes the draws have.
        seed: Integer >= 0.
        count: Scalar; each whole number has draws of its own.
    """
    # The dtype of a seed differs between backends; this is called in traces,
    # where no generator can be made to ask it.
    dtype = _SEED_DTYPES[keras.backend.backend()]
    second = keras.ops.cast(keras.ops.round(count), dtype)
    draws = []
    for i, tensor in enumerate(vector):
        # PyTorch adds the two words of a seed. First words without order are
        # so far apart that no count leads from one to the other.
        (first,) = np.random.SeedSequence((seed, i)).generate_state(1)
        words = [keras.ops.cast(int(first) >> 1, dtype), second]
        draws.append(
            keras.random.normal(
                tensor.shape,
                dtype=keras.backend.standardize_dtype(tensor.dtype),
                seed=_GivenSeed(keras.ops.stack(words)),
            )
        )
    return draws


_SEED_DTYPES = {"tensorflow": "int64", "jax": "uint32", "torch": "int32"}


class _GivenSeed(keras.random.SeedGenerator):
    """A generator whose next seed is given, be it traced or not."""

    def __init__(self, seed: Tensor) -> None:
        self._given = seed

    def next(self, ordered: bool = True) -> Tensor:
        del ordered
        return self._given


def perturbed_weights(
    variables: list[keras.Variable], values: Vector, perturbation: Vector
) -> Vector:
    """Return w + e for a second pass.

    Args:
        variables: Those that are perturbed.
        values: Their values.
        perturbation: One tensor for each.

    Returns:
        What the variables read as in the second pass, needed until the next
        call.
    """
    del variables
    return [
        value + keras.ops.cast(e, value.dtype)
        for value, e in zip(values, perturbation)
    ]


def generator_variables() -> list[keras.Variable]:
    """Return the state of what random operations without a seed draw from."""
    return [keras_private.made_global_seed_variable()]


def kept_generators() -> contextlib.AbstractContextManager[Any]:
    """Return a context that leaves the framework's generators as they were."""
    return contextlib.nullcontext()


def unlisted_state(model: keras.Model) -> list[keras.Variable]:
    """Return variables that a step writes and Keras' lists leave out."""
    del model
    return []


def write_unlisted(pairs: list[tuple[keras.Variable, Tensor]]) -> None:
    """Write variables that are in no list of the model."""
    for variable, value in pairs:
        variable.assign(value)


def sum_in_turn(
    function: Callable[..., Any],
    state: list[Tensor],
    sizes: list[tuple[int, int, int]],
) -> tuple[Any, list[Tensor], Any]:
    """Call a function on consecutive parts, and add up what it returns.

    Args:
        function: Takes a state and start and size of a part. Returns a nest to
            be summed, the state for the next part, and a nest of which the
            last one counts.
        state: The state for the first part.
        sizes: Start, size and number of parts, for each size.

    Returns:
        The sum, the last state, and the last nest.
    """
    total, last = None, None
    for start, size, count in sizes:
        for i in range(int(count)):
            summand, state, last = function(state, start + i * size, size)
            total = summand if total is None else added(total, summand)
    return total, state, last


def added(first: Any, second: Any) -> Any:
    """Return the sum of two nests; `None` stays."""
    return keras.tree.map_structure(
        lambda a, b: None if a is None else a + b, first, second
    )


class Leaves:
    """The tensors in a nest, for functions that return nothing else.

    A traced function cannot return `None` or a variable: they are kept here,
    with the structure of the nest, when it is traced.
    """

    def __init__(self) -> None:
        self._nest: Any = None

    def of(self, nest: Any) -> list[Tensor]:
        """Return the tensors of a nest, and keep the rest of it."""
        leaves = keras.tree.flatten(nest)
        self._nest = keras.tree.pack_sequence_as(
            nest, [_TENSOR if _is_tensor(t) else t for t in leaves]
        )
        return [t for t in leaves if _is_tensor(t)]

    def packed(self, tensors: list[Tensor]) -> Any:
        """Return the nest again, with these tensors in it."""
        rest = iter(tensors)
        return keras.tree.map_structure(
            lambda leaf: next(rest) if leaf is _TENSOR else leaf, self._nest
        )


class PerVariable:
    """Something for each variable, made when needed and freed with it.

    Args:
        make: Takes a variable.
    """

    def __init__(self, make: Callable[[keras.Variable], Any]) -> None:
        self._make = make
        self._made: dict[int, Any] = {}

    def __call__(self, variable: keras.Variable) -> Any:
        key = id(variable)
        if key not in self._made:
            self._made[key] = self._make(variable)
            weakref.finalize(variable, self._made.pop, key, None)
        return self._made[key]


def _is_tensor(leaf: Any) -> bool:
    return leaf is not None and not isinstance(leaf, keras.Variable)


_TENSOR = object()
