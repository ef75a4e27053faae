r"""Sharpness of the minima with and without SAM in the quickstart.

    python examples/measure_sharpness.py

Trains the network of `quickstart.py` on digits of which 40 % have new labels,
with and without SAM, one seed each, and measures both minima with
`keras_sam.sharpness` on the noisy training digits: the largest eigenvalue of
the Hessian, its ratio to the fifth, the trace, and the worst-case sharpness at
three radii. Prints a table and writes `measure_sharpness.png`, the loss around
both minima on one scale.

Expected: every measure lower with SAM, and the loss higher, because without SAM
the network memorizes the wrong labels. Figures: `README.md` in this folder.

Takes about half a minute on two CPU cores that are idle.
"""

import argparse
import os
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import quickstart
from rich.console import Console
from rich.progress import track
from rich.table import Table

from keras_sam import plots
from keras_sam import sharpness

RADII = (0.05, 0.25, 0.5)


def train(epochs: int, seed: int) -> tuple[Any, dict[str, Any]]:
    """Return the data and the `quickstart.Run` of each method."""
    data = quickstart.load_data(seed)
    runs = {
        method: quickstart.train(method, data, seed, epochs)
        for method in track(quickstart.METHODS, "Training")
    }
    return data, runs


def measure(model: keras.Model, data: Any) -> dict[str, str]:
    """Return the measures of one minimum as text, by name."""
    objective = sharpness.Objective(
        model, data.x_train, data.y_train, batch_size=512
    )
    eigenvalues = sharpness.hessian_eigenvalues(objective)
    trace = sharpness.hessian_trace(objective)
    measures = {
        "loss": f"{objective.value:.3g}",
        "largest eigenvalue": f"{eigenvalues.eigenvalues[0]:.3g}",
        "its ratio to the fifth": f"{eigenvalues.ratio:.3g}",
        "trace": f"{trace.trace:.4g} ± {trace.standard_error:.2g}",
    }
    batches = sharpness.Objective(model, data.x_train, data.y_train)
    for rho in RADII:
        worst = sharpness.worst_case_sharpness(batches, rho=rho)
        measures[f"worst-case sharpness at {rho}"] = f"{worst.sharpness:.3g}"
    return measures


def draw(runs: dict[str, Any], data: Any, num_points: int, path: Path) -> None:
    """Write the plot of the loss around both minima."""
    from matplotlib.figure import Figure

    surfaces = {
        method: sharpness.loss_surface(
            run.model,
            data.x_train,
            data.y_train,
            num_points=num_points,
            batch_size=2048,
        )
        for method, run in runs.items()
    }
    highest = max(surface.losses.max() for surface in surfaces.values())
    lowest = min(surface.losses.min() for surface in surfaces.values())
    levels = np.linspace(lowest, highest, 25)
    figure = Figure(figsize=(11, 4.5), layout="tight")
    for axis, (method, surface) in zip(figure.subplots(1, 2), surfaces.items()):
        plots.loss_surface(surface, axis, levels=levels)
        axis.set_title(method)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Train, measure, print the table, write the plot."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--output", type=Path, default=Path("measure_sharpness.png")
    )
    parser.add_argument("--smoke", action="store_true", help="one epoch, tiny")
    arguments = parser.parse_args()
    if arguments.smoke:
        arguments.epochs = 1
    started = time.perf_counter()
    data, runs = train(arguments.epochs, arguments.seed)
    if arguments.smoke:
        data = quickstart.Data(*(part[:64] for part in vars(data).values()))
    columns = {
        method: {
            "clean test accuracy": f"{100 * run.test_accuracy[-1]:.1f} %",
            **measure(run.model, data),
        }
        for method, run in runs.items()
    }
    title = f"{len(data.x_train)} training digits"
    table = Table("measure", *columns, title=title)
    for name in columns[quickstart.METHODS[0]]:
        table.add_row(name, *(column[name] for column in columns.values()))
    console = Console(width=100)
    console.print(table)
    draw(runs, data, 3 if arguments.smoke else 21, arguments.output)
    seconds = time.perf_counter() - started
    console.print(f"Wrote {arguments.output} after {seconds:.0f} s.")


if __name__ == "__main__":
    main()
