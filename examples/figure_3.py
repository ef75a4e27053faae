r"""The spectrum of the Hessian with and without SAM: figure 3 in miniature.

    python examples/figure_3.py                      # CIFAR-10 from TFDS
    python examples/figure_3.py --images FOLDER      # CIFAR-10 from strips
    python examples/figure_3.py --setting short
    python examples/figure_3.py --report             # table and plot only
    python examples/figure_3.py --smoke              # one epoch of few digits

Figure 3 of Foret et al. (2021) shows the spectrum of a WRN-40-10 without batch
normalization at three times of its training on CIFAR-10: at the end the largest
eigenvalue is 24.2 with SGD and 1.0 with SAM, its ratio to the fifth 11.4 and
2.6. The network here takes a minute or two on one core: four convolutions of 16
to 64 channels without normalization, SGD with momentum 0.9, learning rate 0.05
with cosine decay, batches of 128. Three settings:

- `short`: 5,000 images, horizontal flips, weight decay 5e-4, 40 epochs, SAM
  with rho 0.1. With SAM the training images are fitted less well.
- `interpolated`: 1,000 images, neither flips nor weight decay, 150 epochs, SAM
  with rho 0.05. Both fit every training image. Selected on another seed than
  those of the records, among radii of 0.05 to 0.2, weight decay of 0 and 5e-4,
  and batches of 128 and 32.
- `constant`: as `interpolated`, with rho 0.1 and a constant learning rate.
  Selected before any run, and tried on another seed than those of the records.
  Seeds 5 to 14 were added after the first five ratios were known, which did not
  show whether the ratio at the end decreases; seeds 15 to 54 alone test that,
  with Wilcoxon's signed-rank test. Their number was fixed in advance.

The eigenvalues are those of the training loss on 1,000 of the training images,
without flips, after three epochs of training; the density is at the end.
Experiments are run by `keras_sam.experiments`: each is one line of
`records/figure_3.jsonl`, and a stopped run is resumed. A folder of strips is
described in `keras_sam.data.from_strips`. On two CPU cores, of which it uses
one, a run of `constant` takes one to two minutes. Results: see `README.md` in
this folder.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import frontier
import numpy as np
from frontier import mean_and_range
from scipy.stats import wilcoxon

from keras_sam.experiments import Experiment
from keras_sam.experiments import records
from keras_sam.experiments import tables
from keras_sam.experiments.report import by_name

VARIANTS = {"sgd": ("SGD", "#d1661a"), "sam": ("SAM", "#1f6fb2")}
SMALL = {
    "num_train": 1000,
    "augmentation": "none",
    "weight_decay": 0.0,
    "epochs": 150,
    "spectrum": (1, 30, 150),
}
SETTINGS = {
    "short": {
        "rho": 0.1,
        "num_train": 5000,
        "augmentation": "flip",
        "decoupled": True,
        "epochs": 40,
        "spectrum": (1, 10, 40),
    },
    "interpolated": {"rho": 0.05, **SMALL},
    "constant": {"rho": 0.1, "cosine_decay": False, **SMALL},
}
MEASURES = {
    "largest eigenvalue": lambda values: values[0],
    "ratio to the 5th": lambda values: values[0] / values[4],
}


def experiment(name, variant, rho, **settings):
    """Return the experiment of a setting, without or with SAM."""
    return Experiment(
        task=f"figure-3-{name}",
        variant=variant,
        sam={"rho": rho if variant == "sam" else 0.0},
        num_test=2000,
        network="cnn_without_normalization",
        batch_size=128,
        learning_rate=0.05,
        nesterov=False,
        clipnorm=0.0,
        seeds=(0, 1, 2),
        **settings,
    )


def report(groups):
    """Print the table, the accuracies, and the test of the differences."""
    rows = []
    for variant, group in groups.items():
        for epoch in group[0]["eigenvalues"]:
            values = [record["eigenvalues"][epoch] for record in group]
            cells = (
                mean_and_range(list(map(measure, values)), ".3g")
                for measure in MEASURES.values()
            )
            rows.append((VARIANTS[variant][0], epoch, *cells))
    print("Mean (lowest to highest) over seeds")
    print(tables.render(("method", "epoch", *MEASURES), rows))
    for variant, group in groups.items():
        losses = mean_and_range([r["loss"] for r in group], ".3g")
        accuracies = mean_and_range([100 - r["error"] for r in group], ".3g")
        print(
            f"{VARIANTS[variant][0]}: training loss {losses}, test accuracy "
            f"{accuracies} %"
        )
    at_end = [
        {r["seed"]: list(r["eigenvalues"].values())[-1] for r in group}
        for group in groups.values()
    ]
    seeds = sorted(set(at_end[0]).intersection(*at_end[1:]))
    if len(at_end) == 2 and len(seeds) > 1:
        compare(*([values[seed] for seed in seeds] for values in at_end))


def compare(plain, sam):
    """Print the number of seeds with lower measures, and the p-values."""
    for name, measure in MEASURES.items():
        without, with_sam = (list(map(measure, part)) for part in (plain, sam))
        number = np.sum(np.less(with_sam, without))
        print(
            f"{name} at the end lower with SAM for {number} of {len(sam)} "
            f"seeds, p = {wilcoxon(without, with_sam).pvalue:.2g} (Wilcoxon)"
        )


def draw(groups, output):
    """Draw the densities at the end of training, one line for each seed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axis = figure.subplots()
    for variant, group in groups.items():
        label, color = VARIANTS[variant]
        for record in group:
            density = np.maximum(record["density"], 1e-7)
            axis.semilogy(
                record["grid"], density, color=color, label=label, linewidth=1.2
            )
            label = None
    axis.set_xlabel("eigenvalue of the Hessian")
    axis.set_ylabel("density")
    axis.set_title("After training, with and without SAM")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False)
    figure.savefig(output, dpi=110)


def main(given=None):
    """Run experiments without a record, then report."""
    options = frontier.parser(__doc__, "figure_3")
    options.add_argument("--setting", choices=SETTINGS, default="constant")
    arguments = options.parse_args(given)
    name = arguments.setting
    chosen = [experiment(name, v, **SETTINGS[name]) for v in VARIANTS]
    if arguments.smoke:
        chosen = [e.with_settings(["source=digits"]).smoke() for e in chosen]
    if not arguments.report:
        configured = [frontier.configured(e, arguments) for e in chosen]
        frontier.train(configured, arguments.records)
    runs = records.read(arguments.records)
    if arguments.seeds:
        runs = [r for r in runs if r["seed"] in arguments.seeds]
    named = by_name(runs)
    groups = {e.variant: named[e.name] for e in chosen if e.name in named}
    if not groups:
        raise SystemExit(f"{arguments.records} has no such record of {name!r}.")
    report(groups)
    draw(groups, arguments.output)


if __name__ == "__main__":
    main()
