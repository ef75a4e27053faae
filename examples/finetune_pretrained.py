r"""Fine-tune a network trained on ImageNet, with and without SAM (hours).

    python examples/efficientnet_lite.py FILE efficientnet_lite0.keras  # once
    python examples/finetune_pretrained.py --images FOLDER
    python examples/finetune_pretrained.py --images FOLDER --seeds 0
    python examples/finetune_pretrained.py --images FOLDER --radii --seeds 0
    python examples/finetune_pretrained.py --report     # table and plot only
    python examples/finetune_pretrained.py --smoke      # random weights, digits

EfficientNet-Lite0 (`efficientnet_lite.py` says where its weights come from)
gets a new last layer and is trained on 2,000 images of CIFAR-10, scaled to 96 x
96, with right labels and with 20 % of them drawn from the other classes. It is
tested on all 10,000 test images. Seeds have other images, wrong labels and
initial weights of the last layer; the arms of a seed share all of them, and the
order of the images.

As in section 3.2 of the SAM paper (Foret et al., 2021), all weights are trained
and batch normalization keeps its stored statistics. SGD with Nesterov's
momentum 0.9, 8 epochs in batches of 32, cosine decay of the learning rate from
0.02 to 0, horizontal flips; the paper's weight decay of 1e-5 and its bound of 1
on the norm of the gradient. With wrong labels, the fraction of them that the
network predicts is measured on 1,000 of the training images.

The radius is far below the paper's default of 0.05, at which the loss rises by
1.3 in the first step and the network does not leave chance in 40 steps; at 0.01
it learns slowly, at 0.002 as without SAM. `--radii` selects it: it trains on
1,500 of the images with several radii, and tests on the remaining 500, with
their right labels. That is 35 minutes for a seed.

Experiments are run by `keras_sam.experiments`: each is one line of
`records/finetune_pretrained.jsonl`, and a stopped run is resumed. A folder of
strips is described in `keras_sam.data.from_strips`; without `--images` the
images come from TFDS. One seed takes about 25 minutes on two CPU cores with
TensorFlow, whose convolutions of single channels are several times as fast
there as those of the other backends.
"""

import dataclasses
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import frontier
import keras
from efficientnet_lite import efficientnet_lite0
from frontier import mean_and_range
from wrong_labels import COLORS
from wrong_labels import difference

from keras_sam.experiments import Experiment
from keras_sam.experiments import records
from keras_sam.experiments import tables
from keras_sam.experiments.report import by_name

BACKBONE = "efficientnet_lite0.keras"
TASKS = {"finetune-clean": 0.0, "finetune-wrong-labels": 0.2}
RADIUS = 0.002
VARIANTS = {
    "SGD": {},
    "SGD, twice the epochs": {"budget": 2},
    "SAM": {"sam": {"rho": RADIUS}},
}


def arm(task, variant, label_noise, **settings):
    """Return the experiment of one way to train."""
    return Experiment(
        task=task,
        variant=variant,
        num_train=2000,
        redrawn=True,
        image_size=96,
        standardize="none",
        augmentation="flip",
        label_noise=label_noise,
        watched=1000 if label_noise else 0,
        network="file",
        weights=BACKBONE,
        epochs=8,
        batch_size=32,
        learning_rate=0.02,
        weight_decay=1e-5,
        clipnorm=1.0,
        seeds=(0, 1, 2),
        **settings,
    )


ARMS = [
    arm(task, variant, label_noise, **settings)
    for task, label_noise in TASKS.items()
    for variant, settings in VARIANTS.items()
]
RADII = [
    arm(f"{task}-radii", f"SAM, rho {rho}", label_noise, sam=sam, held_out=500)
    for task, label_noise in TASKS.items()
    for rho in (0.0, 0.001, 0.002, 0.005, 0.01)
    for sam in ({"rho": rho},)
]


def report(groups):
    """Print the table; differences are paired by seed."""
    rows = []
    for e in (*ARMS, *RADII):
        group = groups.get(e.name)
        if not group:
            continue
        first = "SAM, rho 0.0" if e.held_out else "SGD"
        plain = groups.get(f"{e.task}/{first}", ())
        learned = [r["wrong_labels_learned"][-1] for r in group if e.watched]
        rows.append((
            f"{e.label_noise:.0%}",
            f"{e.variant}, {e.held_out} held out" if e.held_out else e.variant,
            str(len(group)),
            mean_and_range([100 - r["error"] for r in group]),
            "-" if group is plain else difference(group, plain),
            mean_and_range(learned),
        ))
    header = (
        *("wrong labels", "arm", "seeds", "clean test accuracy, %"),
        *("above SGD (95 %)", "wrong labels learned, %"),
    )
    print("Mean (lowest to highest) over seeds, after the last epoch")
    print(tables.render(header, rows))


def draw(groups, output):
    """Draw the accuracies, seeds connected."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3), layout="constrained")
    for axis, task in zip(figure.subplots(1, 2), TASKS):
        accuracies = {}
        for row, variant in enumerate(VARIANTS):
            for record in groups.get(f"{task}/{variant}", ()):
                point = 100 - record["error"], row
                accuracies.setdefault(record["seed"], []).append(point)
                color = COLORS[variant[:3]]
                axis.plot(*point, "o", color=color, zorder=3)
        for points in accuracies.values():
            axis.plot(*zip(*points), color="#cccccc")
        axis.set_yticks(range(len(VARIANTS)), list(VARIANTS))
        axis.invert_yaxis()
        axis.set_title(f"{TASKS[task]:.0%} of the labels wrong")
        axis.set_xlabel("clean test accuracy, %, of each seed")
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(output, dpi=110)


def save_random(file):
    """Save the network with random weights, for gray images."""
    inputs = keras.Input((32, 32, 1))
    x = keras.layers.Concatenate()([inputs, inputs, inputs])
    keras.Model(inputs, efficientnet_lite0(top=False)(x)).save(file)


def main(given=None):
    """Run experiments without a record, seed by seed, then report."""
    options = frontier.parser(__doc__, "finetune_pretrained")
    options.add_argument("--backbone", default=BACKBONE, help="a .keras file")
    options.add_argument("--radii", action="store_true", help="choose a radius")
    arguments = options.parse_args(given)
    backbone = "random.keras" if arguments.smoke else arguments.backbone
    chosen = RADII if arguments.radii else ARMS
    arms = [dataclasses.replace(a, weights=backbone) for a in chosen]
    if arguments.smoke:
        save_random(backbone)
        arms = [a.with_settings(["source=digits"]).smoke() for a in arms[1::2]]
    elif not (arguments.report or Path(backbone).exists()):
        options.error(f"make {backbone} by efficientnet_lite.py")
    if not arguments.report:
        arms = [frontier.configured(a, arguments) for a in arms]
        seeds = arms[0].seeds
        frontier.train(
            [dataclasses.replace(a, seeds=(s,)) for s in seeds for a in arms],
            arguments.records,
        )
    groups = by_name(records.read(arguments.records))
    report(groups)
    draw(groups, arguments.output)


if __name__ == "__main__":
    main()
