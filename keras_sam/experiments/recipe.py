"""A recipe with all its settings on one page, and its estimated time."""

import math

import keras

from keras_sam.experiments import networks
from keras_sam.experiments import sources
from keras_sam.experiments import tables
from keras_sam.experiments.config import Experiment

PAPER = "https://arxiv.org/abs/2010.01412"

SPEEDS = {
    "two CPU cores": 2e10,
    "8 V100": 8 * 5e12,
    "32 TPUv3 cores": 32 * 2e13,
    "64 TPUv3 cores": 64 * 2e13,
    "128 TPUv3 cores": 128 * 2e13,
}
"""Operations per second: for accelerators a third of the peak that their makers
state, in float32 for the V100 and in bfloat16 for the TPU; for CPU cores about
the best of `examples/records`, of which small networks reach a tenth.
"""

GROUPS = {
    "data": (
        *("source", "dataset", "folder", "train_split", "test_split"),
        *("num_train", "num_test", "redrawn", "imbalance", "held_out"),
        *("image_size", "standardize"),
        *("augmentation", "mixup", "label_noise", "include_own", "watched"),
        "bootstrap",
    ),
    "network": ("network", "depth", "width", "weights"),
    "SGD": (
        *("learning_rate", "cosine_decay", "stable", "momentum", "nesterov"),
        "ema",
        *("weight_decay", "decoupled", "clipnorm", "label_smoothing"),
    ),
    "training": (
        *("epochs", "budget", "batch_size", "seeds", "spectrum"),
        *("jit_compile", "eager", "strategy", "workers"),
    ),
}
"""The lines of a page, with the settings in them."""

UNUSED = {"imbalance": 1.0}
"""Settings that are not shown, besides those that are false."""


def page(experiment: Experiment, command: str) -> str:
    """Return the settings of an experiment as a table, without unused ones."""
    rows = [("command", command)]
    for title, names in GROUPS.items():
        values = ((name, getattr(experiment, name)) for name in names)
        shown = (f"{k}={v}" for k, v in values if v and v != UNUSED.get(k))
        rows.append((title, ", ".join(shown)))
    sam = ", ".join(f"{name}={v!r}" for name, v in experiment.sam.items())
    table = experiment.table
    source = f"{'table ' * table.isdigit()}{table} of {PAPER}"
    error = experiment.paper_error
    rows += [
        ("SAMModel", sam),
        ("hardware of the paper", experiment.hardware or "not stated"),
        ("estimated time of a run", _estimated_time(experiment)),
        (
            "expected test error",
            f"{error} % ({source})" if error else "the paper prints none",
        ),
    ]
    return tables.render(["", experiment.name], rows, width=80)


def num_operations(experiment: Experiment) -> float:
    """Return the number of additions and multiplications in a run.

    Counts convolutions and dense layers. `nan` if the network is in a file or
    the data set is not in `sources.SIZES`.
    """
    is_digits = experiment.source == "digits"
    dataset = "digits" if is_digits else experiment.dataset
    if experiment.weights.endswith(".keras") or dataset not in sources.SIZES:
        return math.nan
    num_images, size, channels, num_classes = sources.SIZES[dataset]
    size = experiment.image_size or size
    with keras.StatelessScope():  # Weights are not allocated.
        model = networks.build(
            experiment.network,
            experiment.depth,
            experiment.width,
            num_classes,
            (size, size, channels),
        )
    # Each element of a kernel is used once for each position of the output.
    products = sum(
        math.prod(layer.kernel.shape) * math.prod(layer.output.shape[1:-1])
        for layer in model.layers
        if hasattr(layer, "kernel")
    )
    num_examples = (experiment.num_train or num_images) * experiment.num_epochs
    is_sharp = experiment.sam.get("rho") != 0
    num_passes = (1 + is_sharp) * (1 + experiment.bootstrap)
    # A product comes with an addition; the backward pass has two products (by
    # inputs and by weights) for each one of the forward pass.
    return 2.0 * products * 3 * num_passes * num_examples


def _estimated_time(experiment: Experiment) -> str:
    operations = num_operations(experiment)
    if math.isnan(operations):
        return "not known"
    names = {experiment.hardware or "8 V100", "two CPU cores"} & {*SPEEDS}
    times = (
        f"{_duration(operations / SPEEDS[n])} on {n}" for n in sorted(names)
    )
    return (
        f"{operations:.1e} operations: about {', '.join(times)}; longer if "
        "the network is small"
    )


def _duration(seconds: float) -> str:
    for unit, name in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{max(seconds, 1):.0f} seconds"
