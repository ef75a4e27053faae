r"""The spectrum of the Hessian with and without SAM: figure 3 in miniature.

    python examples/figure_3.py                      # CIFAR-10 from TFDS
    python examples/figure_3.py --images FOLDER      # CIFAR-10 from strips
    python examples/figure_3.py --setting short
    python examples/figure_3.py --report             # table and picture again

Figure 3 of Foret et al. (2021) shows the spectrum of a WRN-40-10 without batch
normalization at three times of its training on CIFAR-10: at the end the largest
eigenvalue is 24.2 with SGD and 1.0 with SAM, its ratio to the fifth 11.4 and
2.6. Here it is a network that one core trains in a minute or two: four
convolutions of 16 to 64 channels without normalization, SGD with momentum 0.9,
learning rate 0.05 with cosine decay, batches of 128. Three settings:

- `short`: 5,000 images, horizontal flips, weight decay 5e-4, 40 epochs, SAM
  with rho 0.1. With SAM the training images are not fitted as well.
- `interpolated`: 1,000 images, neither flips nor weight decay, 150 epochs, SAM
  with rho 0.05. Both fit every training image. Chosen on another seed than
  those of the records, among radii of 0.05 to 0.2, weight decay of 0 and 5e-4,
  and batches of 128 and 32.
- `constant`: as `interpolated`, with rho 0.1 and without decay. Chosen before
  any run, and tried on another seed than those of the records. Seeds 5 to 14
  were added after the ratios of the first five had been seen, which left open
  whether the ratio at the end falls; seeds 15 to 54 test that, on them alone,
  with Wilcoxon's signed-rank test. Their number was fixed before.

The eigenvalues are those of the training loss on 1,000 of the training images,
unflipped, at three times of the training; the density is that at the end.

Each run, of one setting, method and seed, is one line of
`records/figure_3.jsonl`; what was stopped goes on where it was. A folder of
strips is described in `frontier.py`.

On two CPU cores, of which it uses one, a run of `constant` takes one to two
minutes. Results: see `README.md` in this folder.
"""

import argparse
import dataclasses
import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from frontier import cifar10
from keras import layers
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from scipy.stats import wilcoxon

import keras_sam
from keras_sam import sharpness

HERE = Path(__file__).parent
METHODS = ("SGD", "SAM")
SEEDS = (0, 1, 2)
COLORS = {"SGD": "#d1661a", "SAM": "#1f6fb2"}


@dataclasses.dataclass(frozen=True)
class Setting:
    """What is trained on, and how."""

    num_train: int
    flip: bool
    weight_decay: float | None
    rho: float
    epochs: int
    measured: tuple[int, ...]
    is_decayed: bool = True


SETTINGS = {
    "short": Setting(5000, True, 5e-4, 0.1, 40, (1, 10, 40)),
    "interpolated": Setting(1000, False, None, 0.05, 150, (1, 30, 150)),
    "constant": Setting(1000, False, None, 0.1, 150, (1, 30, 150), False),
}


class Eigenvalues(keras.callbacks.Callback):
    """Measures the five largest eigenvalues after some epochs."""

    def __init__(self, objective: sharpness.Objective, epochs: Any) -> None:
        super().__init__()
        self.objective = objective
        self.epochs = epochs
        self.found: dict[int, list[float]] = {}
        self.all_converged = True

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if epoch + 1 in self.epochs:
            self.objective.refresh()
            result = sharpness.hessian_eigenvalues(self.objective, verbose=0)
            self.found[epoch + 1] = result.eigenvalues.tolist()
            self.all_converged &= bool(result.converged.all())


def build(
    setting: Setting, rho: float, shape: tuple[int, ...], num_steps: int
) -> keras.Model:
    """Return the compiled network."""
    x = inputs = keras.Input(shape)
    if setting.flip:
        x = layers.RandomFlip("horizontal")(x)
    for channels, stride in ((16, 2), (32, 2), (32, 1), (64, 2)):
        x = layers.Conv2D(
            channels,
            3,
            stride,
            padding="same",
            activation="relu",
            kernel_initializer="he_normal",
        )(x)
    x = layers.GlobalAveragePooling2D()(x)
    model = keras_sam.SAMModel(inputs, layers.Dense(10)(x), rho=rho)
    rate = 0.05
    if setting.is_decayed:
        rate = keras.optimizers.schedules.CosineDecay(rate, num_steps)
    model.compile(
        keras.optimizers.SGD(
            rate,
            momentum=0.9,
            weight_decay=setting.weight_decay,
        ),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def run(name: str, method: str, seed: int, data: Any) -> dict[str, Any]:
    """Train and measure once, and return a record."""
    (x, y), test = data
    setting = SETTINGS[name]
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    epochs = setting.epochs
    rho = setting.rho if method == "SAM" else 0.0
    model = build(setting, rho, x.shape[1:], epochs * -(-len(x) // 128))
    objective = sharpness.Objective(model, x[:1000], y[:1000], batch_size=500)
    eigenvalues = Eigenvalues(objective, setting.measured)
    start = time.perf_counter()
    history = model.fit(
        keras_sam.data.Batches(x, y, 128, seed),
        shuffle=False,
        epochs=epochs,
        verbose=0,
        callbacks=[eigenvalues],
    ).history
    density = sharpness.spectral_density(
        objective, steps=30, num_probes=2, num_points=200, verbose=0
    )
    _, accuracy = model.evaluate(*test, batch_size=500, verbose=0)
    return {
        "setting": name,
        "method": method,
        "seed": seed,
        "eigenvalues": eigenvalues.found,
        "converged": eigenvalues.all_converged,
        "grid": np.round(density.grid, 4).tolist(),
        "density": np.round(density.density, 7).tolist(),
        "loss": history["loss"][-1],
        "train_accuracy": history["accuracy"][-1],
        "accuracy": accuracy,
        "seconds": time.perf_counter() - start,
        "num_train": len(x),
        "epochs": epochs,
        "keras": keras.__version__,
        "keras_sam": keras_sam.__version__,
    }


def read(records: Path) -> list[dict[str, Any]]:
    """Return the records of a file, none if there is no file."""
    if not records.exists():
        return []
    return [json.loads(line) for line in records.read_text().splitlines()]


def run_missing(
    records: Path, name: str, data: Any, seeds: tuple[int, ...]
) -> None:
    """Do every run that has no record yet."""
    done = {(r["setting"], r["method"], r["seed"]) for r in read(records)}
    missing = [
        (method, seed)
        for seed in seeds
        for method in METHODS
        if (name, method, seed) not in done
    ]
    with Progress() as progress:
        bar = progress.add_task("Training", total=len(missing))
        for method, seed in missing:
            record = run(name, method, seed, data)
            with records.open("a") as file:
                file.write(json.dumps(record) + "\n")
            progress.advance(bar)


def report(found: list[dict[str, Any]]) -> None:
    """Print the table."""
    table = Table(title="Mean (lowest to highest) over seeds")
    for column in ("method", "epoch", "largest eigenvalue", "ratio to the 5th"):
        table.add_column(column)
    for method in METHODS:
        mine = [r for r in found if r["method"] == method]
        for epoch in mine[0]["eigenvalues"] if mine else ():
            table.add_row(
                method,
                epoch,
                spread([largest(r, epoch) for r in mine]),
                spread([ratio(r, epoch) for r in mine]),
            )
    console = Console(width=100)
    console.print(table)
    for method in METHODS:
        mine = [r for r in found if r["method"] == method]
        if mine:
            console.print(
                f"{method}: training loss {spread([r['loss'] for r in mine])}, "
                "test accuracy "
                f"{spread([100 * r['accuracy'] for r in mine])} %"
            )
    pairs = paired(found)
    if len(pairs) > 1:
        last = list(found[0]["eigenvalues"])[-1]
        for measure, name in (largest, "largest eigenvalue"), (ratio, "ratio"):
            values = np.array([[measure(r, last) for r in p] for p in pairs])
            console.print(
                f"{name} at the end lower with SAM for "
                f"{np.sum(values[:, 1] < values[:, 0])} of {len(pairs)} seeds, "
                f"p = {wilcoxon(*values.T).pvalue:.2g} (Wilcoxon)"
            )


def largest(record: dict[str, Any], epoch: str) -> float:
    """Return the largest eigenvalue after an epoch."""
    return record["eigenvalues"][epoch][0]


def ratio(record: dict[str, Any], epoch: str) -> float:
    """Return the largest eigenvalue over the fifth."""
    return record["eigenvalues"][epoch][0] / record["eigenvalues"][epoch][4]


def paired(found: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Return the records of both methods of each seed that has both."""
    by_run = {(r["seed"], r["method"]): r for r in found}
    seeds = sorted({r["seed"] for r in found})
    pairs = [[by_run.get((seed, m)) for m in METHODS] for seed in seeds]
    return [pair for pair in pairs if None not in pair]


def spread(values: list[float]) -> str:
    """Return the mean and range of some values."""
    mean = statistics.mean(values)
    return f"{mean:.3g} ({min(values):.3g} to {max(values):.3g})"


def draw(found: list[dict[str, Any]], output: Path) -> None:
    """Draw the densities at the end of training, one line for each seed."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    for record in found:
        first = record["seed"] == found[0]["seed"]
        axis.semilogy(
            record["grid"],
            np.maximum(record["density"], 1e-7),
            color=COLORS[record["method"]],
            label=record["method"] if first else None,
            linewidth=1.2,
        )
    axis.set_xlabel("eigenvalue of the Hessian")
    axis.set_ylabel("density")
    axis.set_title("After training, with and without SAM")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False)
    figure.savefig(output, dpi=110)


def smoke_data() -> Any:
    """Return a few images of noise."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(64, 32, 32, 3)).astype("float32")
    y = generator.integers(0, 10, 64).astype("int32")
    return (x, y), (x, y)


def main() -> None:
    """Do what is missing, then report."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--setting", choices=SETTINGS, default="constant")
    parser.add_argument(
        "--seeds",
        type=int,
        nargs="+",
        help="those to train, 0 to 2 by default, and to report, by default all",
    )
    parser.add_argument("--images", type=Path, help="folder of CIFAR-10 strips")
    parser.add_argument(
        "--records", type=Path, default=HERE / "records" / "figure_3.jsonl"
    )
    parser.add_argument("--output", type=Path, default=Path("figure_3.png"))
    parser.add_argument("--report", action="store_true", help="train nothing")
    parser.add_argument("--smoke", action="store_true", help="noise, tiny")
    arguments = parser.parse_args()
    name = arguments.setting
    if arguments.smoke:
        SETTINGS[name] = Setting(64, True, 5e-4, 0.1, 1, (1,))
        run_missing(arguments.records, name, smoke_data(), (0,))
    elif not arguments.report:
        task = cifar10(arguments.images, SETTINGS[name].num_train, 2000)
        data = task.train, task.test
        seeds = tuple(arguments.seeds or SEEDS)
        run_missing(arguments.records, name, data, seeds)
    found = [
        record
        for record in read(arguments.records)
        if record["setting"] == name
        and (not arguments.seeds or record["seed"] in arguments.seeds)
    ]
    if not found:
        raise SystemExit(f"{arguments.records} has no such record of {name!r}.")
    report(found)
    draw(found, arguments.output)


if __name__ == "__main__":
    main()
