"""JAX, and `optax.contrib.sam` in a step of plain JAX."""

import functools
import itertools

import jax
import keras
from jax import numpy as jnp

MODES = {"XLA": {"jit_compile": True}}
PEER = "optax"


class Stepper:
    """Passes the state from step to step, as in `fit`."""

    def __init__(self, model, x, y):
        model.test_on_batch(x, y)  # Makes all variables.
        model.optimizer.build(model.trainable_variables)
        self._batches = itertools.repeat((jnp.asarray(x), jnp.asarray(y)))
        self._model = model
        self._state = None

    def step(self):
        """Run a step; the first one makes the train function."""
        if self._model.train_function is None:
            self._model.make_train_function()
        if self._state is None:
            self._state = _values(
                self._model.trainable_variables,
                self._model.non_trainable_variables,
                self._model.optimizer.variables,
                self._model.metrics_variables,
            )
        _, self._state = self._model.train_function(self._state, self._batches)

    def wait(self):
        """Return when all steps are done."""
        jax.block_until_ready(self._state)


class _Peer:
    def __init__(self, step, state, x, y):
        self._step = functools.partial(step, x=jnp.asarray(x), y=jnp.asarray(y))
        self._state = state

    def step(self):
        self._state, _ = self._step(self._state)

    def wait(self):
        jax.block_until_ready(self._state)


def make_peer(network, x, y, arguments):
    """Return a stepper: opaque mode, on the stateless network."""
    import optax

    del arguments
    inputs, outputs, _ = network(keras)
    model = keras.Model(inputs, outputs)
    optimizer = optax.contrib.sam(
        optax.sgd(0.01, momentum=0.9),
        optax.chain(optax.contrib.normalize(), optax.sgd(0.05)),
        opaque_mode=True,
    )

    @functools.partial(jax.jit, donate_argnums=0)
    def step(state, x, y):
        weights, statistics, moments = state

        def loss(weights):
            y_pred, new_statistics = model.stateless_call(
                weights, statistics, x, training=True
            )
            losses = optax.softmax_cross_entropy_with_integer_labels(y_pred, y)
            return jnp.mean(losses), (y_pred, new_statistics)

        (value, (y_pred, new_statistics)), gradients = jax.value_and_grad(
            loss, has_aux=True
        )(weights)
        updates, moments = optimizer.update(
            gradients,
            moments,
            weights,
            grad_fn=jax.grad(lambda perturbed, _: loss(perturbed)[0]),
        )
        weights = optax.apply_updates(weights, updates)
        accuracy = jnp.mean(jnp.argmax(y_pred, -1) == y)
        return (weights, new_statistics, moments), (value, accuracy)

    weights, statistics = _values(
        model.trainable_variables, model.non_trainable_variables
    )
    return _Peer(step, (weights, statistics, optimizer.init(weights)), x, y)


def _values(*lists):
    """Return copies of the values: a step frees its arguments."""
    return tuple([jnp.array(v.value) for v in variables] for variables in lists)
