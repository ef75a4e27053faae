"""Pictures: each function takes a result and an axis and returns the axis."""

from typing import Any

from keras_sam.suggestion import RhoSuggestion


def rho_ladder(result: RhoSuggestion, axis: Any = None) -> Any:
    """Draw how the loss rises with the radius, and the suggestion.

    Args:
        result: What `suggest_rho` returned.
        axis: A matplotlib `Axes`; a new one by default.

    Returns:
        The axis.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    axis = _axis(axis)
    rises = [100 * rise for rise in result.rises]
    axis.plot(result.rhos, rises, "o-", color="#1f6fb2")
    axis.axvline(result.rho, color="#d1661a", linewidth=1, linestyle="--")
    axis.annotate(
        f"suggested: {result.rho:.4g}",
        (result.rho, 1),
        xycoords=("data", "axes fraction"),
        xytext=(4, -12),
        textcoords="offset points",
        color="#d1661a",
    )
    axis.set_xscale("log", base=2)
    axis.set_yscale("symlog", linthresh=1)
    axis.set_xlabel("rho")
    axis.set_ylabel("rise of the loss at w + e, %")
    axis.set_title(result.method)
    return axis


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
