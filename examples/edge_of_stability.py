r"""SAM's edge of stability: the curvature at which full-batch training settles.

    python examples/edge_of_stability.py
    python examples/edge_of_stability.py --report      # table and plot only
    python examples/edge_of_stability.py --smoke       # a few steps

With gradient descent of step size eta, the largest eigenvalue of the Hessian
increases to 2 / eta and stays there: above 2 / eta, each step overshoots the
minimum by more than its distance before (Cohen et al., 2021, arXiv 2103.00065).
With SAM on the whole batch it stays at a lower value,

    lambda = ||g|| / (2 rho) * (sqrt(1 + 8 rho / (eta ||g||)) - 1)

where g is the gradient (Long and Bartlett, 2024, arXiv 2309.12488, section 3).
Neither prediction has a free parameter, so that the plot checks both the step
and the eigenvalue.

All 1,797 digits of scikit-learn, each pixel scaled to mean 0 and deviation 1, a
network of two layers of 64 with tanh, mean squared error of the ten outputs,
eta 2, 2,000 steps, one seed; eigenvalue and gradient after every 25 steps.
Prints their means over the last half of the steps and writes
`edge_of_stability.png`. The curves are in `records/edge_of_stability.json`.

Takes about 7 minutes on two CPU cores that are not idle. Expected: within 10 %
of the prediction, and for rho 0.02 and above at least 25 % below 2 / eta.
Results: see `README.md` in this folder.
"""

import argparse
import json
import os
import shlex
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from frontier import mean_and_range
from rich.progress import track

import keras_sam
from keras_sam import sharpness
from keras_sam.experiments import tables
from keras_sam.experiments.memory import keep_freed_memory

ETA = 2.0
RADII = (0.0, 0.02, 0.05, 0.1)
EVERY = 25  # Odd: at the edge, steps alternate between two sides.
COLORS = ("#d1661a", "#8fc1e3", "#1f6fb2", "#12395b")


def load_data():
    """Return all digits, standardized, and their classes as unit vectors."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    deviation = digits.data.std(0)
    x = (digits.data - digits.data.mean(0)) / np.where(deviation, deviation, 1)
    return x.astype("float32"), np.eye(10, dtype="float32")[digits.target]


def predicted(rho, norm):
    """Return the eigenvalue at which a step is at the edge of stability."""
    # On a parabola with g = lambda x, a step is eta lambda (x + rho) and ends
    # at -x if eta lambda (||g|| / lambda + rho) = 2 ||g|| / lambda: a quadratic
    # equation, whose positive root is the formula above.
    if rho == 0:
        return np.full_like(norm, 2 / ETA)
    return norm / (2 * rho) * (np.sqrt(1 + 8 * rho / (ETA * norm)) - 1)


def train(rho, data, num_steps):
    """Return rows of step, eigenvalue and norm of the gradient."""
    keras.utils.set_random_seed(0)
    inputs = x = keras.Input((64,))
    for _ in range(2):
        x = keras.layers.Dense(64, activation="tanh")(x)
    model = keras_sam.SAMModel(inputs, keras.layers.Dense(10)(x), rho=rho)
    model.compile(keras.optimizers.SGD(ETA), "mse")
    objective = sharpness.Objective(model, *data, batch_size=len(data[0]))
    rows = []
    for step in track(range(1, num_steps + 1), f"rho {rho}"):
        model.train_on_batch(*data)
        if step % EVERY == 0:
            objective.refresh()
            top = sharpness.hessian_eigenvalues(objective, k=1, verbose=0)
            [(batch, _)] = objective.batches
            _, gradient = objective.loss_and_gradient(objective.weights, batch)
            norm = np.linalg.norm(gradient)
            rows.append([step, float(top.eigenvalues[0]), float(norm)])
    return rows


def report(curves):
    """Print the means over the last half of the steps."""
    rows = []
    for rho, curve in curves.items():
        _, values, norms = np.array(curve[len(curve) // 2 :]).T
        edge = predicted(float(rho), norms).mean()
        rows.append((
            rho,
            mean_and_range(values.tolist(), ".3f"),
            f"{edge:.3f}",
            f"{values.mean() / edge:.2f}",
            f"{values.mean() * ETA / 2:.2f}",
        ))
    header = ("rho", "largest eigenvalue", "predicted", "ratio", "to 2 / eta")
    print("Means (lowest to highest) over the last half of the steps")
    print(tables.render(header, rows))


def draw(curves, output):
    """Draw eigenvalues over steps, solid, and predictions, dashed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axis = figure.subplots()
    for (rho, curve), color in zip(curves.items(), COLORS):
        steps, values, norms = np.array(curve).T
        name = f"SAM, rho {rho}" if float(rho) else "gradient descent"
        axis.plot(steps, values, color=color, label=name)
        axis.plot(steps, predicted(float(rho), norms), "--", color=color)
    axis.plot([], [], "--", color="black", label="predicted edge")
    axis.set_xlabel("step")
    axis.set_ylabel("largest eigenvalue of the Hessian")
    axis.set_ylim(0)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, loc="lower center", ncols=2)
    figure.savefig(output, dpi=110)


def main():
    """Train, report, write the plot."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--report", action="store_true", help="train nothing")
    parser.add_argument("--smoke", action="store_true", help="a few steps")
    name = "edge_of_stability"
    file = Path(__file__).parent / "records" / f"{name}.json"
    parser.add_argument("--records", type=Path, default=file)
    parser.add_argument("--output", type=Path, default=Path(f"{name}.png"))
    arguments = parser.parse_args()
    if not arguments.report:
        keep_freed_memory()
        steps = 2 * EVERY if arguments.smoke else arguments.steps
        data = load_data()
        record = {
            "command": shlex.join(["python", *sys.argv]),
            "eta": ETA,
            "versions": {
                "keras": keras.__version__,
                "backend": keras.backend.backend(),
                "keras_sam": keras_sam.__version__,
            },
            "columns": ["step", "largest eigenvalue", "norm of the gradient"],
            "curves": {str(rho): train(rho, data, steps) for rho in RADII},
        }
        arguments.records.write_text(json.dumps(record) + "\n")
    curves = json.loads(arguments.records.read_text())["curves"]
    report(curves)
    draw(curves, arguments.output)


if __name__ == "__main__":
    main()
