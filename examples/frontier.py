r"""Which method for which budget: cost against accuracy with noisy labels.

    python examples/frontier.py                     # CIFAR-10 from TFDS
    python examples/frontier.py --images FOLDER     # CIFAR-10 from strips
    python examples/frontier.py --images FOLDER --seeds 1   # one of the seeds
    python examples/frontier.py --digits                    # without CIFAR-10
    python examples/frontier.py --costs             # time the steps
    python examples/frontier.py --report            # table and picture again

Every method trains the same networks for the same number of epochs by SGD with
momentum and cosine decay, on labels of which 40 % are drawn at random from all
classes, and is scored on clean test images after the last epoch: on 4,000
images of CIFAR-10 a convolutional network of six layers, on 1,347 digits of
scikit-learn a dense one of three. Below are all settings, and the radii of each
method; where two are, both are shown. Cost is the time of a step on the network
for CIFAR-10 relative to that of the plain optimizer: the median over rounds in
which all take turns.

Three seeds: initial weights, order and noise differ, the images are the same.
Runs are those of `keras_sam.experiments`: each is one line of
`records/frontier.jsonl`, and a run that was stopped goes on where it was. A
folder of strips is described in `keras_sam.data.from_strips`.

Results: see `README.md` in this folder. All of it takes about an hour on two
CPU cores.
"""

import argparse
import json
import os
import shlex
import statistics
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from rich.progress import track

from keras_sam import methods
from keras_sam import schedules
from keras_sam.experiments import Experiment
from keras_sam.experiments import records
from keras_sam.experiments import run
from keras_sam.experiments import sources
from keras_sam.experiments import tables
from keras_sam.experiments.report import by_name
from keras_sam.experiments.report import means_and_ranges
from keras_sam.experiments.run import batches
from keras_sam.experiments.run import compiled

RECORDS = Path(__file__).parent / "records"
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
    """Return the experiments of a schedule, made of radius and steps."""
    return entry(variant, {"rho": make(0.1, 640)}, {"rho": make(0.5, 880)})


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
    """Return the step time of each entry over that of the first one.

    In each round all of them take steps of an early and a late phase of
    training, whole cycles of those methods that climb now and then.
    """
    dataset = sources.load(experiments[0])
    images, labels = dataset.train
    one_hot = np.eye(dataset.num_classes, dtype="float32")[labels]
    batch = batches(experiments[0], images, one_hot, seed=0, epoch=0)[0]
    chosen = {experiment.variant: experiment for experiment in experiments}
    models = {
        name: compiled(experiment, dataset, NUM_STEPS)
        for name, experiment in {"plain": experiments[0], **chosen}.items()
    }
    for model in models.values():
        model.train_on_batch(*batch)
    rounds = [
        {name: duration(model, batch) for name, model in models.items()}
        for _ in range(num_rounds)
    ]
    return {
        name: statistics.median(r[name] / r["plain"] for r in rounds)
        for name in chosen
    }


def duration(model, batch):
    """Return the seconds of ten early and ten late steps."""
    seconds = 0.0
    for iteration in (0, NUM_STEPS - 10):
        model.optimizer.iterations.assign(iteration)
        start = time.perf_counter()
        for _ in range(10):
            model.train_on_batch(*batch)
        seconds += time.perf_counter() - start
    return seconds


def report(groups, cost, output):
    """Print the table and draw the picture."""
    budgets = {e.variant: e.budget for e in EXPERIMENTS}
    prices = {k: v * budgets[k] for k, v in cost.items() if k in budgets}
    rows = [
        (
            variant,
            f"{prices.get(variant, float('nan')):.2f}",
            spread(groups.get(f"{CIFAR10['task']}/{variant}")),
            spread(groups.get(f"{DIGITS['task']}/{variant}")),
        )
        for variant in budgets
    ]
    print("Clean test accuracy, %: mean (lowest to highest)")
    print(tables.render(("method", "cost", "CIFAR-10", "digits"), rows))
    on_cifar10 = {v: groups.get(f"{CIFAR10['task']}/{v}") for v in budgets}
    names = [
        name for name in sorted(prices, key=prices.get) if on_cifar10[name]
    ]
    draw(
        names,
        [prices[name] for name in names],
        [on_cifar10[name] for name in names],
        output,
    )


def spread(group):
    """Return the mean and range of the accuracies of some records."""
    if not group:
        return "-"
    values = [100 - record["error"] for record in group]
    mean = statistics.fmean(values)
    return f"{mean:.1f} ({min(values):.1f} to {max(values):.1f})"


def draw(names, prices, groups, output):
    """Draw cost and accuracy on CIFAR-10, a row for each entry, by cost."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 1.2 + 0.24 * len(names)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(2, 3))
    errors, (below, above) = means_and_ranges(groups)
    for k, name in enumerate(names):
        color = "#d1661a" if name.startswith("SGD") else "#1f6fb2"
        left.barh(k, prices[k], color=color, height=0.6)
        right.errorbar(
            100 - errors[k],
            k,
            xerr=[[above[k]], [below[k]]],
            fmt="o",
            color=color,
            capsize=2,
        )
    left.set_yticks(range(len(names)), names)
    left.invert_yaxis()
    left.set_xlabel("time of a training run, relative to plain SGD")
    right.set_xlabel("clean test accuracy, %: mean and range over seeds")
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="x", alpha=0.3)
        axis.tick_params(axis="y", length=0)
    figure.suptitle(
        "CIFAR-10, 4,000 images, "
        f"{SHARED['label_noise']:.0%} of the labels drawn at random"
    )
    figure.savefig(output, dpi=110)


def parser(description, name):
    """Return the options that `figure_3.py` has as well."""
    made = argparse.ArgumentParser(description=description.split("\n")[0])
    made.add_argument("--images", help="folder of CIFAR-10 strips")
    made.add_argument("--seeds", type=int, nargs="+", help="0 to 2 by default")
    made.add_argument("--report", action="store_true", help="train nothing")
    made.add_argument("--smoke", action="store_true", help="a few digits")
    made.add_argument("--output", type=Path, default=Path(f"{name}.png"))
    made.add_argument("--records", type=Path, default=RECORDS / f"{name}.jsonl")
    return made


def train(experiments, arguments):
    """Run what has no record yet, for the seeds and images that were named."""
    for experiment in track(experiments, "Training"):
        settings = []
        if arguments.seeds:
            settings.append(f"seeds={','.join(map(str, arguments.seeds))}")
        if arguments.images and experiment.source != "digits":
            settings += ["source=strips", f"folder={arguments.images}"]
        run(
            experiment.with_settings(settings),
            Path("runs"),
            shlex.join(["python", *sys.argv]),
            verbose=0,
            file=arguments.records,
        )


def main():
    """Train what is missing, then report."""
    options = parser(__doc__, "frontier")
    options.add_argument("--digits", action="store_true", help="digits only")
    options.add_argument("--costs", action="store_true", help="time the steps")
    arguments = options.parse_args()
    on_digits = [e for e in EXPERIMENTS if e.source == "digits"]
    on_cifar10 = [e for e in EXPERIMENTS if e.source != "digits"]
    timings = arguments.records.with_suffix(".costs.json")
    if arguments.smoke:
        few = [experiment.smoke() for experiment in on_digits[:4]]
        train(few, arguments)
        timings.write_text(json.dumps(costs(few, 1)))
    elif arguments.costs:
        timings.write_text(json.dumps(costs(on_cifar10, 5), indent=1))
    elif not arguments.report:
        train(on_digits if arguments.digits else EXPERIMENTS, arguments)
    cost = json.loads(timings.read_text()) if timings.exists() else {}
    report(by_name(records.read(arguments.records)), cost, arguments.output)


if __name__ == "__main__":
    main()
