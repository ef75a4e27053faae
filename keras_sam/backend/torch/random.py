"""PyTorch's own generators as variables: dropout without a seed uses them."""

import contextlib
import functools
import math
from collections.abc import Callable
from typing import Any

import keras
import torch
from keras.src.backend.common.stateless_scope import get_stateless_scope
from keras.src.backend.torch.core import get_device
from torch.overrides import TorchFunctionMode

from keras_sam.backend import keras_private
from keras_sam.types import Tensor


class GeneratorState(keras.Variable):
    """The state of PyTorch's generator for a device.

    In a `keras.StatelessScope` it has the value that the scope gives it, as
    any variable, and elsewhere that of the generator itself. It stays in main
    memory, so that to read it waits for nothing.

    Args:
        device: String, the name of a kind of device.
    """

    def __init__(self, device: str) -> None:
        self._of = torch if device == "cpu" else torch.get_device_module(device)
        super().__init__(
            self._of.get_rng_state().numpy(),
            dtype="uint8",
            trainable=False,
            name=f"{device}_generator_state",
        )

    @property
    def value(self) -> Tensor:
        """The state, a tensor of bytes."""
        scope = get_stateless_scope()
        value = None if scope is None else scope.get_current_value(self)
        return self._of.get_rng_state() if value is None else value

    def set(self, value: Tensor) -> None:
        """Let the generator go on from a state."""
        self._of.set_rng_state(value)

    def get(self) -> Tensor:
        """Return the state of the generator."""
        return self._of.get_rng_state()

    def _convert_to_tensor(self, value: Tensor, dtype: Any = None) -> Tensor:
        del dtype
        return value

    def _direct_assign(self, value: Tensor) -> None:
        self.set(value)


def unlisted_state(model: keras.Model) -> list[keras.Variable]:
    """Return the generators; where steps are eager, others need no list."""
    del model
    return generator_variables()


def kept_generators() -> contextlib.AbstractContextManager[Any]:
    """Return a context that leaves the generator of CPUs as it was.

    Each iterator over a `DataLoader` draws from it, also without shuffling.
    """
    return torch.random.fork_rng(devices=[])


def generator_variables() -> list[keras.Variable]:
    """Return the state of what random operations without a seed draw from."""
    return [keras_private.made_global_seed_variable(), *generator_states()]


class _WholeBlocks(TorchFunctionMode):
    """Draws normal numbers in whole blocks; a mode of the thread.

    On a CPU they are made in blocks of 16, and a last one that is not whole is
    made anew, of other uniform numbers.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is not torch.normal or "size" not in kwargs:
            return func(*args, **kwargs)
        count = math.prod(kwargs["size"])
        whole = {**kwargs, "size": (math.ceil(count / 16) * 16,)}
        return func(*args, **whole)[:count].reshape(kwargs["size"])


def draws_by_example() -> contextlib.AbstractContextManager[Any]:
    """Return the context that `common.draws_by_example` describes."""
    is_compiled = torch.compiler.is_compiling()
    return contextlib.nullcontext() if is_compiled else _WholeBlocks()


def with_pure_randomness(function: Callable[[], Any]) -> Any:
    """Call a function that may draw random numbers.

    It draws from what the scope around it says, and leaves in the scope what
    later draws start from, if it draws at all. The generators themselves stay
    as they were.

    Returns:
        What the function returns.
    """
    generators = generator_states()
    before = [generator.get() for generator in generators]
    starts = [generator.value for generator in generators]
    try:
        for generator, start in zip(generators, starts):
            generator.set(start)
        result = function()
        for generator, start in zip(generators, starts):
            if not torch.equal(generator.get(), start):
                generator.assign(generator.get())
    finally:
        for generator, state in zip(generators, before):
            generator.set(state)
    return result


def generator_states() -> list[keras.Variable]:
    """Return the states of the generators that a pass may draw from."""
    kind = torch.device(get_device()).type
    return [_generator_state(name) for name in sorted({"cpu", kind})]


_generator_state = functools.cache(GeneratorState)

# Made now: in a scope, where they are first needed, no variable can be made.
generator_states()
