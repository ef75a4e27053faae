"""Plots: each function takes a result and an axis, and returns the axis.

A result is any object with the attributes that are drawn: this module does not
import the classes of `keras_sam.sharpness` and `keras_sam.suggest_rho`. Without
an axis, matplotlib makes one; if it is not installed, `ImportError` is raised.
"""

import math
from collections.abc import Sequence
from typing import Any

__all__ = [
    "average_sharpness",
    "draw",
    "hessian_eigenvalues",
    "hessian_trace",
    "loss_line",
    "loss_surface",
    "rho_ladder",
    "spectral_density",
    "verification",
    "worst_case_sharpness",
]

BLUE = "#1f6fb2"
ORANGE = "#d1661a"


def rho_ladder(result: Any, axis: Any = None) -> Any:
    """Draw the rise of the loss over the radius, and the suggestion.

    Args:
        result: A result of `suggest_rho`.
        axis: A matplotlib `Axes`; a new one by default.

    Returns:
        The axis.

    Example, with the model of `keras_sam.sharpness`:

    >>> model = keras_sam.SAMModel.from_model(model)
    >>> model.compile("sgd", "mse")
    >>> result = keras_sam.suggest_rho(model, x, y + 1)
    >>> axis = keras_sam.plots.rho_ladder(result)
    >>> axis.get_title()
    'SAM, loss at w 1'
    """
    axis = _axis(axis)
    rises = [100 * rise for rise in result.rises]
    axis.plot(result.rhos, rises, "o-", color=BLUE)
    axis.axvline(result.rho, color=ORANGE, linewidth=1, linestyle="--")
    axis.annotate(
        f"suggested: {result.rho:.4g}",
        (result.rho, 0),
        xycoords=("data", "axes fraction"),
        xytext=(4, 6),
        textcoords="offset points",
        color=ORANGE,
    )
    axis.set_xscale("log", base=2)
    labels = [f"{rho:.3g}" for rho in result.rhos]
    axis.set_xticks(result.rhos, labels, rotation=45)
    axis.set_yscale("log" if min(rises) > 0 else "linear")
    axis.set_xlabel("rho")
    axis.set_ylabel("rise of the loss at w + e, %")
    axis.set_title(f"{result.method}, loss at w {result.loss:.4g}")
    return axis


def verification(result: Any, axis: Any = None) -> Any:
    """Draw how far each variable moves, relative to its norm.

    Variables of zeros, which move infinitely far, have a bar without an end.

    Args:
        result: What `verify` returned.
        axis: A matplotlib `Axes`; a new one by default.

    Returns:
        The axis.

    Example, with the model of `keras_sam.sharpness`:

    >>> model = keras_sam.SAMModel.from_model(model)
    >>> model.compile("sgd", "mse")
    >>> result = keras_sam.verify(model, x, y + 1)
    >>> axis = keras_sam.plots.verification(result)
    >>> axis.get_title()
    'rho 0.05: loss 1+0.0976'

    Raises:
        ImportError: If matplotlib is not installed.
    """
    axis = _axis(axis)
    sizes = result.relative_sizes
    finite = [size for size in sizes.values() if 0 < size < math.inf]
    longest = 10 * max(finite, default=1.0)
    bars = [min(size, longest) for size in sizes.values()]
    colors = [BLUE if size < math.inf else "silver" for size in sizes.values()]
    axis.barh(range(len(sizes)), bars, color=colors)
    axis.set_yticks(range(len(sizes)), sizes, fontsize="small")
    axis.invert_yaxis()
    axis.set_xscale("log")
    axis.set_xlim(min(finite, default=1.0) / 10, longest)
    axis.set_xlabel("norm of e / norm of w")
    rise = result.perturbed_loss - result.loss
    axis.set_title(f"rho {result.rho:.4g}: loss {result.loss:.4g}{rise:+.3g}")
    return axis


def hessian_eigenvalues(result: Any, axis: Any = None) -> Any:
    """Draw eigenvalues, with their residuals as error bars.

    Args:
        result: A result of `keras_sam.sharpness.hessian_eigenvalues`.
        axis: A matplotlib `Axes`; a new one by default.

    Returns:
        The axis.

    Example, with the model of `keras_sam.sharpness`:

    >>> result = sharpness.hessian_eigenvalues(model, x, y, k=2)
    >>> axis = keras_sam.plots.hessian_eigenvalues(result)
    >>> axis.get_title()
    'Hessian, loss 0'
    """
    axis = _axis(axis)
    ranks = range(1, len(result.eigenvalues) + 1)
    axis.errorbar(
        ranks, result.eigenvalues, result.residuals, fmt="o", color=BLUE
    )
    axis.axhline(0, color="gray", linewidth=0.8)
    axis.set_xticks(ranks)
    axis.set_xlabel("number")
    axis.set_ylabel("eigenvalue")
    axis.set_title(_matrix(result))
    return axis


def hessian_trace(result: Any, axis: Any = None) -> Any:
    """Draw a trace with its standard error.

    Args:
        result: A result of `keras_sam.sharpness.hessian_trace`.
        axis: A matplotlib `Axes`; a new one by default.

    Returns:
        The axis.

    Example, with the model of `keras_sam.sharpness`:

    >>> result = sharpness.hessian_trace(model, x, y)
    >>> axis = keras_sam.plots.hessian_trace(result)
    >>> axis.get_ylabel()
    'trace'
    """
    axis = _axis(axis)
    axis.errorbar(
        [0], [result.trace], [result.standard_error], fmt="o", color=BLUE
    )
    axis.set_xticks([])
    axis.set_ylabel("trace")
    axis.set_title(_matrix(result))
    return axis


def spectral_density(result: Any, axis: Any = None) -> Any:
    """Draw a density on a logarithmic scale, with its standard error.

    Args:
        result: A result of `keras_sam.sharpness.spectral_density`.
        axis: A matplotlib `Axes`; a new one by default.

    Returns:
        The axis.

    Example, with the model of `keras_sam.sharpness`:

    >>> result = sharpness.spectral_density(model, x, y)
    >>> axis = keras_sam.plots.spectral_density(result)
    >>> axis.get_xlabel(), axis.get_yscale()
    ('eigenvalue', 'log')
    """
    axis = _axis(axis)
    density, error = result.density, result.standard_error
    # One eigenvalue has a peak of 0.4 / (num_weights * width); a thousandth of
    # that is the floor of the logarithmic scale.
    least = 1e-3 / (result.num_weights * result.width)
    axis.fill_between(
        result.grid,
        (density - error).clip(min=least),
        (density + error).clip(min=least),
        color=BLUE,
        alpha=0.25,
        linewidth=0,
    )
    axis.plot(result.grid, density.clip(min=least), color=BLUE)
    axis.set_yscale("log")
    axis.set_xlabel("eigenvalue")
    axis.set_ylabel("density")
    axis.set_title(_matrix(result))
    return axis


def worst_case_sharpness(results: Any, axis: Any = None) -> Any:
    """Draw the rise of the loss over the radius.

    Args:
        results: A result of `keras_sam.sharpness.worst_case_sharpness`, or a
            list of results for several radii.
        axis: A matplotlib `Axes`; a new one by default.

    Returns:
        The axis.

    Example, with the model of `keras_sam.sharpness`:

    >>> results = [
    ...     sharpness.worst_case_sharpness(model, x, y + 1, rho=rho)
    ...     for rho in (0.25, 0.5)
    ... ]
    >>> axis = keras_sam.plots.worst_case_sharpness(results)
    >>> [line.get_label() for line in axis.get_lines()]
    ['highest found', 'one step of SAM']
    """
    axis = _axis(axis)
    results = _sorted(results)
    rhos = [result.rho for result in results]
    rises = [result.sharpness for result in results]
    steps = [result.one_step for result in results]
    axis.plot(rhos, rises, "o-", color=BLUE, label="highest found")
    axis.plot(rhos, steps, "s--", color=ORANGE, label="one step of SAM")
    axis.set_xlabel("rho")
    axis.set_ylabel("rise of the loss")
    axis.legend(frameon=False)
    return axis


def average_sharpness(results: Any, axis: Any = None) -> Any:
    """Draw the mean rise of the loss over the radius, with standard errors.

    Args:
        results: A result of `keras_sam.sharpness.average_sharpness`, or a list
            of results for several radii.
        axis: A matplotlib `Axes`; a new one by default.

    Returns:
        The axis.

    Example, with the model of `keras_sam.sharpness`:

    >>> results = [
    ...     sharpness.average_sharpness(model, x, y, rho=rho)
    ...     for rho in (0.25, 0.5)
    ... ]
    >>> axis = keras_sam.plots.average_sharpness(results)
    >>> axis.get_ylabel()
    'mean rise of the loss'
    """
    axis = _axis(axis)
    results = _sorted(results)
    axis.errorbar(
        [result.rho for result in results],
        [result.sharpness for result in results],
        [result.standard_error for result in results],
        fmt="o-",
        color=BLUE,
        capsize=3,
    )
    axis.set_xlabel("rho")
    axis.set_ylabel("mean rise of the loss")
    return axis


def loss_line(result: Any, axis: Any = None) -> Any:
    """Draw the loss along a line.

    Args:
        result: A result of `keras_sam.sharpness.loss_line`.
        axis: A matplotlib `Axes`; a new one by default.

    Returns:
        The axis.

    Example, with the model of `keras_sam.sharpness`:

    >>> result = sharpness.loss_line(model, x, y, num_points=11)
    >>> axis = keras_sam.plots.loss_line(result)
    >>> axis.get_xlabel()
    'position, in units of 1.73'
    """
    axis = _axis(axis)
    axis.plot(result.positions, result.losses, color=BLUE)
    axis.plot([0], [result.loss], "o", color=ORANGE)
    axis.set_xlabel(f"position, in units of {result.length:.3g}")
    axis.set_ylabel("loss")
    return axis


def loss_surface(result: Any, axis: Any = None, levels: Any = None) -> Any:
    """Draw the loss on a plane as contours, and the trajectory on it.

    Args:
        result: A result of `keras_sam.sharpness.loss_surface`.
        axis: A matplotlib `Axes`; a new one by default.
        levels: Increasing losses of the contours; the same levels give several
            surfaces one scale. By default 20, equally spaced.

    Returns:
        The axis.

    Example, with the model of `keras_sam.sharpness`:

    >>> result = sharpness.loss_surface(model, x, y, num_points=5)
    >>> axis = keras_sam.plots.loss_surface(result, levels=[0, 1, 2, 4])
    >>> axis.get_xlabel()
    'in units of 1.73'
    """
    axis = _axis(axis)
    drawn = axis.contourf(
        result.first,
        result.second,
        result.losses,
        levels=20 if levels is None else levels,
        cmap="viridis",
        extend="neither" if levels is None else "both",
    )
    axis.figure.colorbar(drawn, ax=axis, label="loss")
    if result.path is not None:
        axis.plot(*result.path.T, ".-", color=ORANGE, linewidth=1)
    axis.plot([0], [0], "o", color=ORANGE)
    axis.set_xlabel(_along(result, 0))
    axis.set_ylabel(_along(result, 1))
    return axis


def draw(result: Any, axis: Any = None) -> Any:
    """Draw a result of `keras_sam.sharpness` with the function for it.

    Args:
        result: Any of its results.
        axis: A matplotlib `Axes`; a new one by default.

    Returns:
        The axis.

    Example, with the model of `keras_sam.sharpness`:

    >>> axis = keras_sam.plots.draw(sharpness.hessian_trace(model, x, y))
    >>> axis.get_ylabel()
    'trace'
    """
    return result.plot(axis)


def _matrix(result: Any) -> str:
    return f"{result.matrix}, loss {result.loss:.4g}"


def _along(result: Any, number: int) -> str:
    if result.explained is None:
        return f"in units of {result.lengths[number]:.3g}"
    return f"{result.explained[number]:.0%} of the variance"


def _sorted(results: Any) -> list[Any]:
    several = results if isinstance(results, Sequence) else [results]
    return sorted(several, key=lambda result: result.rho)


def _axis(axis: Any) -> Any:
    if axis is not None:
        return axis
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError(
            "Plots need matplotlib: `pip install matplotlib`."
        ) from error
    return pyplot.subplots()[1]
