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
        (result.rho, 0),
        xycoords=("data", "axes fraction"),
        xytext=(4, 6),
        textcoords="offset points",
        color="#d1661a",
    )
    axis.set_xscale("log", base=2)
    axis.set_xticks(result.rhos, [f"{rho:.3g}" for rho in result.rhos])
    axis.set_yscale("log" if min(rises) > 0 else "linear")
    axis.set_xlabel("rho")
    axis.set_ylabel("rise of the loss at w + e, %")
    axis.set_title(f"{result.method}, loss at w {result.loss:.4g}")
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
