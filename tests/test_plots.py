"""The data of the plots of each result."""

from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot

from keras_sam import plots
from keras_sam import sharpness

COMMON = {
    "num_examples": 20,
    "num_weights": 4,
    "training": False,
    "loss": 2.0,
}


@pytest.fixture(autouse=True)
def _no_window():
    mpl.use("agg")
    yield
    pyplot.close("all")


def bars(axis):
    """Return the ends of the error bars."""
    segments = axis.containers[0].lines[2][0].get_segments()
    return np.array(segments)[:, :, 1]


def test_eigenvalues_have_their_residuals_as_bars():
    result = sharpness.HessianEigenvalues(
        eigenvalues=np.array([5.0, 3.0]),
        residuals=np.array([0.5, 0.25]),
        converged=np.array([True, False]),
        num_products=9,
        gauss_newton=True,
        **COMMON,
    )
    axis = result.plot()
    places, values = axis.containers[0].lines[0].get_data()
    assert (list(places), list(values)) == ([1, 2], [5, 3])
    assert bars(axis).tolist() == [[4.5, 5.5], [2.75, 3.25]]
    assert axis.get_title() == "Gauss-Newton matrix, loss 2"


def test_trace_has_its_standard_error_as_bar():
    result = sharpness.HessianTrace(
        trace=7.0,
        standard_error=0.5,
        converged=True,
        num_probes=10,
        gauss_newton=False,
        **COMMON,
    )
    axis = result.plot()
    assert bars(axis).tolist() == [[6.5, 7.5]]
    assert axis.get_title() == "Hessian, loss 2"


def test_density_has_its_standard_error_as_band():
    result = sharpness.SpectralDensity(
        grid=np.array([0.0, 1.0, 2.0]),
        density=np.array([0.0, 0.5, 0.25]),
        standard_error=np.array([0.0, 0.125, 0.25]),
        width=0.5,
        ritz_values=np.zeros((2, 1)),
        ritz_weights=np.ones((2, 1)),
        gauss_newton=False,
        **COMMON,
    )
    axis = result.plot()
    # A thousandth of one of four eigenvalues over its width.
    least = 1e-3 / (4 * 0.5)
    assert axis.lines[0].get_xdata() == pytest.approx([0, 1, 2])
    assert axis.lines[0].get_ydata() == pytest.approx([least, 0.5, 0.25])
    corners = axis.collections[0].get_paths()[0].vertices.tolist()
    for corner in ([1, 0.375], [1, 0.625], [2, least], [2, 0.5]):
        assert corner in corners
    assert axis.get_yscale() == "log"


def test_rise_is_drawn_over_the_radius_beside_that_of_one_step():
    results = [
        sharpness.WorstCaseSharpness(
            sharpness=3 * rho,
            one_step=rho,
            per_batch=np.array([3 * rho]),
            rho=rho,
            norm="l2",
            adaptive=False,
            steps=20,
            batch_size=20,
            **COMMON,
        )
        for rho in (0.5, 0.25)
    ]
    axis = plots.worst_case_sharpness(results)
    found = {line.get_label(): line.get_data() for line in axis.lines}
    assert [list(a) for a in found["highest found"]] == [
        [0.25, 0.5],
        [0.75, 1.5],
    ]
    assert [list(a) for a in found["one step of SAM"]] == [
        [0.25, 0.5],
        [0.25, 0.5],
    ]


def test_mean_rise_has_its_standard_error_as_bar():
    result = sharpness.AverageSharpness(
        sharpness=1.0,
        standard_error=0.25,
        rho=0.5,
        norm="l2",
        adaptive=False,
        num_draws=20,
        **COMMON,
    )
    axis = result.plot()
    assert axis.lines[0].get_xdata() == [0.5]
    assert bars(axis).tolist() == [[0.75, 1.25]]


@pytest.mark.parametrize("kind", [sharpness.LossLine, SimpleNamespace])
def test_line_goes_through_the_model(kind):
    """An object of any class with these attributes is drawn."""
    result = kind(
        positions=np.array([-1.0, 1.0]),
        losses=np.array([3.0, 4.0]),
        direction="random",
        length=0.5,
        **COMMON,
    )
    axis = plots.loss_line(result)
    line, model = (np.array(drawn.get_data()) for drawn in axis.lines)
    assert line.tolist() == [[-1, 1], [3, 4]]
    assert model.tolist() == [[0], [2]]
    assert axis.get_xlabel() == "position, in units of 0.5"


def surface(**arguments):
    """Return a plane on which the loss grows with the second position."""
    return sharpness.LossSurface(
        first=np.array([-1.0, 1.0]),
        second=np.array([-2.0, 2.0]),
        losses=np.array([[1.0, 1.0], [3.0, 3.0]]),
        lengths=np.array([0.5, 0.25]),
        **{"directions": "random", **arguments},
        **COMMON,
    )


def test_contour_is_where_the_loss_is():
    axis = plots.loss_surface(surface(), levels=[1.0, 2.0, 3.0])
    low = axis.collections[0].get_paths()
    # Below 1, from 1 to 2, from 2 to 3, above 3.
    assert len(low) == 4
    corners = low[1].vertices
    assert corners[:, 0].min() == -1 and corners[:, 0].max() == 1
    assert corners[:, 1].min() == -2 and corners[:, 1].max() == 0
    labels = axis.get_xlabel(), axis.get_ylabel()
    assert labels == ("in units of 0.5", "in units of 0.25")


def test_trajectory_is_drawn_on_its_plane():
    path = np.array([[0.5, -1.0], [0.25, 1.0], [0.0, 0.0]])
    result = surface(
        directions="trajectory", path=path, explained=np.array([0.5, 0.25])
    )
    axis = result.plot()
    assert np.transpose(axis.lines[0].get_data()).tolist() == path.tolist()
    labels = axis.get_xlabel(), axis.get_ylabel()
    assert labels == ("50% of the variance", "25% of the variance")
