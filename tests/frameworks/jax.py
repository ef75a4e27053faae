"""JAX: see `__init__.py`."""

import contextlib

import jax
import keras

JIT = {"jit_compile": True}
GRAPH = JIT
MODES = {"eager": {"run_eagerly": True}, "jit": JIT}
COMPILED = {"jit": JIT}
EXECUTIONS = {**MODES, "steps": {"steps_per_execution": 3}}
LACKS = {
    "warning of missing gradients",  # They are zeros.
    "draws without a seed",
    "metrics of layers",  # Updates in `call` are lost.
}
PARTS = ("one after another", "side by side")
MODULES = (jax, jax.lax, jax.nn, jax.numpy, jax.random)
REMAT = {"scope": COMPILED}
SEED: dict[str, int] = {}

same_arithmetic = contextlib.nullcontext

uncompiled = jax.disable_jit


def float64():
    return jax.enable_x64(True)


def accuracy(floatx):
    # `keras.ops.mean` rounds float64 to float32 with JAX.
    return "float32" if floatx == "float64" else floatx


def side_by_side(count):
    # The flag of XLA that makes three of a processor is set before.
    devices = keras.distribution.list_devices("cpu")[:count]
    return keras.distribution.DataParallel(devices=devices).scope


def exact():
    # A GPU would otherwise round the factors of a product to 10 bits.
    jax.config.update("jax_default_matmul_precision", "highest")


class _Scope(keras.StatelessScope):
    """Remembers which variables were written."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.written = {}

    def add_update(self, update):
        self.written[id(update[0])] = update[0]
        super().add_update(update)


def gradients(function, variables):
    written = []

    def pure(weights):
        mapping = list(zip(variables, weights))
        with _Scope(mapping, collect_losses=True) as scope:
            value, auxiliary = function()
        written[:] = scope.written.values()
        new = [scope.get_current_value(variable) for variable in written]
        return value, (auxiliary, new)

    found, (auxiliary, new) = jax.grad(pure, has_aux=True)([
        variable.value for variable in variables
    ])
    for variable, value in zip(written, new):
        variable.assign(value)
    return found, auxiliary


def dense(gradient):
    return gradient


def update(optimizer, gradients, variables):
    # `LossScaleOptimizer.apply_gradients` writes to variables in a conditional.
    new, state = optimizer.stateless_apply(
        [variable.value for variable in optimizer.variables],
        gradients,
        [variable.value for variable in variables],
    )
    for variable, value in zip(
        [*variables, *optimizer.variables], [*new, *state]
    ):
        variable.assign(value)


def generators():
    return ()


def set_generators(states):
    pass


def train_step(function):
    def step(self, state, data):
        groups = (
            self.trainable_variables,
            self.non_trainable_variables,
            self.optimizer.variables,
            self.metrics_variables,
        )
        for variables, values in zip(groups, state):
            for variable, value in zip(variables, values):
                variable.assign(value)
        logs = function(self, data)
        return logs, tuple([v.value for v in group] for group in groups)

    return step


def counted(inputs, count):
    jax.debug.callback(count)
    return inputs


def wait():
    jax.effects_barrier()


def datasets(batch_size):
    """Return rows with batches of one size."""

    def full(*arrays):
        stop = batch_size * (len(arrays[0]) // batch_size)
        return [array[:stop] for array in arrays]

    def static(x, y, weights):
        x, y = full(x, y)
        return {"x": x, "y": y, "batch_size": batch_size}

    def weighted(x, y, weights):
        return {
            "x": x,
            "y": y,
            "sample_weight": weights,
            "batch_size": batch_size,
        }

    return {"weighted_dataset": weighted, "static_dataset": static}
