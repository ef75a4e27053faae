"""Second derivatives where JAX has no forward mode."""

import pytest
from keras import layers

from tests.sharpness import dense
from tests.sharpness.test_closed_forms import with_slope


def test_gradient_of_a_layers_own_making_is_found_in_a_loop():
    """A loop is a program of its own inside the one that is differentiated.

    The sequences have length 1, so that the Hessian is that of a dense layer.
    """
    square = with_slope(lambda x: x**2, lambda x: 2 * x)
    cube = with_slope(lambda x: x**3, lambda x: 3 * square(x))
    x, y = dense.regression_data()
    model = dense.model(
        layers.Reshape((1, 3)),
        layers.SimpleRNN(1, use_bias=False, activation=cube),
        loss=lambda y, y_pred: y_pred,
        size=3,
    )
    found = dense.hessian(dense.objective(model, x, y))[:3, :3]
    weights = dense.weights_of(model)[:3]
    expected = 6 * x.T @ ((x @ weights)[:, None] * x) / 20
    assert found == pytest.approx(expected, abs=5e-6 * abs(expected).max())
