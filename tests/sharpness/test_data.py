"""Measures and steps have the same data: all that `fit` takes."""

import keras
import numpy as np
import pytest
import scipy.sparse
from keras import layers

import keras_sam
from keras_sam import sharpness
from tests import frameworks

NUM_EXAMPLES = 20
BATCH_SIZE = 8

# Sums of twenty float32 losses in two different orders.
CLOSE = 20 * 2**-24


def examples():
    generator = np.random.default_rng(0)
    x = generator.integers(0, 9, (NUM_EXAMPLES, 3)).astype("float32")
    y = generator.integers(0, 3, NUM_EXAMPLES)
    return x, y, generator.uniform(0.5, 2, NUM_EXAMPLES).astype("float32")


class Batches(keras.utils.PyDataset):
    """Yields other examples after each `on_epoch_end`."""

    def __init__(self, *arrays):
        super().__init__()
        self.arrays = arrays

    def __len__(self):
        return 3

    def __getitem__(self, i):
        part = slice(BATCH_SIZE * i, BATCH_SIZE * (i + 1))
        return tuple(array[part] for array in self.arrays)

    def on_epoch_end(self):
        self.arrays = (0 * self.arrays[0], *self.arrays[1:])


def generated(*arrays):
    return (Batches(*arrays)[i] for i in range(3))


KINDS = {
    "arrays": lambda *arrays: arrays,
    "float64": lambda x, *others: (x.astype("float64"), *others),
    "tensors": lambda *arrays: [*map(keras.ops.convert_to_tensor, arrays)],
    "scipy": lambda x, *others: (scipy.sparse.csr_matrix(x), *others),
    "py_dataset": lambda *arrays: [Batches(*arrays)],
    "generator": lambda *arrays: [generated(*arrays)],
    "iterator": lambda *arrays: [iter([*generated(*arrays)])],
}
dataset = frameworks.datasets(BATCH_SIZE)["weighted_dataset"]
if dataset(*examples()).keys() == {"x"}:  # A data set of the framework.
    KINDS["dataset"] = lambda *arrays: [dataset(*arrays)["x"]]


def dense(**arguments):
    keras.utils.set_random_seed(1)
    outputs = layers.Dense(3, activation="softmax", kernel_regularizer="l2")
    model = keras.Sequential([keras.Input((3,)), outputs])
    return compiled(model, **arguments)


def compiled(model, **arguments):
    model.compile(
        keras.optimizers.SGD(0.1),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        weighted_metrics=[],
        **arguments,
    )
    return model


def sharp(model):
    return compiled(keras_sam.SAMModel.from_model(model, rho=0.1))


@pytest.mark.parametrize("kind", KINDS)
def test_loss_is_that_of_evaluate_for_every_kind_of_data(kind):
    model = dense()
    x, y, weights = examples()
    expected = model.evaluate(
        x, y, sample_weight=weights, batch_size=20, verbose=0
    )[0]
    data = KINDS[kind](x, y, weights)
    objective = sharpness.Objective(model, *data, batch_size=BATCH_SIZE)
    assert objective.value == pytest.approx(expected, rel=CLOSE)
    assert objective.num_examples == NUM_EXAMPLES
    assert len(objective.batches) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_is_inspected_on_the_first_batch_that_fit_makes(kind):
    data = KINDS[kind](*examples())
    size = NUM_EXAMPLES if len(data) == 3 else BATCH_SIZE
    model = sharp(dense())
    x, y, weights = (array[:size] for array in examples())
    expected = model.evaluate(
        x, y, sample_weight=weights, batch_size=20, verbose=0
    )[0]
    found = keras_sam.verify(model, *data)
    assert found.loss == pytest.approx(expected, rel=CLOSE)
    suggestion = keras_sam.suggest_rho(model, *KINDS[kind](*examples()))
    assert suggestion.loss == found.loss


class Prepared(keras.Model):
    """Converts strings to numbers, in `fit` and `evaluate` alone."""

    def __init__(self):
        super().__init__()
        self.prepared = 0
        self.dense = layers.Dense(3, activation="softmax")

    def call(self, x):
        return self.dense(x)

    def prepare(self, x):
        self.prepared += 1
        return np.array([[len(text), text.count("a"), 1.0] for text in x])

    def fit(self, x, y, sample_weight=None, **options):
        return super().fit(
            self.prepare(x), y, sample_weight=sample_weight, **options
        )

    def evaluate(self, x, y, sample_weight=None, **options):
        return super().evaluate(
            self.prepare(x), y, sample_weight=sample_weight, **options
        )


def test_data_are_prepared_by_the_class_of_the_model():
    texts = ["a", "bab", "abab", "bb"] * 3
    y = np.arange(12) % 3
    model = sharp(Prepared())
    model.fit(texts, y, verbose=0)
    expected = model.evaluate(texts, y, batch_size=12, verbose=0)[0]
    for found in (
        keras_sam.verify(model, texts, y),
        keras_sam.suggest_rho(model, texts, y),
        sharpness.hessian_trace(model, texts, y, verbose=0),
    ):
        assert found.loss == pytest.approx(expected, rel=CLOSE)


class WithOption(keras.Model):
    """Adds an optional input."""

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(3, activation="softmax")

    def call(self, inputs):
        x, more = inputs["x"], inputs["more"]
        return self.dense(x if more is None else x + more)


def test_optional_inputs_may_be_none():
    x, y, _ = examples()
    data = {"x": x, "more": None}, y
    model = sharp(WithOption())
    model.fit(*data, verbose=0)
    expected = model.evaluate(*data, batch_size=20, verbose=0)[0]
    for found in (
        keras_sam.verify(model, *data),
        sharpness.hessian_trace(model, *data, verbose=0),
    ):
        assert found.loss == pytest.approx(expected, rel=CLOSE)


@pytest.mark.parametrize("steps", [1, 2])
def test_reading_data_leaves_the_model_as_it_is(steps):
    x, y, weights = examples()
    model = sharp(dense(steps_per_execution=steps))
    data = Batches(x, y, weights)
    model.fit(data, verbose=0)
    data.arrays = x, y, weights
    before = dict(vars(model))
    values = [v.numpy() for v in model.variables + model.metrics_variables]
    functions = model.train_function, model.test_function
    generators = frameworks.generators()
    keras_sam.verify(model, data)
    sharpness.Objective(model, data)
    assert before == vars(model)
    assert functions == (model.train_function, model.test_function)
    for one, other in zip(generators, frameworks.generators(), strict=True):
        np.testing.assert_array_equal(one, other)
    after = [v.numpy() for v in model.variables + model.metrics_variables]
    for one, other in zip(values, after, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(data.arrays[0], x)


def failing(x, y, weights):
    yield x, y, weights
    raise RuntimeError("in the middle")


def test_data_that_cannot_be_read_leave_the_model_as_it_is():
    model = sharp(dense())
    values = [v.numpy() for v in model.variables]
    with pytest.raises(RuntimeError, match="in the middle"):
        sharpness.Objective(model, failing(*examples()))
    for value, variable in zip(values, model.variables, strict=True):
        np.testing.assert_array_equal(value, variable.numpy())
