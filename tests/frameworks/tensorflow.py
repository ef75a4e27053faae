"""TensorFlow: see `__init__.py`."""

import contextlib

import tensorflow as tf

GRAPH = {"jit_compile": False}
JIT = {"jit_compile": True}
MODES = {"graph": GRAPH, "eager": {"run_eagerly": True}, "jit": JIT}
COMPILED = {"graph": GRAPH, "jit": JIT}
EXECUTIONS = {**MODES, "steps": {"steps_per_execution": 3}}
LACKS = {
    "clipping of sums in sparse gradients",  # It clips what is to be summed.
}
PARTS = ("one after another", "side by side")
MODULES = (tf, tf.math, tf.nn, tf.random)
REMAT = {"function": MODES, "scope": {"eager": MODES["eager"]}}
SEED: dict[str, int] = {}

float64 = contextlib.nullcontext

uncompiled = contextlib.nullcontext


def accuracy(floatx):
    return floatx


def side_by_side(count):
    cpu = tf.config.list_physical_devices("CPU")[0]
    if not tf.config.get_logical_device_configuration(cpu):
        tf.config.set_logical_device_configuration(
            cpu, 3 * [tf.config.LogicalDeviceConfiguration()]
        )
    devices = [f"CPU:{i}" for i in range(count)]
    return tf.distribute.MirroredStrategy(devices).scope


def exact():
    # A GPU would otherwise round the factors of a product to 10 bits.
    tf.config.experimental.enable_tensor_float_32_execution(False)


@contextlib.contextmanager
def same_arithmetic():
    """Keep TensorFlow from rewriting sums and products in a graph.

    It does so differently in the branches of a conditional.
    """
    options = tf.config.optimizer.set_experimental_options
    options({"arithmetic_optimization": False})
    yield
    options({"arithmetic_optimization": True})


def gradients(function, variables):
    with tf.GradientTape() as tape:
        value, auxiliary = function()
    return tape.gradient(value, variables), auxiliary


def dense(gradient):
    return tf.convert_to_tensor(gradient)


def update(optimizer, gradients, variables):
    optimizer.apply_gradients(zip(gradients, variables))


def generators():
    return ()


def set_generators(states):
    pass


def train_step(function):
    return function


def counted(inputs, count):
    done = tf.py_function(count, [], [])
    with tf.control_dependencies([done] if done else []):
        return tf.identity(inputs)


def wait():
    pass


def datasets(batch_size):
    """Return rows with `tf.data`."""

    def dataset(*arrays):
        return tf.data.Dataset.from_tensor_slices(arrays).batch(batch_size)

    def full(*arrays):
        data = tf.data.Dataset.from_tensor_slices(arrays)
        return data.batch(batch_size, drop_remainder=True).repeat()

    return {
        "dataset": lambda x, y, weights: {"x": dataset(x, y)},
        "weighted_dataset": lambda x, y, weights: {"x": dataset(x, y, weights)},
        "static_dataset": lambda x, y, weights: {
            "x": full(x, y),
            "steps_per_epoch": 3,
        },
    }
