"""What only JAX has: a step that is a pure function, compiled ahead."""

import jax
import keras
import numpy as np
import pytest
from jax import export

import keras_sam
from tests import cases
from tests import models
from tests import training
from tests.contract.test_state import MeanInput
from tests.methods.table import WITH_ASCENT_FRACTION

X, Y = cases.FEATURES[:8], cases.CLASSES[:8]


def lists(model):
    return (
        model.trainable_variables,
        model.non_trainable_variables,
        model.optimizer.variables,
        model.metrics_variables,
    )


def state_of(model):
    return tuple([v.value for v in variables] for variables in lists(model))


def compiled(settings, build=models.batch_norm_dropout):
    model = build(settings)
    model.compile(
        keras.optimizers.SGD(0.1, momentum=0.9),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def built(task, settings):
    """Return a compiled model with all of its variables, and a batch."""
    model = task.build(settings)
    training.compile_model(model, task)
    rows = slice(0, 4)
    data = keras.tree.map_structure(lambda a: a[rows], (task.x, task.y))
    model.train_on_batch(*data)
    return model, (*data, None)


@pytest.mark.parametrize("kind", cases.MODELS)
def test_the_whole_step_compiles_for_tpu_and_cuda(kind):
    model, data = built(cases.MODELS[kind], {"method": "sam"})
    step = export.export(jax.jit(model.train_step), platforms=["tpu", "cuda"])
    exported = step(state_of(model), data)
    assert exported.platforms == ("tpu", "cuda")
    state = jax.tree.leaves(state_of(model))
    outputs = exported.out_avals[-len(state) :]
    assert [(a.shape, a.dtype) for a in outputs] == [
        (s.shape, s.dtype) for s in state
    ]


@pytest.mark.parametrize("method", [m for m in cases.METHODS if m != "sam"])
def test_the_step_of_every_method_compiles_for_tpu_and_cuda(method):
    model, data = built(
        cases.MODELS["conv_batch_norm"],
        {
            "method": method,
            "num_microbatches": 2,
            "ascent_fraction": 0.5 if method in WITH_ASCENT_FRACTION else 1.0,
        },
    )
    step = export.export(jax.jit(model.train_step), platforms=["tpu", "cuda"])
    assert step(state_of(model), data).platforms == ("tpu", "cuda")


@pytest.mark.parametrize("method", ["sam", "vasso", "look_sam"])
def test_a_loop_of_ones_own_does_what_fit_does(method):
    model = compiled({"method": method})
    model.train_on_batch(X, Y)  # makes all variables
    state = jax.tree.map(np.array, state_of(model))
    step = jax.jit(model.train_step)
    for rows in (slice(0, 4), slice(4, 8)):
        logs, state = step(state, (X[rows], Y[rows]))
    assert logs["sharpness"] > 0
    model.fit(X, Y, batch_size=4, shuffle=False, verbose=0)
    # Seeds and the optimizer's included; `fit` resets the metrics alone. XLA
    # may fuse the two programs in other ways, which rounds differently.
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-8),
        state[:3],
        state_of(model)[:3],
    )


def test_a_loop_without_the_memory_of_the_method_is_refused():
    model = compiled({"method": "vasso"})
    model.optimizer.build(model.trainable_variables)
    with pytest.raises(ValueError, match="build_method_state"):
        model.train_step(state_of(model), (X, Y))


def test_all_steps_of_one_shape_are_traced_once(monkeypatch):
    traces = []
    model = compiled({"method": "look_sam", "num_microbatches": 2})
    step = model.train_step
    monkeypatch.setattr(
        model, "train_step", lambda *args: traces.append(1) or step(*args)
    )
    model.fit(X, Y, batch_size=4, epochs=2, verbose=0)
    model.fit(X, Y, batch_size=4, verbose=0)
    assert len(traces) == 1


def test_both_views_of_a_model_train_and_evaluate_in_turn():
    plain = compiled(None)
    plain.fit(X, Y, verbose=0)
    plain.evaluate(X, Y, verbose=0)
    sharp = keras_sam.SAMModel.from_model(plain, method="vasso")
    logs = sharp.fit(X, Y, validation_data=(X, Y), verbose=0).history
    assert logs["sharpness"][0] > 0
    assert plain.evaluate(X, Y, verbose=0)[0] == logs["val_loss"][0]
    assert "sharpness" not in plain.fit(X, Y, verbose=0).history
    np.testing.assert_array_equal(
        plain.predict(X, verbose=0), sharp.predict(X, verbose=0)
    )
    plain.compile("sgd", "sparse_categorical_crossentropy")
    sharp.fit(X, Y, verbose=0)
    assert int(plain.optimizer.iterations) == 1


def test_a_metric_that_a_layer_updates_is_logged_as_elsewhere():
    """`keras.Model` loses such updates on JAX, and logs 0."""
    inputs = keras.Input((6,))
    model = keras_sam.SAMModel(
        inputs, keras.layers.Dense(1)(MeanInput()(inputs))
    )
    model.compile("sgd", "mse")
    logs = model.fit(X, X[:, :1], batch_size=4, verbose=0).history
    # A mean of 48 numbers of order one.
    assert logs["mean_input"][0] == pytest.approx(np.mean(X), abs=48 * 2**-24)


def test_sharpness_aware_gradients_of_given_values_under_jit():
    model = compiled({"method": "sam"})
    variables = model.trainable_variables
    others = model.non_trainable_variables
    loss = keras.losses.SparseCategoricalCrossentropy()

    def loss_fn():
        return loss(Y, model(X, training=True)), "auxiliary"

    def of_values(weights, state):
        pairs = [*zip(variables, weights), *zip(others, state)]
        with keras.StatelessScope(pairs) as scope:
            result = keras_sam.sharpness_aware_gradients(loss_fn, variables)
        updated = [scope.get_current_value(v) for v in others]
        return result.gradients, result.rise, updated

    weights, state = state_of(model)[:2]
    pure = jax.jit(of_values)
    gradients, rise, updated = pure(weights, state)
    for variable, value in zip(others, state):
        np.testing.assert_array_equal(variable.value, value)
    eager = keras_sam.sharpness_aware_gradients(loss_fn, variables)
    assert eager.auxiliary == "auxiliary"
    # The same formulas, fused or not: a few roundings of 6e-8.
    close = {"rtol": 1e-5, "atol": 1e-6}
    np.testing.assert_allclose(rise, eager.rise, **close)
    for one, other in zip(gradients, eager.gradients):
        np.testing.assert_allclose(one, other, **close)
    for value, variable in zip(updated, others):
        np.testing.assert_allclose(value, variable.value, **close)
    # Other values give other results: none of them is a constant of the step.
    _, other_rise, _ = pure([2 * w for w in weights], state)
    assert other_rise != rise
