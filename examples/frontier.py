r"""Which method for which budget: cost against accuracy with noisy labels.

    python examples/frontier.py                     # CIFAR-10 from TFDS
    python examples/frontier.py --images FOLDER     # CIFAR-10 from strips
    python examples/frontier.py --images FOLDER --seeds 1   # one of the seeds
    python examples/frontier.py --digits                    # without CIFAR-10
    python examples/frontier.py --costs             # time the steps
    python examples/frontier.py --report            # table and picture again

Every method trains the same networks for the same number of epochs, on labels
of which 40 % are drawn at random from all classes, and is scored on clean test
images, at the end, without choosing an epoch:

- `cifar10`: 4,000 training and 5,000 test images, a convolutional network of
  six layers with batch normalization (16 to 64 channels, on 16 x 16 positions
  and fewer), horizontal flips, SGD with momentum 0.9, learning rate 0.1 with
  cosine decay, decoupled weight decay 5e-4, batches of 128, 20 epochs;
- `digits`: 1,347 training and 450 test digits of scikit-learn, a 64-256-256-10
  ReLU network, the same optimizer without weight decay, batches of 64, 40
  epochs.

Three seeds: initial weights, order and noise differ, the images are the same.
Each result is one line of `records/frontier.jsonl`; a run that was stopped goes
on where it was. The radius of each method is listed in `ENTRIES`; where two
are, both are shown. Cost is the time of a step on the CIFAR-10 network relative
to that of `keras.Model`: the median over rounds in which all take turns.

A folder of strips has `train/CLASS-K.webp` and `test/CLASS-K.webp`, each file a
vertical strip of 32 x 32 images of one class.

Results: see `README.md` in this folder. All of it takes about an hour on two
CPU cores.
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
from keras import layers
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

import keras_sam
from keras_sam import methods
from keras_sam import schedules

HERE = Path(__file__).parent
NOISE = 0.4
SEEDS = (0, 1, 2)


@dataclasses.dataclass(frozen=True)
class Entry:
    """One way to train.

    Attributes:
        name: What it is called in table and picture.
        cifar10: Arguments of `SAMModel` on CIFAR-10; `None` to leave it out,
            as for most second settings of a method, to save time.
        digits: Those on the digits.
        epochs: Multiple of the usual number of epochs.
    """

    name: str
    cifar10: dict[str, Any] | None
    digits: dict[str, Any]
    epochs: int = 1


def _same(name: str, rho: float, digits_rho: float, **arguments: Any) -> Entry:
    return Entry(
        f"{name}, rho {rho}",
        {"rho": rho, **arguments},
        {"rho": digits_rho, **arguments},
    )


def _digits_only(name: str, rho: float, **arguments: Any) -> Entry:
    return Entry(f"{name}, rho {rho}", None, {"rho": rho, **arguments})


def _scheduled(name: str, make: Any) -> Entry:
    return Entry(name, {"rho": make(0)}, {"rho": make(1)})


NUM_STEPS = {"cifar10": 640, "digits": 880}
ENTRIES = (
    Entry("SGD", {"rho": 0.0}, {"rho": 0.0}),
    Entry("SGD, twice the epochs", {"rho": 0.0}, {"rho": 0.0}, epochs=2),
    _same("SAM", 0.1, 0.5),
    _same("SAM", 0.2, 0.3),
    _same("ASAM", 0.5, 1.0, method="asam"),
    _same("ASAM", 1.0, 2.0, method="asam"),
    _same("GSAM alpha 0.1", 0.1, 0.5, method=methods.GSAM(alpha=0.1)),
    _same("GSAM alpha 0.4", 0.1, 0.5, method=methods.GSAM(alpha=0.4)),
    _same("WeightedSAM gamma 0.9", 0.1, 0.5, method="weighted_sam"),
    _digits_only(
        "WeightedSAM coupled 0.6",
        0.3,
        method=methods.WeightedSAM(gamma=0.6, decoupled=False),
    ),
    _same("FriendlySAM", 0.1, 0.5, method="friendly_sam"),
    _digits_only("FriendlySAM", 0.3, method="friendly_sam"),
    _same("VaSSO", 0.1, 0.5, method="vasso"),
    _same("StableSAM", 0.1, 0.5, method="stable_sam"),
    _digits_only("StableSAM", 0.3, method="stable_sam"),
    Entry(
        "SAM on normalization, rho 0.5",
        {"rho": 0.5, "perturb": "norm_only"},
        {"rho": 0.5, "perturb": "no_norm_no_bias"},
    ),
    _same("Two micro-batches", 0.07, 0.3, num_microbatches=2),
    _same("AESAM", 0.1, 0.5, method="ae_sam"),
    _same("LookSAM", 0.1, 0.5, method="look_sam"),
    _digits_only("MomentumSAM", 0.3, method="momentum_sam"),
    _same("MomentumSAM", 1.0, 1.0, method="momentum_sam"),
    _same("Half the batch", 0.1, 0.5, ascent_fraction=0.5),
    _same("A quarter of the batch", 0.1, 0.5, ascent_fraction=0.25),
    _same("A quarter of the batch", 0.2, 1.0, ascent_fraction=0.25),
    _scheduled(
        "Every 2nd step", lambda k: schedules.Periodic(2, (0.1, 0.5)[k])
    ),
    _scheduled(
        "Every 5th step", lambda k: schedules.Periodic(5, (0.1, 0.5)[k])
    ),
    _scheduled(
        "Second half only",
        lambda k: schedules.LatePhase(
            list(NUM_STEPS.values())[k] // 2, (0.1, 0.5)[k]
        ),
    ),
)


@dataclasses.dataclass(frozen=True)
class Task:
    """A data set with a network.

    Attributes:
        name: `"cifar10"` or `"digits"`.
        train: Images and clean labels.
        test: Images and clean labels.
        batch_size: Examples in a batch.
        epochs: Usual number of epochs.
        weight_decay: Decoupled, or `None`.
        num_steps: Steps of the learning rate's decay.
    """

    name: str
    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]
    batch_size: int
    epochs: int
    weight_decay: float | None

    @property
    def num_steps(self) -> int:
        """How many steps the usual number of epochs has."""
        return -(-len(self.train[0]) // self.batch_size) * self.epochs


def cifar10(folder: Path | None, num_train: int, num_test: int) -> Task:
    """Return 32 x 32 color images, standardized by channel."""
    read = strips if folder else tfds_cifar10
    train, test = (
        read(folder, "train", num_train),
        read(folder, "test", num_test),
    )
    mean = train[0].mean(axis=(0, 1, 2))
    deviation = train[0].std(axis=(0, 1, 2))
    train, test = (((x - mean) / deviation, y) for x, y in (train, test))
    return Task("cifar10", train, test, 128, 20, 5e-4)


def strips(
    folder: Path, split: str, number: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return a random choice, always the same, from a folder of strips."""
    from PIL import Image

    files = sorted((folder / split).glob("*.webp"))
    names = sorted({file.name.rsplit("-", 1)[0] for file in files})
    images, labels = [], []
    for file in files:
        with Image.open(file) as image:
            strip = np.asarray(image.convert("RGB")).reshape(-1, 32, 32, 3)
        images.append(strip)
        labels += [names.index(file.name.rsplit("-", 1)[0])] * len(strip)
    return choose(np.concatenate(images), np.array(labels), number)


def tfds_cifar10(
    folder: None, split: str, number: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return a random choice, always the same, from tensorflow-datasets."""
    import tensorflow_datasets as tfds

    data = tfds.as_numpy(tfds.load("cifar10", split=split, batch_size=-1))
    return choose(data["image"], data["label"], number)


def choose(
    images: np.ndarray, labels: np.ndarray, number: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return `number` of the examples, always the same."""
    chosen = np.random.default_rng(0).permutation(len(labels))[:number]
    return images[chosen].astype("float32") / 255, labels[chosen].astype(
        "int32"
    )


def digits() -> Task:
    """Return the handwritten digits of scikit-learn as vectors."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(
        (images / 16).astype("float32"),
        labels.astype("int32"),
        test_size=450,
        random_state=0,
        stratify=labels,
    )
    return Task("digits", (train_x, train_y), (test_x, test_y), 64, 40, None)


def with_noise(labels: np.ndarray, seed: int) -> np.ndarray:
    """Replace a fraction of the labels by ones drawn from all classes."""
    generator = np.random.default_rng(seed)
    replaced = generator.random(len(labels)) < NOISE
    drawn = generator.integers(0, 10, len(labels), dtype=labels.dtype)
    return np.where(replaced, drawn, labels)


def build(task: Task, arguments: dict[str, Any], epochs: int) -> keras.Model:
    """Return a compiled network."""
    inputs = keras.Input(task.train[0].shape[1:])
    x = inputs
    if task.name == "digits":
        for _ in range(2):
            x = layers.Dense(256, activation="relu")(x)
    else:
        x = layers.RandomFlip("horizontal")(x)
        for channels, stride in ((16, 2), (16, 1), (32, 2), (32, 1), (64, 2)):
            x = convolution(x, channels, stride)
        x = layers.GlobalAveragePooling2D()(convolution(x, 64, 1))
    model = keras_sam.SAMModel(inputs, layers.Dense(10)(x), **arguments)
    rate = keras.optimizers.schedules.CosineDecay(0.1, task.num_steps * epochs)
    model.compile(
        keras.optimizers.SGD(
            rate, momentum=0.9, weight_decay=task.weight_decay
        ),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def convolution(x: Any, channels: int, stride: int) -> Any:
    """Return a 3 x 3 convolution, batch normalization and a ReLU."""
    x = layers.Conv2D(channels, 3, stride, padding="same", use_bias=False)(x)
    return layers.ReLU()(layers.BatchNormalization()(x))


def train(task: Task, entry: Entry, seed: int) -> dict[str, Any]:
    """Train once and return a record."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    model = build(task, getattr(entry, task.name), entry.epochs)
    x, y = task.train
    start = time.perf_counter()
    history = model.fit(
        keras_sam.data.Batches(x, with_noise(y, seed), task.batch_size, seed),
        shuffle=False,
        epochs=task.epochs * entry.epochs,
        verbose=0,
    ).history
    seconds = time.perf_counter() - start
    _, accuracy = model.evaluate(*task.test, batch_size=500, verbose=0)
    return {
        "task": task.name,
        "entry": entry.name,
        "seed": seed,
        "accuracy": accuracy,
        "loss": history["loss"][-1],
        "sharpness": history["sharpness"][-1],
        "seconds": seconds,
        "num_train": len(x),
        "epochs": task.epochs * entry.epochs,
        "keras": keras.__version__,
        "keras_sam": keras_sam.__version__,
    }


def costs(
    task: Task, rounds: int, entries: tuple[Entry, ...] = ENTRIES
) -> dict[str, float]:
    """Return the step time of each entry over that of `keras.Model`.

    In each round all of them take steps of an early and a late phase of
    training, whole cycles of those methods that climb now and then.
    """
    x, y = task.train
    batch = x[: task.batch_size], y[: task.batch_size]
    models = {}
    for entry in entries:
        arguments = getattr(entry, task.name)
        if arguments is None:
            continue
        model = build(task, arguments, 1)
        model.train_on_batch(*batch)
        models[entry.name] = model
    plain = build(task, {"rho": 0.0}, 1)
    plain.train_on_batch(*batch)
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(rounds):
        base = duration(plain, batch)
        for name, model in models.items():
            seconds[name].append(duration(model, batch) / base)
    return {name: statistics.median(ratios) for name, ratios in seconds.items()}


def duration(model: keras.Model, batch: Any) -> float:
    """Return the seconds of ten early and ten late steps."""
    seconds = 0.0
    for iteration in (0, NUM_STEPS["cifar10"] - 10):
        model.optimizer.iterations.assign(iteration)
        start = time.perf_counter()
        for _ in range(10):
            model.train_on_batch(*batch)
        seconds += time.perf_counter() - start
    return seconds


def run(
    tasks: list[Task],
    seeds: tuple[int, ...],
    records: Path,
    entries: tuple[Entry, ...] = ENTRIES,
) -> None:
    """Train whatever has no record yet."""
    found = read(records)
    done = {(r["task"], r["entry"], r["seed"]) for r in found}
    missing = [
        (task, entry, seed)
        for seed in seeds
        for task in tasks
        for entry in entries
        if getattr(entry, task.name) is not None
        and (task.name, entry.name, seed) not in done
    ]
    with Progress() as progress:
        bar = progress.add_task("Training", total=len(missing))
        for task, entry, seed in missing:
            progress.update(bar, description=f"{task.name}: {entry.name}")
            record = train(task, entry, seed)
            with records.open("a") as file:
                file.write(json.dumps(record) + "\n")
            progress.advance(bar)


def read(records: Path) -> list[dict[str, Any]]:
    """Return the records of a file, none if there is no file."""
    if not records.exists():
        return []
    return [json.loads(line) for line in records.read_text().splitlines()]


def report(records: Path, cost: dict[str, float], output: Path) -> None:
    """Print the table and draw the picture."""
    scores = collect(read(records))
    table = Table(title="Clean test accuracy, %: mean (lowest to highest)")
    for column in ("method", "cost", "CIFAR-10", "digits"):
        table.add_column(column)
    for entry in ENTRIES:
        price = cost.get(entry.name, float("nan")) * entry.epochs
        cells = [
            spread(scores.get((task, entry.name), []))
            for task in ("cifar10", "digits")
        ]
        table.add_row(entry.name, f"{price:.2f}", *cells)
    Console(width=100).print(table)
    draw(scores, cost, output)


def collect(
    records: list[dict[str, Any]],
) -> dict[tuple[str, str], list[float]]:
    """Return the accuracies in per cent by task and entry."""
    scores: dict[tuple[str, str], list[float]] = {}
    for record in records:
        key = record["task"], record["entry"]
        scores.setdefault(key, []).append(100 * record["accuracy"])
    return scores


def spread(values: list[float]) -> str:
    """Return the mean and range of some values."""
    if not values:
        return "-"
    mean = statistics.mean(values)
    return f"{mean:.1f} ({min(values):.1f} to {max(values):.1f})"


def draw(
    scores: dict[tuple[str, str], list[float]],
    cost: dict[str, float],
    output: Path,
) -> None:
    """Draw cost and accuracy on CIFAR-10, a row for each entry, by cost."""
    from matplotlib.figure import Figure

    rows = sorted(
        (cost[entry.name] * entry.epochs, entry.name)
        for entry in ENTRIES
        if entry.name in cost and ("cifar10", entry.name) in scores
    )
    figure = Figure(figsize=(10, 1.2 + 0.24 * len(rows)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(2, 3))
    for row, (price, name) in enumerate(rows):
        values = scores["cifar10", name]
        mean = statistics.mean(values)
        color = "#d1661a" if name.startswith("SGD") else "#1f6fb2"
        left.barh(row, price, color=color, height=0.6)
        right.errorbar(
            mean,
            row,
            xerr=[[mean - min(values)], [max(values) - mean]],
            fmt="o",
            color=color,
            capsize=2,
        )
    left.set_yticks(range(len(rows)), [name for _, name in rows])
    left.invert_yaxis()
    left.set_xlabel("time of a training run, relative to plain SGD")
    right.set_xlabel("clean test accuracy, %: mean and range over seeds")
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="x", alpha=0.3)
        axis.tick_params(axis="y", length=0)
    figure.suptitle(
        f"CIFAR-10, 4,000 images, {NOISE:.0%} of the labels drawn at random"
    )
    figure.savefig(output, dpi=110)


def main() -> None:
    """Train what is missing, then report."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=Path, help="folder of CIFAR-10 strips")
    parser.add_argument(
        "--records", type=Path, default=HERE / "records" / "frontier.jsonl"
    )
    parser.add_argument("--output", type=Path, default=Path("frontier.png"))
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--digits", action="store_true", help="digits only")
    parser.add_argument("--report", action="store_true", help="train nothing")
    parser.add_argument("--costs", action="store_true", help="time the steps")
    parser.add_argument("--smoke", action="store_true", help="digits, tiny")
    arguments = parser.parse_args()
    timings = arguments.records.with_suffix(".costs.json")
    if arguments.smoke:
        task = dataclasses.replace(digits(), epochs=1)
        task = dataclasses.replace(
            task, train=tuple(part[:128] for part in task.train)
        )
        run([task], (0,), arguments.records, ENTRIES[:4])
        timings.write_text(json.dumps(costs(task, 1, ENTRIES[:4])))
    elif arguments.digits:
        run([digits()], tuple(arguments.seeds), arguments.records)
    elif not arguments.report:
        task = cifar10(arguments.images, 4000, 5000)
        if arguments.costs:
            timings.write_text(json.dumps(costs(task, 5), indent=1))
        else:
            run([digits(), task], tuple(arguments.seeds), arguments.records)
    cost = json.loads(timings.read_text()) if timings.exists() else {}
    report(arguments.records, cost, arguments.output)


if __name__ == "__main__":
    main()
