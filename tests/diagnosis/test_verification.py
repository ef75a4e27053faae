"""`verify`: its numbers against NumPy, its errors, and no side effects."""

import dataclasses
import math
import warnings

import keras
import numpy as np
import pytest
from keras import layers

import keras_sam
from keras_sam import methods
from keras_sam import schedules
from tests import small_network
from tests.methods.table import ALONG_GRADIENTS
from tests.methods.table import METHODS
from tests.methods.table import WITH_CLEAN_PASS
from tests.reference import methods as formulas
from tests.reference.methods import At
from tests.small_network import EAGER
from tests.small_network import PROBLEM

RHO = 0.3

# Chains of about thirty float32 operations on numbers of order one.
CLOSE = {"rel": 30 * 2**-24, "abs": 30 * 2**-24}


def batch():
    return small_network.examples(6)


def expected(formula, rho, ascent_fraction=1.0, chosen=None):
    """Return the expected report, by the formulas in NumPy."""
    x, y, sample_weight = (a.astype("float64") for a in batch())
    whole = [x, y[:, 0], sample_weight]
    leading = [a[: math.ceil(ascent_fraction * 6)] for a in whole]
    weight = small_network.flat(small_network.network().get_weights())
    chosen = np.ones(weight.shape, bool) if chosen is None else chosen
    gradients = []

    def gradient(w, held=None):
        gradients.append(PROBLEM.gradient(w, *whole, held=held))
        return gradients[-1]

    at = At(
        weight,
        rho,
        chosen,
        PROBLEM.is_matrix,
        formula.start(weight.size),
        None,
        PROBLEM.gradient(weight, *leading),
        gradient,
    )
    e = formula.two_passes(at).e
    g, h = at.g[chosen], gradients[-1][chosen]
    norm = np.linalg.norm
    bounds = np.cumsum([3 * 4, 4, 4])
    parts = zip(
        ("hidden/kernel", "hidden/bias", "output/kernel", "output/bias"),
        np.split(e, bounds),
        np.split(weight, bounds),
    )
    return keras_sam.Verification(
        rho=rho,
        loss=PROBLEM.loss(weight, *leading),
        perturbed_loss=PROBLEM.loss(weight + e, *leading),
        perturbation_norm=norm(e),
        relative_sizes={
            path: norm(a) / norm(b) for path, a, b in parts if np.any(a)
        },
        angle=math.degrees(math.acos(g @ h / norm(g) / norm(h))),
        num_perturbed=chosen.sum(),
        num_weights=weight.size,
    )


def assert_reports(report, expected):
    actual, expected_fields = (
        dataclasses.asdict(r) for r in (report, expected)
    )
    angles = [math.radians(d.pop("angle")) for d in (actual, expected_fields)]
    assert angles[0] == pytest.approx(angles[1], **CLOSE)
    for name, value in expected_fields.items():
        assert actual[name] == pytest.approx(value, **CLOSE)
    assert report.rise == pytest.approx(expected.rise, **CLOSE)


@pytest.mark.parametrize("name", WITH_CLEAN_PASS)
def test_report_is_that_of_the_formulas(name):
    report = keras_sam.verify(small_network.of_method(name), *batch())
    row = METHODS[name]
    assert_reports(report, expected(row.formula, row.rho))


@pytest.mark.parametrize("ascent_fraction", [0.5, 0.4])
def test_losses_are_those_of_the_examples_of_the_ascent(ascent_fraction):
    model = small_network.compiled(rho=RHO, ascent_fraction=ascent_fraction)
    report = keras_sam.verify(model, *batch())
    assert_reports(report, expected(formulas.sam(), RHO, ascent_fraction))


@pytest.mark.parametrize("name", ["sam", "gsam"])
def test_only_perturbed_variables_are_reported(name):
    model = small_network.of_method(name, perturb="no_norm_no_bias")
    report = keras_sam.verify(model, *batch())
    row = METHODS[name]
    chosen = PROBLEM.is_matrix
    assert_reports(report, expected(row.formula, row.rho, chosen=chosen))


def test_schedule_counts_at_the_present_step():
    schedule = schedules.LatePhase(3, RHO)
    model = small_network.compiled(rho=schedule)
    with pytest.raises(
        ValueError, match=r"`rho` is 0 at iteration 0.*LatePhase"
    ):
        keras_sam.verify(model, *batch())
    model.optimizer.iterations.assign(3)
    report = keras_sam.verify(model, *batch())
    assert_reports(report, expected(formulas.sam(), RHO))


def test_a_method_of_one_pass_is_reported_with_both_losses():
    model = small_network.compiled(method="momentum_sam", rho=RHO)
    x, y, sample_weight = batch()
    with pytest.raises(
        ValueError, match="for a method with momentum: its state"
    ):
        keras_sam.verify(model, x, y, sample_weight)
    before = small_network.flat(model.get_weights())
    model.train_on_batch(x, y, sample_weight)
    weight = small_network.flat(model.get_weights())
    # The first step of SGD is along the momentum, and so is e.
    e = RHO * (weight - before) / np.linalg.norm(weight - before)
    data = [a.astype("float64") for a in (x, y[:, 0], sample_weight)]
    report = keras_sam.verify(model, x, y, sample_weight)
    # Differences of weights of order one, about 0.1 long.
    close = {"rel": 1e-5, "abs": 1e-5}
    loss, perturbed = (PROBLEM.loss(w, *data) for w in (weight, weight + e))
    assert report.loss == pytest.approx(loss, **close)
    assert report.perturbed_loss == pytest.approx(perturbed, **close)
    assert report.perturbation_norm == pytest.approx(RHO, **close)
    assert math.isnan(report.angle)
    assert "nan" in str(report)


def random_model(method, optimizer):
    """Return a model with statistics, seeds, metrics and method state."""
    inputs = keras.Input((3,))
    hidden = layers.BatchNormalization()(layers.Dense(4)(inputs))
    hidden = layers.Dropout(0.5)(layers.ReLU()(hidden))
    model = keras_sam.SAMModel(
        inputs, layers.Dense(1)(hidden), method=method, rho=RHO
    )
    model.compile(optimizer, "mse", metrics=["mae"], **EAGER)
    return model


def all_state(model):
    return small_network.values([
        *model.variables,
        *model.optimizer.variables,
        *model.metrics_variables,
        keras.src.random.seed_generator.global_seed_generator().state,
    ])


@pytest.mark.parametrize("name", METHODS)
def test_verify_changes_nothing(name):
    x, y, sample_weight = batch()
    model = random_model(METHODS[name].method, keras.optimizers.Adam())
    model.train_on_batch(x, y, sample_weight)
    before = all_state(model)
    first = keras_sam.verify(model, x, y, sample_weight)
    small_network.assert_same(all_state(model), before)
    # The second call therefore draws the same dropout masks.
    assert str(keras_sam.verify(model, x, y, sample_weight)) == str(first)


def test_verify_before_the_first_step_changes_no_later_step():
    x, y, _ = batch()
    models = [small_network.compiled(method="vasso") for _ in range(2)]
    keras_sam.verify(models[0], x, y)
    for model in models:
        model.train_on_batch(x, y)
    small_network.assert_same(*(m.get_weights() for m in models))


def test_sharpness_in_the_logs_is_the_rise():
    x, y, sample_weight = batch()
    model = small_network.compiled(rho=RHO)
    report = keras_sam.verify(model, x, y, sample_weight)
    logs = model.train_on_batch(x, y, sample_weight, return_dict=True)
    assert logs["sharpness"] == pytest.approx(report.rise, rel=1e-6)
    assert logs["loss"] == pytest.approx(report.loss, rel=1e-6)


def test_nested_inputs_and_several_outputs_are_accepted():
    inputs = {n: keras.Input((k,), name=n) for n, k in [("a", 3), ("b", 2)]}
    both = layers.Concatenate()([inputs["a"], inputs["b"]])
    outputs = [layers.Dense(1)(both), layers.Dense(2)(both)]
    model = keras_sam.SAMModel(inputs, outputs)
    model.compile("sgd", ["mse", "mae"])
    x = {"a": np.ones((4, 3)), "b": np.ones((4, 2))}
    report = keras_sam.verify(model, x, [np.ones((4, 1)), np.ones((4, 2))])
    assert report.rise > 0
    assert len(report.relative_sizes) == 4


def test_report_prints_as_a_table():
    lines = str(
        keras_sam.Verification(
            rho=0.05,
            loss=2.0,
            perturbed_loss=2.5,
            perturbation_norm=0.05,
            relative_sizes={"dense/kernel": 0.0125, "dense/bias": math.inf},
            angle=12.345,
            num_perturbed=10,
            num_weights=12,
        )
    ).splitlines()
    assert lines == [
        "rho                    0.05",
        "perturbed weights      10 of 12",
        "loss at w              2",
        "loss at w + e          2.5 (+25.00%)",
        "norm of e              0.05",
        "angle between g and h  12.35 degrees",
        "norm of e / norm of w  by variable:",
        "  dense/kernel  0.0125",
        "  dense/bias    inf",
    ]


def test_weights_of_zero_have_an_infinite_relative_size():
    model = small_network.compiled(rho=RHO)
    weights = model.get_weights()
    model.set_weights([*weights[:3], np.zeros(1)])
    report = keras_sam.verify(model, *batch())
    assert report.relative_sizes["output/bias"] == math.inf


def negative_schedule():
    return keras.optimizers.schedules.PolynomialDecay(-0.1, 5, -0.1)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"rho": 0.0}, "`rho` is 0 at iteration 0.*Received: rho=0.0"),
        ({"rho": negative_schedule()}, "`rho` is -0.1 at iteration 0"),
        ({"rho": 1e-9}, "SAM has no effect.*rounding.*Received: rho=1e-09"),
    ],
)
def test_step_without_an_effect_is_refused(settings, message):
    model = small_network.compiled(**settings)
    with pytest.raises(ValueError, match=message):
        keras_sam.verify(model, *batch())


@pytest.mark.parametrize("name", ALONG_GRADIENTS)
def test_zero_gradient_is_refused(name):
    model = small_network.compiled(method=METHODS[name].method, rho=RHO)
    x, y, _ = batch()
    with pytest.raises(ValueError, match="the perturbation is zero, because"):
        keras_sam.verify(model, x, y, np.zeros(6))


def test_loss_that_does_not_depend_on_perturbed_weights_is_refused():
    inputs = keras.Input((3,))
    hidden = layers.Dense(2, name="used")(inputs)
    layers.Dense(2, name="unused")(inputs)
    outputs = layers.Dense(1)(hidden) + 0 * layers.Dense(1, name="cut")(inputs)
    model = keras_sam.SAMModel(
        inputs, outputs, perturb=lambda variable: "cut" in variable.path
    )
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="does not depend on the perturbed"):
        keras_sam.verify(model, *batch())


def test_infinite_gradient_is_refused():
    model = small_network.compiled(rho=RHO)
    x, y, _ = batch()
    with pytest.raises(ValueError, match="gradient at w is not finite"):
        keras_sam.verify(model, np.inf * x, y)


def test_model_that_is_not_compiled_is_refused():
    with pytest.raises(ValueError, match=r"call `model.compile\(\)` first"):
        keras_sam.verify(small_network.network(), *batch())


def test_plain_model_is_refused():
    model = small_network.network(keras.Model)
    model.compile("sgd", "mse")
    with pytest.raises(
        TypeError, match=r"must be a `SAMModel`: .* Received: .*Fun"
    ):
        keras_sam.verify(model, *batch())
    with pytest.raises(TypeError, match="must be a `SAMModel`"):
        keras_sam.verify(methods.SAM(), *batch())


class OwnNoise(layers.Layer):
    """Draws numbers that no pass can repeat."""

    def __init__(self):
        super().__init__()
        self.generator = np.random.default_rng(0)

    def call(self, inputs):
        return inputs + self.generator.normal()


def test_draws_that_cannot_be_repeated_are_reported_as_noise():
    x, y, _ = batch()
    inputs = keras.Input((3,))
    model = keras_sam.SAMModel(inputs, layers.Dense(1)(OwnNoise()(inputs)))
    model.compile("sgd", "mse", run_eagerly=True)
    found = keras_sam.verify(model, x, y)
    assert found.noise > 1e-3 * found.loss
    assert "layers draw random numbers outside Keras" in str(found)


def test_draws_of_keras_are_no_noise():
    x, y, _ = batch()
    inputs = keras.Input((3,))
    outputs = layers.Dense(1)(layers.GaussianNoise(1.0)(inputs))
    model = keras_sam.SAMModel(inputs, outputs)
    model.compile("sgd", "mse", run_eagerly=True)
    found = keras_sam.verify(model, x, y)
    assert found.noise == 0
    assert "draw" not in str(found)


@pytest.mark.parametrize("policy", ["bfloat16", "mixed_bfloat16"])
def test_rounding_of_the_perturbation_is_reported(policy):
    # With w = 1 and one feature of 1, e = (rho). The numbers of bfloat16 after
    # 1 are 2^-7 apart: 1 + 2^-7 + 2^-9 is rounded to 1 + 2^-7, four fifths.
    rho = 2**-7 + 2**-9
    keras.config.set_dtype_policy(policy)
    inputs = keras.Input((1,))
    outputs = layers.Dense(1, use_bias=False, kernel_initializer="ones")(inputs)
    model = keras_sam.SAMModel(inputs, outputs, rho=rho)
    model.compile("sgd", "mse", run_eagerly=True)
    x, y = np.ones((1, 1)), np.zeros((1, 1))
    is_low = policy == "bfloat16"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = keras_sam.verify(model, x, y)
    warned = [w for w in caught if "The weights are bfloat16" in str(w.message)]
    assert len(warned) == is_low
    assert ("left of e" in str(found)) == is_low
    # Exact in bfloat16; in float32 to its rounding.
    expected = 0.8 if is_low else 1.0
    assert found.left_after_rounding == pytest.approx(expected, rel=2**-15)
