r"""Cost and accuracy of all methods with noisy labels (80 minutes).

    python examples/frontier.py                     # CIFAR-10 from TFDS
    python examples/frontier.py --images FOLDER     # CIFAR-10 from strips
    python examples/frontier.py --images FOLDER --seeds 1   # one of the seeds
    python examples/frontier.py --digits                    # without CIFAR-10
    python examples/frontier.py --costs             # time the steps
    python examples/frontier.py --report            # table and plot only

Every method trains the same networks for the same number of epochs by SGD with
momentum and cosine decay, on labels of which 40 % are drawn at random from all
classes, and is evaluated on clean test images after the last epoch: on 4,000
images of CIFAR-10 a convolutional network of six layers, on 1,347 digits of
scikit-learn a dense network of three. All settings are below, with one or two
radii for each method. Cost is the time of a step on the network for CIFAR-10,
relative to a step of the plain optimizer: the median over rounds in which all
methods alternate.

Three seeds: initial weights, order and noise differ, the images are the same.
Experiments are run by `keras_sam.experiments`: each is one line of
`records/frontier.jsonl`, and a stopped run is resumed. A folder of strips is
described in `keras_sam.data.from_strips`.

Results: `docs/results/frontier.md`. Everything takes about an hour on two
CPU cores.
"""

import argparse
import json
import os
import shlex
import statistics
import sys
import timeit
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from rich.progress import track

from keras_sam import methods
from keras_sam import schedules
from keras_sam.experiments import Experiment
from keras_sam.experiments import records
from keras_sam.experiments import run
from keras_sam.experiments import sources
from keras_sam.experiments import tables
from keras_sam.experiments.memory import keep_freed_memory
from keras_sam.experiments.report import by_name
from keras_sam.experiments.run import batches
from keras_sam.experiments.run import compiled

SHARED = {
    "label_noise": 0.4,
    "include_own": True,
    "nesterov": False,
    "clipnorm": 0.0,
    "seeds": (0, 1, 2),
}
CIFAR10 = {
    "task": "frontier-cifar10",
    "num_train": 4000,
    "num_test": 5000,
    "augmentation": "flip",
    "network": "cnn",
    "decoupled": True,
    "batch_size": 128,
    "epochs": 20,
}
DIGITS = {
    "task": "frontier-digits",
    "source": "digits",
    "standardize": "unit",
    "augmentation": "none",
    "network": "mlp",
    "weight_decay": 0.0,
    "batch_size": 64,
    "epochs": 40,
}
NUM_STEPS = 640  # On CIFAR-10; on the digits 880.


def entry(variant, cifar10, digits, **settings):
    """Return the experiments of two arguments of `SAMModel`, or `None`."""
    return [
        Experiment(variant=variant, sam=sam, **SHARED, **task, **settings)
        for task, sam in ((CIFAR10, cifar10), (DIGITS, digits))
        if sam is not None
    ]


def radii(variant, cifar10, digits, **sam):
    """Return the experiments of a method with a radius for each task."""
    return entry(
        f"{variant}, rho {cifar10 or digits}",
        {"rho": cifar10, **sam} if cifar10 else None,
        {"rho": digits, **sam},
    )


def schedule(variant, make):
    """Return the experiments of a schedule, a function of radius and steps."""
    return entry(variant, {"rho": make(0.1, 640)}, {"rho": make(0.5, 880)})


RANDOM = methods.RandomAscent(per_filter=False)
COUPLED = methods.WeightedSAM(gamma=0.6, decoupled=False)
EXPERIMENTS = [
    *entry("SGD", {"rho": 0.0}, {"rho": 0.0}),
    *entry("SGD, twice the epochs", {"rho": 0.0}, {"rho": 0.0}, budget=2),
    *radii("SAM", 0.1, 0.5),
    *radii("SAM", 0.2, 0.3),
    *radii("ASAM", 0.5, 1.0, method="asam"),
    *radii("ASAM", 1.0, 2.0, method="asam"),
    *radii("GSAM alpha 0.1", 0.1, 0.5, method=methods.GSAM(alpha=0.1)),
    *radii("GSAM alpha 0.4", 0.1, 0.5, method=methods.GSAM(alpha=0.4)),
    *radii("WeightedSAM gamma 0.9", 0.1, 0.5, method="weighted_sam"),
    *radii("WeightedSAM coupled 0.6", None, 0.3, method=COUPLED),
    *radii("FriendlySAM", 0.1, 0.5, method="friendly_sam"),
    *radii("FriendlySAM", None, 0.3, method="friendly_sam"),
    *radii("VaSSO", 0.1, 0.5, method="vasso"),
    *radii("StableSAM", 0.1, 0.5, method="stable_sam"),
    *radii("StableSAM", None, 0.3, method="stable_sam"),
    *entry(
        "SAM on normalization, rho 0.5",
        {"rho": 0.5, "perturb": "norm_only"},
        {"rho": 0.5, "perturb": "no_norm_no_bias"},
    ),
    *radii("Two micro-batches", 0.07, 0.3, num_microbatches=2),
    *radii("AESAM", 0.1, 0.5, method="ae_sam"),
    *radii("LESAM", 0.1, 0.1, method="le_sam"),
    *radii("LESAM", None, 0.2, method="le_sam"),
    *radii("LESAM", None, 0.4, method="le_sam"),
    *radii("PreconditionedSAM", 0.1, 0.5, method="preconditioned_sam"),
    *radii("FunctionalSAM", 0.1, 0.5, method="functional_sam"),
    *radii("Random direction", 0.1, 0.5, method=RANDOM),
    *radii("LookSAM", 0.1, 0.5, method="look_sam"),
    *radii("MomentumSAM", None, 0.3, method="momentum_sam"),
    *radii("MomentumSAM", 1.0, 1.0, method="momentum_sam"),
    *radii("Half the batch", 0.1, 0.5, ascent_fraction=0.5),
    *radii("A quarter of the batch", 0.1, 0.5, ascent_fraction=0.25),
    *radii("A quarter of the batch", 0.2, 1.0, ascent_fraction=0.25),
    *schedule("Every 2nd step", lambda rho, _: schedules.Periodic(2, rho)),
    *schedule("Every 5th step", lambda rho, _: schedules.Periodic(5, rho)),
    *schedule(
        "Second half only", lambda rho, n: schedules.LatePhase(n // 2, rho)
    ),
]


def costs(experiments, num_rounds):
    """Return the step time of each entry relative to the plain optimizer.

    Each round has steps from an early and a late phase of training, whole
    periods of methods with plain steps in between.
    """
    plain = experiments[0]
    dataset = sources.load(plain)
    batch = batches(plain, dataset, dataset.train[1])[0]
    models = {None: compiled(plain, dataset, NUM_STEPS)}
    for experiment in experiments:
        models[experiment.variant] = compiled(experiment, dataset, NUM_STEPS)
    for model in models.values():
        model.train_on_batch(*batch)
    rounds = [
        {name: duration(model, batch) for name, model in models.items()}
        for _ in range(num_rounds)
    ]
    return {
        name: statistics.median(r[name] / r[None] for r in rounds)
        for name in list(models)[1:]
    }


def duration(model, batch):
    """Return the seconds of ten early and ten late steps."""
    total = 0.0
    for iteration in (0, NUM_STEPS - 10):
        model.optimizer.iterations.assign(iteration)
        total += timeit.timeit(lambda: model.train_on_batch(*batch), number=10)
    return total


def report(runs, cost, output):
    """Print the table and write the plot."""
    scores = {
        name: [100 - record["error"] for record in group]
        for name, group in by_name(runs).items()
    }
    budgets = {e.variant: e.budget for e in EXPERIMENTS}
    prices = {k: v * budgets[k] for k, v in cost.items()}
    on_cifar10, on_digits = (
        {v: scores.get(f"{task['task']}/{v}", ()) for v in budgets}
        for task in (CIFAR10, DIGITS)
    )
    columns = (
        budgets,
        [f"{prices[v]:.2f}" if v in prices else "-" for v in budgets],
        *(map(mean_and_range, p.values()) for p in (on_cifar10, on_digits)),
    )
    print("Clean test accuracy, %: mean (lowest to highest)")
    print(
        tables.render(("method", "cost", "CIFAR-10", "digits"), zip(*columns))
    )
    draw(prices, on_digits, output)


def mean_and_range(values, form=".1f"):
    """Return the mean and range of some values as text."""
    if not values:
        return "-"
    lowest, mean, highest = (
        format(f(values), form) for f in (min, statistics.mean, max)
    )
    return f"{mean} ({lowest} to {highest})"


def draw(prices, scores, output):
    """Draw cost and accuracy, a row for each entry, sorted by cost."""
    from matplotlib.figure import Figure

    names = sorted((v for v in prices if scores[v]), key=prices.get)
    figure = Figure(figsize=(10, 1.2 + 0.24 * len(names)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(2, 3))
    for k, name in enumerate(names):
        color = "#d1661a" if name.startswith("SGD") else "#1f6fb2"
        mean = statistics.mean(scores[name])
        ends = [[mean - min(scores[name])], [max(scores[name]) - mean]]
        left.barh(k, prices[name], color=color, height=0.6)
        right.errorbar(mean, k, xerr=ends, fmt="o", color=color, capsize=2)
    left.set_yticks(range(len(names)), names)
    left.invert_yaxis()
    left.set_xlabel("time of a training run, relative to plain SGD")
    right.set_xlabel("clean test accuracy, %: mean and range over seeds")
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="x", alpha=0.3)
        axis.tick_params(axis="y", length=0)
    figure.suptitle("1,347 digits, 40% of the labels drawn at random")
    figure.savefig(output, dpi=110)


def parser(description, name):
    """Return a parser of the options that `figure_3.py` shares."""
    made = argparse.ArgumentParser(description=description.split("\n")[0])
    made.add_argument("--images", help="folder of CIFAR-10 strips")
    made.add_argument("--seeds", type=int, nargs="+", help="0 to 2 by default")
    made.add_argument("--report", action="store_true", help="train nothing")
    made.add_argument("--smoke", action="store_true", help="a few digits")
    made.add_argument("--output", type=Path, default=Path(f"{name}.png"))
    records_file = Path(__file__).parent / "records" / f"{name}.jsonl"
    made.add_argument("--records", type=Path, default=records_file)
    return made


def configured(experiment, arguments):
    """Return an experiment with the images and seeds of the command line."""
    settings = []
    if arguments.images and experiment.source != "digits":
        settings += ["source=strips", f"folder={arguments.images}"]
    if arguments.seeds:
        settings.append(f"seeds={','.join(map(str, arguments.seeds))}")
    return experiment.with_settings(settings)


def train(experiments, file):
    """Run the experiments that have no record yet."""
    keep_freed_memory()
    command = shlex.join(["python", *sys.argv])
    for experiment in track(experiments, "Training"):
        run(experiment, Path("runs"), command, verbose=0, file=file)


def main(given=None):
    """Run experiments without a record, then report."""
    options = parser(__doc__, "frontier")
    options.add_argument("--digits", action="store_true", help="digits only")
    options.add_argument("--costs", action="store_true", help="time the steps")
    arguments = options.parse_args(given)
    chosen = [configured(e, arguments) for e in EXPERIMENTS]
    timings = arguments.records.with_suffix(".costs.json")
    if arguments.digits or arguments.smoke:
        chosen = [e for e in chosen if e.source == "digits"]
    elif arguments.costs:
        chosen = [e for e in chosen if e.source != "digits"]
    if arguments.smoke:
        chosen = [experiment.smoke() for experiment in chosen[:4]]
    if arguments.costs or arguments.smoke:
        cost = costs(chosen, 1 if arguments.smoke else 5)
        timings.write_text(json.dumps(cost, indent=1))
    if not arguments.costs and not arguments.report:
        train(chosen, arguments.records)
    cost = json.loads(timings.read_text()) if timings.exists() else {}
    report(records.read(arguments.records), cost, arguments.output)


if __name__ == "__main__":
    main()
