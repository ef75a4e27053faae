"""Objectives and results: data, selection, unchanged models, saved files."""

import gc
import json
import typing

import keras
import numpy as np
import pytest
from keras import layers

import keras_sam
from keras_sam import sharpness
from tests.sharpness import dense


def network(*more):
    keras.utils.set_random_seed(1)
    return dense.model(
        layers.Dense(4, activation="tanh", name="first"),
        layers.BatchNormalization(name="norm"),
        *more,
        layers.Dense(3, activation="softmax", name="last"),
        loss="sparse_categorical_crossentropy",
        size=3,
    )


def test_loss_may_be_given():
    x, y = dense.label_data()
    model = network()
    expected = model.evaluate(x, y, verbose=0)
    plain = keras.Model(model.inputs, model.outputs)
    for loss in (
        "sparse_categorical_crossentropy",
        keras.losses.SparseCategoricalCrossentropy(),
    ):
        objective = sharpness.Objective(plain, x, y, loss=loss)
        assert objective.value == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    "loss",
    [
        "mse",
        keras.losses.MeanSquaredError(),
        lambda y, y_pred: keras.ops.mean((y - y_pred) ** 2, axis=-1),
    ],
    ids=["name", "object", "function"],
)
def test_given_loss_is_treated_as_compile_does(loss):
    """With sample weights, targets of rank 1, and a regularizer."""
    x, y = dense.regression_data()
    weights = np.random.default_rng(1).uniform(0.5, 2, 20)
    layer = layers.Dense(1, kernel_regularizer=keras.regularizers.L2(0.3))
    model = dense.model(layer, loss="mse", size=3)
    expected = model.evaluate(x, y[:, 0], 20, 0, weights)
    plain = keras.Model(model.inputs, model.outputs)
    objective = sharpness.Objective(plain, x, y[:, 0], weights, loss=loss)
    assert objective.value == pytest.approx(expected, rel=1e-6)
    assert not plain.compiled


def test_objective_stays_where_it_is_until_it_is_refreshed():
    x, y = dense.label_data()
    model = network()
    objective = sharpness.Objective(model, x, y)
    before = objective.value
    for variable in model.weights:
        variable.assign(variable + 0.5)
    assert objective.loss() == before
    objective.refresh()
    expected = model.evaluate(x, y, verbose=0)
    assert objective.value == pytest.approx(expected, rel=1e-6)
    assert objective.value != pytest.approx(before, rel=1e-3)


def test_other_weights_are_constants():
    x, y = dense.label_data()
    model = network()
    whole = dense.hessian(dense.objective(model, x, y))
    part = dense.objective(model, x, y, variables="last")
    # 12 + 4 weights of the first layer, 4 + 4 of the normalization.
    assert dense.hessian(part) == pytest.approx(whole[24:, 24:], abs=1e-6)
    sizes = {
        "no_norm_no_bias": 24,
        "norm_only": 8,
        model.layers[0]: 16,
        ("first", "last"): 31,
        (lambda variable: variable.name == "bias"): 7,
    }
    for variables, size in sizes.items():
        found = dense.objective(model, x, y, variables=variables)
        assert found.size == size


def state_of(model):
    variables = [
        *model.variables,
        *model.optimizer.variables,
        *model.metrics_variables,
    ]
    return [np.array(keras.ops.convert_to_numpy(v)) for v in variables]


@pytest.mark.parametrize("training", [False, True])
def test_nothing_is_written(training):
    x, y = dense.label_data()
    model = network()
    model.fit(x, y, epochs=1, verbose=0)
    before = state_of(model)
    objective = sharpness.Objective(model, x, y, training=training)
    sharpness.hessian_trace(objective, rank=2, max_probes=2)
    sharpness.worst_case_sharpness(objective, steps=2)
    sharpness.loss_line(objective, num_points=3)

    def interrupt(*arguments):
        raise KeyboardInterrupt

    objective.flatten = interrupt
    with pytest.raises(KeyboardInterrupt):
        sharpness.hessian_eigenvalues(objective, k=1)
    for a, b in zip(before, state_of(model), strict=True):
        np.testing.assert_array_equal(a, b)


def test_result_says_in_which_mode_it_was_measured():
    x, y = dense.label_data()
    for training, name in ((False, "inference mode"), (True, "training mode")):
        result = sharpness.average_sharpness(
            network(), x, y, num_draws=2, training=training
        )
        assert name in str(result)
        assert result.training is training


def test_training_mode_uses_the_statistics_of_the_batch():
    x, y = dense.label_data()
    model = network()
    model.get_layer("norm").moving_mean.assign(np.full(4, 5.0))
    values = [
        sharpness.Objective(model, x, y, training=training).value
        for training in (False, True)
    ]
    assert values[0] != pytest.approx(values[1], rel=0.05)


class WithTermInTraining(keras.Sequential):
    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):
        loss = super().compute_loss(x, y, y_pred, sample_weight)
        return loss + 3.0 if training else loss


def test_loss_of_a_model_knows_the_mode():
    model = WithTermInTraining([keras.Input((3,)), layers.Dense(1)])
    model.compile("sgd", "mse")
    plain, training = (
        sharpness.Objective(model, *dense.regression_data(), training=mode)
        for mode in (False, True)
    )
    assert training.value == pytest.approx(plain.value + 3)


def test_random_model_is_refused_by_the_name_of_the_layer():
    x, y = dense.label_data()
    model = network(layers.Dropout(0.5, name="noisy"))
    sharpness.Objective(model, x, y)
    with pytest.raises(ValueError, match="'noisy' draws random numbers"):
        sharpness.Objective(model, x, y, training=True)


class Unseeded(layers.Layer):
    def call(self, inputs):
        return inputs + keras.random.normal(keras.ops.shape(inputs))

    def compute_output_shape(self, shape):
        return shape


class WithSeedsInAList(layers.Layer):
    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.seeds = [keras.random.SeedGenerator(1)]

    def call(self, inputs):
        return keras.random.dropout(inputs, 0.5, seed=self.seeds[0])


@pytest.mark.parametrize("kind", [Unseeded, WithSeedsInAList])
def test_layer_that_always_draws_is_refused_by_name(kind):
    x, y = dense.label_data()
    inner = keras.Sequential(
        [layers.Dropout(0.5), kind(name="noisy")], name="inner"
    )
    model = network(inner)
    with pytest.raises(ValueError, match="'noisy' draws random numbers"):
        sharpness.Objective(model, x, y)
    # The search for the layer does not change any layer.
    assert not any("call" in vars(layer) for layer in model.layers)


def test_layer_that_writes_its_weight_is_refused_by_name():
    x, y = dense.label_data()
    wrapped = layers.Dense(4, name="inside")
    model = network(layers.SpectralNormalization(wrapped, name="spectral"))
    before = model.get_weights()
    sharpness.Objective(model, x, y)
    with pytest.raises(
        ValueError, match=r"'spectral' writes its trainable weight .*inside"
    ):
        sharpness.Objective(model, x, y, training=True)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


class WithoutEnd(keras.utils.PyDataset):
    @property
    def num_batches(self):
        return None

    def __getitem__(self, i):
        raise AssertionError("was read")


class Repeated:
    """Has the cardinality of an infinite `tf.data.Dataset`."""

    def cardinality(self):
        return np.int64(-1)

    def __iter__(self):
        raise AssertionError("was read")


@pytest.mark.parametrize("kind", [WithoutEnd, Repeated])
def test_data_without_end_are_refused_before_they_are_read(kind):
    with pytest.raises(ValueError, match=r"finite number of batches.*take"):
        sharpness.Objective(network(), kind())


@keras.ops.custom_gradient
def with_wrong_gradient(x):
    def gradient(*args, upstream=None):
        upstream = args[0] if upstream is None else upstream
        return upstream * keras.ops.sin(3 * keras.ops.flip(x, axis=-1))

    return x, gradient


class WithWrongGradient(layers.Layer):
    """Has a gradient that is not the gradient of any function."""

    def call(self, inputs):
        return with_wrong_gradient(inputs)


def test_second_derivatives_that_are_not_symmetric_are_refused():
    x, y = dense.label_data()
    model = network(WithWrongGradient())
    for function in (
        sharpness.hessian_eigenvalues,
        sharpness.hessian_trace,
        sharpness.spectral_density,
    ):
        with pytest.raises(ValueError, match="are not symmetric"):
            function(model, x, y)
    sharpness.hessian_eigenvalues(model, x, y, k=1, gauss_newton=True)


def test_second_derivatives_that_are_not_finite_are_refused():
    """Those of sign(x) |x|^1.5 at 0, as frameworks compute them."""
    x, y = dense.regression_data()
    layer = layers.Dense(
        1, kernel_initializer="zeros", activation=lambda t: t * abs(t) ** 0.5
    )
    model = dense.model(layer, loss="mse", size=3)
    with pytest.raises(ValueError, match="not symmetric or not finite"):
        sharpness.hessian_eigenvalues(model, x, y, k=1)


def test_one_infinite_product_is_refused(monkeypatch):
    model = dense.model(layers.Dense(1, use_bias=False), loss="mse", size=3)
    objective = dense.objective(model, *dense.regression_data())
    # Three batches for each of two vectors.
    products = iter([np.array([np.inf, 0, 0]), *np.zeros((5, 3))])
    monkeypatch.setattr(objective, "product", lambda *a: next(products))
    with pytest.raises(ValueError, match="not symmetric or not finite"):
        sharpness.hessian_trace(objective)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"y": np.zeros(3)}, "same number of samples"),
        ({"batch_size": 0}, "`batch_size` must be"),
        ({"variables": "second"}, "`variables` must name layers"),
        ({"variables": lambda v: False}, "`variables` must select"),
        ({"x": 3, "y": None}, "Unrecognized data type"),
        ({"x": [], "y": None}, "at least one example"),
    ],
)
def test_bad_argument_is_refused(options, message):
    x, y = dense.label_data()
    with pytest.raises(ValueError, match=message):
        sharpness.Objective(network(), **{"x": x, "y": y, **options})


def test_model_without_a_loss_is_refused():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(1)])
    with pytest.raises(ValueError, match="must be compiled with a loss"):
        sharpness.Objective(model, *dense.label_data())


def test_result_prints_plots_and_is_read_from_json(tmp_path):
    import matplotlib

    matplotlib.use("agg")
    objective = sharpness.Objective(network(), *dense.label_data())
    results = [
        sharpness.hessian_eigenvalues(objective, k=2),
        sharpness.hessian_trace(objective, rank=2, max_probes=10),
        sharpness.spectral_density(objective, steps=5, num_probes=2),
        sharpness.worst_case_sharpness(objective, steps=2),
        sharpness.average_sharpness(objective, num_draws=2),
        sharpness.loss_line(objective, num_points=3),
        sharpness.loss_surface(objective, num_points=3),
    ]
    for result in results:
        assert "20 examples, inference mode" in str(result)
        assert f"{result.num_weights} weights" in str(result)
        assert result.num_weights == objective.size
        assert result.loss == objective.value
        result.plot()
        path = tmp_path / "result.json"
        result.save(path)
        assert json.loads(path.read_text())["num_examples"] == 20
        loaded = sharpness.load(path)
        assert type(loaded) is type(result)
        for name, value in vars(result).items():
            np.testing.assert_array_equal(getattr(loaded, name), value)
            pair = getattr(loaded, name), value
            kinds = [np.array(v).dtype.kind for v in pair]
            assert kinds[0] == kinds[1]
        with pytest.raises(AttributeError):
            result.loss = 0.0
    matplotlib.pyplot.close("all")


@pytest.mark.parametrize(
    "content",
    [
        *(
            b"{}",
            b"[]",
            b'{"result": "LossCurve"}',
            b'{"result": ["LossLine"]}',
        ),
        *(b"", b'{"result": "Loss', b"\0\0", b"\xff\xfe"),
    ],
)
def test_file_without_a_result_is_refused(content, tmp_path):
    path = tmp_path / "result.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="must be a saved result"):
        sharpness.load(path)


COMMON = {"num_examples": 20, "num_weights": 9, "training": False, "loss": 1}
EIGENVALUES = {
    "result": "HessianEigenvalues",
    **COMMON,
    "gauss_newton": False,
    "eigenvalues": [2, 1.5],
    "residuals": [0.0, 0.0],
    "converged": [True, True],
    "num_products": 4,
}
SURFACE = {
    "result": "LossSurface",
    **COMMON,
    "first": [0, 1],
    "second": [0, 1],
    "losses": [[1, 2], [3, 4]],
    "directions": "trajectory",
    "lengths": [1, 1],
    "path": [[0, 0], [1, 1], [2, 3]],
    "explained": [0.5, 0.5],
}


@pytest.mark.parametrize("content", [EIGENVALUES, SURFACE])
def test_result_with_whole_numbers_is_read_and_printed(content, tmp_path):
    path = tmp_path / "result.json"
    path.write_text(json.dumps(content))
    assert "20 examples" in str(sharpness.load(path))


@pytest.mark.parametrize(
    ("content", "field", "value", "message"),
    [
        (EIGENVALUES, "eigenvalues", "big", r"numbers of shape \('k',\)"),
        (EIGENVALUES, "eigenvalues", [], r"numbers of shape \('k',\)"),
        (EIGENVALUES, "eigenvalues", [1, None], r"numbers of shape \('k',\)"),
        (EIGENVALUES, "eigenvalues", None, "must be ndarray"),
        (EIGENVALUES, "residuals", [0.0], r"numbers of shape \(2,\)"),
        (EIGENVALUES, "residuals", [[0.0], [0.0]], r"numbers of shape \(2,\)"),
        (EIGENVALUES, "converged", [1, 0], r"booleans of shape \(2,\)"),
        (EIGENVALUES, "num_products", 4.5, "must be int"),
        (EIGENVALUES, "training", 0, "must be bool"),
        (EIGENVALUES, "loss", "1.0", "must be float"),
        (EIGENVALUES, "loss", True, "must be float"),
        (SURFACE, "losses", [[1, 2], [3]], r"numbers of shape \(2, 2\)"),
        (SURFACE, "losses", [[1, 2]], r"numbers of shape \(2, 2\)"),
        (SURFACE, "path", [[0, 0, 0]], r"shape \('num_snapshots', 2\)"),
        (SURFACE, "directions", None, "must be str"),
    ],
)
def test_saved_field_of_another_type_or_shape_is_refused(
    content, field, value, message, tmp_path
):
    path = tmp_path / "result.json"
    path.write_text(json.dumps({**content, field: value}))
    found = rf"`{field}` .*{message}.*Received: {field}=.*result\.json"
    with pytest.raises(ValueError, match=found):
        sharpness.load(path)


@pytest.mark.parametrize("fields", [{"loss": 1}, {**EIGENVALUES, "more": 1}])
def test_saved_result_with_other_fields_is_refused(fields, tmp_path):
    path = tmp_path / "result.json"
    path.write_text(json.dumps({**fields, "result": "HessianEigenvalues"}))
    with pytest.raises(ValueError, match=r"must have the fields.*result\.json"):
        sharpness.load(path)


def test_every_array_of_a_result_declares_its_shape():
    for cls in sharpness.results._CLASSES.values():
        declared = typing.get_type_hints(cls, include_extras=True)
        for hint in map(str, declared.values()):
            assert ("ndarray" in hint) == ("Annotated" in hint)


def test_several_radii_are_drawn_in_their_order():
    objective = sharpness.Objective(network(), *dense.label_data())
    results = [
        sharpness.average_sharpness(objective, rho=rho, num_draws=2)
        for rho in (0.2, 0.1)
    ]
    axis = keras_sam.plots.average_sharpness(results)
    assert axis.lines[0].get_xdata().tolist() == [0.1, 0.2]


def test_products_are_compiled_once():
    x, y = dense.label_data()
    objective = dense.objective(network(), x, y)
    calls = []
    evaluate = objective._evaluate
    objective._evaluate = lambda *a: calls.append(1) or evaluate(*a)
    curvature = sharpness.Curvature(objective)
    direction = np.ones(objective.size, "float32")
    for _ in range(5):
        curvature.product(direction)
    if keras.backend.backend() != "torch":
        # Batches of 8 and, last, of 4 examples.
        assert len(calls) == 2


@pytest.mark.filterwarnings("ignore")  # Pytest stores all other warnings.
def test_products_leave_no_objects_behind():
    objective = dense.objective(network(), *dense.label_data())
    curvature = sharpness.Curvature(objective)
    direction = np.ones(objective.size, "float32")

    def count_after(num_products):
        for _ in range(num_products):
            curvature.product(direction)
        gc.collect()
        return len(gc.get_objects())

    start = count_after(5)
    # One object a product would be fifty.
    assert abs(count_after(50) - start) < 20
