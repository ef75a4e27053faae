"""Random numbers in programs of XLA."""

import contextlib
from collections.abc import Iterator
from typing import Any

import tensorflow as tf
from tensorflow.python.framework import op_callbacks

from keras_sam.backend.tensorflow.autodiff import is_compiled_by_xla
from keras_sam.types import Tensor


@contextlib.contextmanager
def draws_by_example() -> Iterator[None]:
    """Do what `common.draws_by_example` says, in programs of XLA too.

    There a normal number is made of two uniform ones that lie half of the
    tensor apart, so that all of them depend on its size. Here each is made of
    one. Callbacks are those of the thread.
    """
    if not is_compiled_by_xla():
        yield
        return
    op_callbacks.add_op_callback(_normal_by_quantiles)
    try:
        yield
    finally:
        op_callbacks.remove_op_callback(_normal_by_quantiles)


def _normal_by_quantiles(
    op_type: str, inputs: Any, attrs: Any, outputs: Any, **_: Any
) -> list[Tensor] | None:
    """Return what takes the place of an operation's output, if anything."""
    del attrs
    if op_type != "StatelessRandomNormalV2":
        return None
    shape, key, counter, alg = inputs
    [output] = outputs
    # Of float16 there are too few uniform numbers.
    dtype = tf.float64 if output.dtype == tf.float64 else tf.float32
    uniform = tf.raw_ops.StatelessRandomUniformV2(
        shape=shape, key=key, counter=counter, alg=alg, dtype=dtype
    )
    # They are multiples of twice this, and 0 would give infinity.
    half = 2.0**-53 if dtype == tf.float64 else 2.0**-24
    return [tf.cast(tf.math.ndtri(uniform + half), output.dtype)]
