r"""A long tail of rare classes, and losses for the ascent alone (an hour).

    python examples/long_tail.py                       # CIFAR-10 from TFDS
    python examples/long_tail.py --images FOLDER       # CIFAR-10 from strips
    python examples/long_tail.py --images FOLDER --seeds 0
    python examples/long_tail.py --report              # table and plot only
    python examples/long_tail.py --smoke               # a few digits

The training set has 5,000 images of the first class and fewer and fewer of the
others, 50 of the last one (12,406 in all, imbalance 100); the test set is that
of CIFAR-10, 1,000 images of each class. SAM perturbs for the loss of the
training images, which are of the frequent classes. `ascent_loss` gives the
perturbation a loss of its own, here with weights for the classes: one over the
number of images; 1 for the five rarest and 0 for the others, as in ImbSAM (Zhou
et al., 2023, arXiv 2308.07815); or a power of the share of all other classes,
as in Focal-SAM (Li et al., 2025, arXiv 2505.01660). In both papers the loss at
the perturbed weights is that of the weighted classes, too; here it is the
cross-entropy of all classes in all arms.

The network is a ResNet-8 of width 32 whose first convolution has stride 2, with
flips and crops, 20 epochs, SGD with Nesterov's momentum and cosine decay,
radius 0.1. Each run is a line of `records/long_tail.jsonl`; a stopped run is
resumed. Prints the balanced test accuracy and its difference from SGD, paired
by seed with a 95 % interval. On two CPU cores a run of SGD takes about two
minutes, one of SAM about four.

Results: `docs/results/examples.md`.
"""

import dataclasses

import frontier
import keras
import numpy as np
from wrong_labels import difference

from keras_sam.experiments import Experiment
from keras_sam.experiments import records
from keras_sam.experiments import tables
from keras_sam.experiments.report import by_name

IMBALANCE = 100.0
NUM_CLASSES = 10
RARE = 5  # The last classes, with at most 387 images each.

COUNTS = IMBALANCE ** (-np.arange(NUM_CLASSES) / (NUM_CLASSES - 1))


def weighted(weights):
    """Return a cross-entropy with a weight for each class."""
    # Without focus on what is predicted wrong: gamma is 0.
    return keras.losses.CategoricalFocalCrossentropy(
        [float(weight) for weight in weights], gamma=0.0, from_logits=True
    )


def arm(variant, rho=0.1, **sam):
    """Return an experiment with this radius and arguments of `SAMModel`."""
    return Experiment(
        task="long-tail",
        variant=variant,
        sam={"rho": rho, **sam},
        imbalance=IMBALANCE,
        network="resnet_halved",
        depth=8,
        width=32,
        epochs=20,
        batch_size=128,
        clipnorm=0.0,
        seeds=(0, 1, 2),
    )


ARMS = [
    arm("SGD", rho=0.0),
    dataclasses.replace(arm("SGD, twice the epochs", rho=0.0), budget=2),
    arm("SAM"),
    arm(
        "SAM, ascent weighted by 1 / images",
        ascent_loss=weighted(1 / (COUNTS * NUM_CLASSES)),
    ),
    arm(
        "SAM, ascent for rare classes alone",
        ascent_loss=weighted(np.arange(NUM_CLASSES) >= NUM_CLASSES - RARE),
    ),
    arm(
        "SAM, ascent weighted by (1 - share)^2",
        ascent_loss=weighted((1 - COUNTS / COUNTS.sum()) ** 2),
    ),
]


def report(groups):
    """Print the table; differences are paired by seed."""
    plain = groups.get("SGD", ())
    rows = [
        (
            variant,
            str(len(group)),
            frontier.mean_and_range([100 - r["error"] for r in group]),
            "-" if group is plain else difference(group, plain),
        )
        for variant, group in groups.items()
    ]
    header = ("arm", "seeds", "balanced test accuracy, %", "above SGD (95 %)")
    print("Mean (lowest to highest) over seeds, after the last epoch")
    print(tables.render(header, rows))


def draw(groups, output):
    """Draw the accuracies of all seeds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.5), layout="constrained")
    axis = figure.subplots()
    for k, group in enumerate(groups.values()):
        accuracies = [100 - record["error"] for record in group]
        axis.plot(accuracies, [k] * len(group), "o", color="#1f6fb2", alpha=0.7)
    axis.set_yticks(range(len(groups)), list(groups))
    axis.invert_yaxis()
    axis.set_xlabel("balanced test accuracy, %, of each seed")
    axis.grid(axis="x", alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(output, dpi=110)


def main(given=None):
    """Run experiments without a record, seed by seed, then report."""
    arguments = frontier.parser(__doc__, "long_tail").parse_args(given)
    arms = ARMS
    if arguments.smoke:
        arms = [a.with_settings(["source=digits"]).smoke() for a in arms[2:4]]
    if not arguments.report:
        arms = [frontier.configured(a, arguments) for a in arms]
        frontier.train(
            [
                dataclasses.replace(a, seeds=(s,))
                for s in arms[0].seeds
                for a in arms
            ],
            arguments.records,
        )
    named = by_name(records.read(arguments.records))
    groups = {a.variant: named[a.name] for a in arms if a.name in named}
    report(groups)
    draw(groups, arguments.output)


if __name__ == "__main__":
    main()
