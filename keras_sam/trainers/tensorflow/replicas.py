"""Where Keras' own train function does not work on several replicas."""

import itertools
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from keras_sam.backend.keras_private import flatten_layers
from keras_sam.types import Tensor


def has_replicas(model: keras.Model) -> bool:
    """Return whether the model is trained on more than one replica."""
    return model.distribute_strategy.num_replicas_in_sync > 1


def is_on_tpu(model: keras.Model) -> bool:
    """Return whether a strategy compiles all that its replicas run."""
    return isinstance(model.distribute_strategy, tf.distribute.TPUStrategy)


def has_several_workers(model: keras.Model) -> bool:
    """Return whether the model is trained by several processes."""
    strategy = model.distribute_strategy
    resolver = strategy.cluster_resolver
    is_collective = isinstance(
        strategy, tf.distribute.MultiWorkerMirroredStrategy
    )
    return is_collective and len(resolver.cluster_spec().as_dict()) > 0


def refuse(model: keras.Model) -> None:
    """Raise where TensorFlow or Keras cannot do on replicas what is asked.

    Args:
        model: A compiled `SAMModel`.

    Raises:
        NotImplementedError: Naming the cause.
    """
    if not has_replicas(model):
        return
    _refuse_groups(model)
    _refuse_compiled_synchronization(model)
    _refuse_accumulation(model)
    _refuse_collective_in_conditional(model)


def _refuse_groups(model: Any) -> None:
    if isinstance(model.sam.perturbation, int):
        raise NotImplementedError(
            "A perturbation shared by groups of replicas is not available on "
            "the TensorFlow backend. "
            f"Received: perturbation={model.sam.perturbation}"
        )


def _refuse_accumulation(model: keras.Model) -> None:
    optimizer = model.optimizer
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    if inner.gradient_accumulation_steps and not is_on_tpu(model):
        raise NotImplementedError(
            "Keras' optimizers cannot accumulate gradients on several "
            "replicas: they would talk inside a conditional, see "
            "https://github.com/keras-team/keras/issues/20582. Use a larger "
            "batch, with `num_microbatches` if memory is short. Received: "
            "gradient_accumulation_steps="
            f"{inner.gradient_accumulation_steps}"
        )


def _refuse_compiled_synchronization(model: keras.Model) -> None:
    layers = _synchronized(model)
    if layers and model.jit_compile and not is_on_tpu(model):
        raise NotImplementedError(
            "A program that XLA compiles for one replica cannot talk to the "
            "others, as normalization layers with `synchronized=True` do. "
            "Compile the model with `jit_compile=False`. "
            f"Received: jit_compile=True, and layers {layers}"
        )


def _synchronized(model: keras.Model) -> list[str]:
    return [
        layer.name
        for layer in flatten_layers(model)
        if getattr(layer, "synchronized", False)
    ]


def _refuse_collective_in_conditional(model: Any) -> None:
    sam = model.sam
    decides = sam.method.needs_statistic
    if _synchronized(model) and sam.has_control_flow:
        raise NotImplementedError(
            "TensorFlow allows replicas no communication inside a conditional "
            "or a loop. So normalization layers with `synchronized=True` need "
            "a constant `rho`, one micro-batch, and a method with a second "
            f"pass at every step. Received: method={sam.method!r}, "
            f"rho={sam.rho!r}, num_microbatches={sam.num_microbatches}"
        )
    if (sam.perturbation == "global" and sam.has_control_flow) or (
        decides and sam.is_conditional
    ):
        raise NotImplementedError(
            "TensorFlow allows replicas no communication inside a conditional "
            'or a loop. So `perturbation="global"` needs a constant `rho`, one '
            "micro-batch, and a method with a second pass at every step; a "
            "method that decides by its gradients needs a constant `rho`. "
            f"Received: method={sam.method!r}, rho={sam.rho!r}, "
            f"perturbation={sam.perturbation!r}, "
            f"num_microbatches={sam.num_microbatches}"
        )


def step_by_step(model: keras.Model, function: Callable[[Any], Any]) -> Any:
    """Return what runs `steps_per_execution` steps, one after another.

    On several replicas, the loop that Keras puts them in fails, see
    https://github.com/keras-team/keras/issues/19246. For batches that come
    from anything but an iterator of TensorFlow, Keras has no such loop.

    Args:
        model: A model.
        function: Takes an iterator and runs the steps of an execution.
    """
    if model.steps_per_execution == 1 or not has_replicas(model):
        return function

    def steps(iterator: Any) -> Any:
        first = next(iterator)  # Raises `StopIteration` at the end.
        return function(itertools.chain([first], iterator))

    return function if is_on_tpu(model) else steps


def local_batch(model: keras.Model, iterator: Any) -> Any:
    """Return what one replica of this worker is given of the first batch.

    To build a model, Keras averages the batch over replicas, which fails where
    they are on several workers, or have shards of different size.

    Args:
        model: A model.
        iterator: Keras' iterator over the steps of an epoch.
    """
    results = model.distribute_strategy.experimental_local_results
    batch = next(next(batches) for _, _, batches in iterator)
    return keras.tree.map_structure(lambda value: results(value)[0], batch)


def logs(model: keras.Model, logs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the logs of a step in the shape that Keras averages.

    Over several workers it averages along an axis, which scalars lack.
    """
    if not has_several_workers(model):
        return logs
    return {name: tf.reshape(value, (1,)) for name, value in logs.items()}
