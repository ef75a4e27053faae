r"""Memorization of wrong labels with and without SAM, CIFAR-10 (hours).

    python examples/wrong_labels.py --images FOLDER     # CIFAR-10 from strips
    python examples/wrong_labels.py                     # from TFDS
    python examples/wrong_labels.py --arms 'S*' --seeds 0
    python examples/wrong_labels.py --report            # table and plot only
    python examples/wrong_labels.py --smoke             # a few digits

The label noise experiment of Foret et al. (2021), table 4, on all 50,000
images, with a budget for two CPU cores. 40 % of the labels are wrong, drawn
uniformly from the other classes as in the paper; with `--set include_own=true`
the runner draws from all ten classes, as some later papers do, and 36 % are
wrong. All 10,000 test images have their right labels.

A ResNet-8 of width 32 whose first convolution has stride 2 (309,226 weights),
batches of 128, 15 epochs, no augmentation, SGD with Nesterov's momentum 0.9,
cosine decay of the learning rate from 0.1 to 0, and 2.5e-4 times the squared
norm of the weights in the loss. The order of the images is a function of seed
and epoch, and therefore the same for all arms; initial weights and wrong labels
depend on the seed alone. "Late" arms have a constant learning rate for 70 % of
the steps and then a linear decay to 0, in which SAM is used. `--radii` selects
the radius: it trains on 45,000 of the images with other radii than 0.1 too, and
tests on the remaining ones, with their right labels.

After each epoch, on 5,000 training images, two fractions are measured: of the
right and of the wrong labels, how many the network predicts. A network without
memorization predicts hardly any wrong label.

Experiments are run by `keras_sam.experiments`: each is one line of
`records/wrong_labels.jsonl`, and a stopped run is resumed. A folder of strips
is described in `keras_sam.data.from_strips`. On two CPU cores an epoch takes
one to two minutes, with SAM nearly twice as long.
Results: `docs/results/examples.md`.
"""

import dataclasses
import fnmatch
import os
import statistics

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import frontier
from frontier import mean_and_range
from scipy import stats

from keras_sam import schedules
from keras_sam.experiments import Experiment
from keras_sam.experiments import records
from keras_sam.experiments import tables
from keras_sam.experiments.report import by_name

TASK = "wrong-labels"
RADII_TASK = "wrong-labels-radii"
LATE = 4106  # 70 % of 15 epochs of 391 steps.


def arm(variant, task=TASK, rho=0.0, sam=None, **settings):
    """Return the experiment of one way to train."""
    return Experiment(
        task=task,
        variant=variant,
        sam={"rho": rho, **(sam or {})},
        label_noise=0.4,
        watched=5000,
        augmentation="none",
        network="resnet_halved",
        depth=8,
        width=32,
        epochs=15,
        batch_size=128,
        clipnorm=0.0,
        seeds=(0, 1, 2),
        **settings,
    )


ARMS = [
    arm("SGD"),
    arm("SAM", rho=0.1),
    arm("SAM, late", rho=schedules.LatePhase(LATE, 0.1), stable=0.7),
    arm("SGD, twice the epochs", budget=2),
    arm("SGD, late decay", stable=0.7),
    arm("half-batch ascent", rho=0.1, sam={"ascent_fraction": 0.5}),
    arm("average of weights", ema=0.999),
    arm("mixup", mixup=1.0),
    arm("label smoothing", label_smoothing=0.1),
]
RADII = [
    dataclasses.replace(arm(f"SAM, rho {rho}", RADII_TASK, rho), held_out=5000)
    for rho in (0.05, 0.1, 0.2)
]
COLORS = {"SGD": "#d1661a", "SAM": "#1f6fb2"}


def report(groups):
    """Print the table; differences are paired by seed."""
    plain = groups.get("SGD", ())
    rows = [
        (
            variant,
            str(len(group)),
            mean_and_range([100 - r["error"] for r in group]),
            "-" if group is plain else difference(group, plain),
            mean_and_range([r["right_labels_learned"][-1] for r in group]),
            mean_and_range([r["wrong_labels_learned"][-1] for r in group]),
        )
        for variant, group in groups.items()
    ]
    header = (
        *("arm", "seeds", "clean test accuracy, %", "above SGD (95 %)"),
        *("right labels learned, %", "wrong labels learned, %"),
    )
    print("Mean (lowest to highest) over seeds, after the last epoch")
    print(tables.render(header, rows))


def difference(group, plain):
    """Return the gain in accuracy, paired by seed, with a t interval."""
    errors = {record["seed"]: record["error"] for record in plain}
    gains = [
        errors[record["seed"]] - record["error"]
        for record in group
        if record["seed"] in errors
    ]
    return interval(gains)


def interval(values, form=".1f"):
    """Return the mean of paired differences, with a 95 % interval of t."""
    if len(values) < 2:
        return f"{values[0]:+{form}}" if values else "-"
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return f"{statistics.mean(values):+{form}} ± {half:{form}}"


def draw(groups, output):
    """Draw the accuracies, and the labels learned after each epoch."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 4))
    for k, (variant, group) in enumerate(groups.items()):
        color = COLORS.get(variant[:3], "#666666")
        accuracies = [100 - record["error"] for record in group]
        left.plot(accuracies, [k] * len(group), "o", color=color, alpha=0.7)
        if variant not in ("SGD", "SAM"):
            continue
        for name, style in (("right", "-"), ("wrong", "--")):
            label = f"{variant}, {name} labels"
            for record in group:
                learned = record[f"{name}_labels_learned"]
                epochs = range(1, len(learned) + 1)
                right.plot(epochs, learned, style, color=color, label=label)
                label = None
    left.set_yticks(range(len(groups)), list(groups))
    left.invert_yaxis()
    left.set_xlabel("clean test accuracy, %, of each seed")
    left.grid(axis="x", alpha=0.3)
    right.set_xlabel("epoch")
    right.set_ylabel("labels learned, %")
    right.set_ylim(0, 100)
    right.legend(frameon=False)
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(output, dpi=110)


def main(given=None):
    """Run experiments without a record, seed by seed, then report."""
    options = frontier.parser(__doc__, "wrong_labels")
    options.add_argument("--arms", default="*", help="a pattern of names")
    options.add_argument("--radii", action="store_true", help="choose a radius")
    arguments = options.parse_args(given)
    arms = RADII if arguments.radii else ARMS
    arms = [a for a in arms if fnmatch.fnmatchcase(a.variant, arguments.arms)]
    if arguments.smoke:
        arms = [a.with_settings(["source=digits"]).smoke() for a in arms[:4]]
    if not arguments.report:
        arms = [frontier.configured(a, arguments) for a in arms]
        seeds = arms[0].seeds
        frontier.train(
            [dataclasses.replace(a, seeds=(s,)) for s in seeds for a in arms],
            arguments.records,
        )
    named = by_name(records.read(arguments.records))
    groups = {a.variant: named[a.name] for a in arms if a.name in named}
    report(groups)
    draw(groups, arguments.output)


if __name__ == "__main__":
    main()
