import keras
import matplotlib
import numpy as np
import pytest
from keras import layers

import keras_sam
from keras_sam import plots

matplotlib.use("Agg")


def linear_model(**arguments):
    """Least squares on one weight vector, with a rise in closed form."""
    inputs = keras.Input((3,))
    dense = layers.Dense(1, use_bias=False, kernel_initializer="ones")
    model = keras_sam.SAMModel(inputs, dense(inputs), **arguments)
    model.compile("sgd", "mse")
    return model


def data():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(20, 3)).astype("float32")
    return x, generator.normal(size=(20, 1)).astype("float32")


def loss(x, y, weights):
    return np.mean((x @ weights - y) ** 2)


def relative_rise(x, y, rho):
    weights = np.ones((3, 1))
    gradient = 2 * x.T @ (x @ weights - y) / len(x)
    perturbed = weights + rho * gradient / np.linalg.norm(gradient)
    return loss(x, y, perturbed) / loss(x, y, weights) - 1


def test_rises_and_sizes_are_those_of_least_squares():
    x, y = data()
    result = keras_sam.suggest_rho(linear_model(), x, y, rhos=[0.2, 0.05])
    assert result.rhos == (0.05, 0.2)
    expected = [relative_rise(x, y, rho) for rho in result.rhos]
    # A difference of two float32 losses of order one: some 1e-7 of them.
    np.testing.assert_allclose(result.rises, expected, atol=2e-6)
    sizes = [rho / np.sqrt(3) for rho in result.rhos]
    np.testing.assert_allclose(result.relative_sizes, sizes, rtol=1e-6)


def test_the_suggestion_is_the_largest_radius_with_a_rise_of_ten_per_cent():
    x, y = data()
    result = keras_sam.suggest_rho(linear_model(), x, y)
    below = [rho for rho in result.rhos if relative_rise(x, y, rho) <= 0.1]
    assert result.rho == max(below) < max(result.rhos)
    assert result.reason in str(result)
    assert str(result).count("<- suggested") == 1


def test_le_sam_with_the_budget_perturbs_by_about_the_suggested_radius():
    x, y = data()
    found = keras_sam.suggest_rho(linear_model(), x, y)
    assert f"LESAM: {found.budget:.3g}" in str(found)
    same = linear_model(method="le_sam", rho=found.budget)
    report = keras_sam.verify(same, x, y)
    gradient = 2 * x.T @ (x @ np.ones((3, 1)) - y) / len(x)
    rise = relative_rise(x, y, found.rho) * loss(x, y, np.ones((3, 1)))
    # A difference of two float32 losses is known to some 1e-7 of the losses.
    radius = pytest.approx(rise / np.linalg.norm(gradient), rel=1e-5)
    assert report.perturbation_norm == radius
    # The curvature, which the budget knows and LESAM does not, adds little.
    assert found.rho < report.perturbation_norm < 1.1 * found.rho
    own = keras_sam.suggest_rho(same, x, y, rhos=[found.budget])
    assert "LESAM:" not in str(own)


def test_the_ladder_starts_from_the_default_of_the_method():
    x, y = data()
    result = keras_sam.suggest_rho(linear_model(method="asam"), x, y)
    assert result.method == "ASAM"
    assert result.rhos[4] == 0.5
    assert len(result.rhos) == 9


def test_reason_says_if_all_radii_are_too_large_or_too_small():
    x, y = data()
    much = keras_sam.suggest_rho(linear_model(), x, y, rhos=[5.0, 50.0])
    assert much.rho == 5.0
    assert "try smaller ones" in much.reason
    little = keras_sam.suggest_rho(linear_model(), x, y, rhos=[1e-5, 1e-4])
    assert little.rho == 1e-4
    assert "try larger ones" in little.reason


@pytest.mark.parametrize(
    ("rho", "extent"), [(1e-5, "less than 0.1 %"), (50.0, "more than 100 %")]
)
def test_an_unsuitable_radius_of_the_model_gives_a_warning(rho, extent):
    x, y = data()
    with pytest.warns(UserWarning, match=extent):
        keras_sam.suggest_rho(linear_model(rho=rho), x, y, rhos=[0.05])


def test_nothing_is_changed():
    x, y = data()
    inputs = keras.Input((3,))
    hidden = layers.Dropout(0.5)(layers.BatchNormalization()(inputs))
    model = keras_sam.SAMModel(inputs, layers.Dense(1)(hidden))
    model.compile("adam", "mse")
    model.fit(x, y, verbose=0)
    variables = [*model.variables, *model.optimizer.variables]
    before = [variable.numpy() for variable in variables]
    keras_sam.suggest_rho(model, x, y)
    for variable, value in zip(variables, before):
        np.testing.assert_array_equal(variable.numpy(), value)


@pytest.mark.parametrize("rhos", [[], [0.0], [0.1, -1.0], [float("inf")]])
def test_bad_radii_are_refused(rhos):
    x, y = data()
    with pytest.raises(ValueError, match="`rhos` must "):
        keras_sam.suggest_rho(linear_model(), x, y, rhos=rhos)


def test_a_plain_model_is_refused():
    x, y = data()
    with pytest.raises(TypeError, match="`model` must be a `SAMModel`"):
        keras_sam.suggest_rho(keras.Sequential(), x, y)


def test_the_plot_shows_ladder_and_suggestion():
    from matplotlib import pyplot

    x, y = data()
    result = keras_sam.suggest_rho(linear_model(), x, y)
    axis = pyplot.subplots()[1]
    assert plots.rho_ladder(result, axis) is axis
    rhos, rises = axis.lines[0].get_data()
    np.testing.assert_array_equal(rhos, result.rhos)
    np.testing.assert_allclose(rises, 100 * np.array(result.rises))
    assert f"{result.rho:.4g}" in axis.texts[0].get_text()
    pyplot.close("all")
