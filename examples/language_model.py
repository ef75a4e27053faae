r"""Functional SAM on a language model of characters (over an hour).

    python examples/language_model.py
    python examples/language_model.py --arms 'SAM*' --seeds 0
    python examples/language_model.py --report       # table and plot only
    python examples/language_model.py --smoke        # a few steps

SAM makes language models worse than AdamW after as many steps, Functional SAM
makes them better, for models of 24 million weights and more that see each text
once (Singh et al., 2025, arXiv 2502.02407). Here is a small model that sees its
text ten times: a transformer of two blocks of width 64 (about 117,000 weights)
on windows of 64 characters of the modules of Python's standard library, about
600,000 characters for training and 120,000, of other modules, for validation.
AdamW with a rate of 0.003 that decays to 0 by a cosine, batches of 64.

All arms of a seed have the same initial weights and, in each epoch, another
order of the windows. The table has all radii that were tried. "AdamW, twice the
epochs" takes as long as SAM.

Prints the validation loss in nats a character, mean and range over seeds, at
the end of training and at its best epoch, and the difference from AdamW, paired
by seed with a 95 % interval. Each run is a line of
`records/language_model.jsonl`; those that are there are not run again. On two
CPU cores a run of AdamW takes about one minute, one of SAM about two.

Results: `docs/results/language_model.md`.
"""

import argparse
import fnmatch
import json
import os
import platform
import shlex
import sys
import sysconfig
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import frontier
import keras
import numpy as np
from keras import layers
from rich.progress import track
from wrong_labels import interval

import keras_sam
from keras_sam.experiments import tables
from keras_sam.experiments.memory import keep_freed_memory

LENGTH = 64
WIDTH = 64
BATCH_SIZE = 64
EPOCHS = 10
NUM_TRAIN, NUM_VALIDATION = 600_000, 120_000
RHOS = (0.05, 0.1, 0.2)

METHODS = ("sam", "functional_sam", "preconditioned_sam")
NAMES = {
    "sam": "SAM",
    "functional_sam": "FunctionalSAM",
    "preconditioned_sam": "PreconditionedSAM",
}
ARMS = {
    "AdamW": ({"rho": 0.0}, EPOCHS),
    "AdamW, twice the epochs": ({"rho": 0.0}, 2 * EPOCHS),
    **{
        f"{NAMES[method]}, rho {rho}": ({"method": method, "rho": rho}, EPOCHS)
        for method in METHODS
        for rho in RHOS
    },
}
"""Arguments of `SAMModel`, and epochs."""

COLORS = {
    "AdamW": "#d1661a",
    "SAM": "#1f6fb2",
    "FunctionalSAM": "#2a9d5c",
    "PreconditionedSAM": "#7a5195",
}
STYLES = (":", "-", "--")
"""Of the lines of the radii; that of AdamW is solid."""


def load_text():
    """Return windows of characters as integers, and the number of characters.

    Every sixth module is for validation.
    """
    folder = Path(sysconfig.get_path("stdlib"))
    modules = [p.read_text("utf-8") for p in sorted(folder.glob("*.py"))]
    parts = [
        "".join(m for i, m in enumerate(modules) if (i % 6 == 0) == is_held_out)
        for is_held_out in (False, True)
    ]
    parts = [parts[0][:NUM_TRAIN], parts[1][:NUM_VALIDATION]]
    known = sorted(set(parts[0]))
    index = {character: i + 1 for i, character in enumerate(known)}
    encoded = [
        np.array([index.get(character, 0) for character in part], "int32")
        for part in parts
    ]
    return *map(windows, encoded), len(known) + 1


def windows(text):
    """Return inputs and targets, the characters after them."""
    count = (len(text) - 1) // LENGTH
    x = text[: count * LENGTH].reshape(count, LENGTH)
    return x, text[1 : count * LENGTH + 1].reshape(count, LENGTH)


class Positions(layers.Layer):
    """Adds a trained vector for each position."""

    def build(self, shape):
        self.vectors = self.add_weight(
            shape=shape[1:], initializer="random_normal", name="vectors"
        )

    def call(self, inputs):
        return inputs + self.vectors


def block(x):
    """Return a block of a transformer, normalized before its parts."""
    normal = layers.LayerNormalization()(x)
    attention = layers.MultiHeadAttention(4, WIDTH // 4)
    x = x + attention(normal, normal, use_causal_mask=True)
    hidden = layers.LayerNormalization()(x)
    hidden = layers.Dense(4 * WIDTH, activation="gelu")(hidden)
    return x + layers.Dense(WIDTH)(hidden)


def compiled(sam, num_characters, num_steps):
    """Return the compiled language model."""
    inputs = keras.Input((LENGTH,), dtype="int32")
    x = layers.Embedding(num_characters, WIDTH)(inputs)
    x = Positions()(x)
    for _ in range(2):
        x = block(x)
    x = layers.LayerNormalization()(x)
    model = keras_sam.SAMModel(inputs, layers.Dense(num_characters)(x), **sam)
    rate = keras.optimizers.schedules.CosineDecay(3e-3, num_steps)
    model.compile(
        keras.optimizers.AdamW(rate, weight_decay=0.1, global_clipnorm=1.0),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return model


def num_epochs(variant, is_smoke):
    """Return the number of epochs of a run."""
    return 2 if is_smoke else ARMS[variant][1]


def train(variant, seed, data, is_smoke=False):
    """Return the record of a run."""
    (x, y), validation, num_characters = data
    sam, _ = ARMS[variant]
    epochs = num_epochs(variant, is_smoke)
    if is_smoke:
        x, y = x[:128], y[:128]
        validation = [a[:64] for a in validation]
    keras.utils.set_random_seed(seed)
    batches = keras_sam.data.Batches(x, y, batch_size=BATCH_SIZE, seed=seed)
    model = compiled(sam, num_characters, epochs * len(batches))
    history = model.fit(
        batches,
        epochs=epochs,
        shuffle=False,
        validation_data=tuple(validation),
        validation_batch_size=256,
        verbose=0,
    ).history
    return {
        "name": variant,
        "seed": seed,
        "loss": history["loss"],
        "validation_loss": history["val_loss"],
        "sharpness": history["sharpness"][-1],
        "num_weights": model.count_params(),
        "versions": {
            "python": platform.python_version(),
            "keras": keras.__version__,
            "backend": keras.backend.backend(),
        },
        "command": shlex.join(["python", *sys.argv]),
    }


def report(runs):
    """Print the table: for each method, all radii."""
    plain = {r["seed"]: r["validation_loss"][-1] for r in runs.get("AdamW", ())}
    rows = []
    for name, group in runs.items():
        last = {r["seed"]: r["validation_loss"][-1] for r in group}
        change = [last[s] - plain[s] for s in last if s in plain]
        rows.append((
            name,
            str(len(group)),
            frontier.mean_and_range([r["loss"][-1] for r in group], ".3f"),
            frontier.mean_and_range(list(last.values()), ".3f"),
            frontier.mean_and_range(
                [min(r["validation_loss"]) for r in group], ".3f"
            ),
            "-" if name == "AdamW" else interval(change, ".3f"),
        ))
    header = (
        *("arm", "seeds", "training loss", "validation loss"),
        *("at the best epoch", "above AdamW (95 %)"),
    )
    print("Nats a character: mean (lowest to highest) over seeds")
    print(tables.render(header, rows))


def draw(runs, output):
    """Draw the validation loss over epochs, a line for each run."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axis = figure.subplots()
    for name, group in runs.items():
        if name.endswith("twice the epochs"):
            continue
        method, _, rho = name.partition(", rho ")
        style = STYLES[RHOS.index(float(rho)) if rho else 1]
        for k, record in enumerate(group):
            losses = record["validation_loss"]
            axis.plot(
                range(1, len(losses) + 1),
                losses,
                style,
                color=COLORS[method],
                label=None if k else name,
                alpha=0.8,
            )
    axis.set_xlabel("epoch")
    axis.set_ylabel("validation loss, nats a character")
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, ncols=2)
    figure.savefig(output, dpi=110)


def main(given=None):
    """Train what has no record yet, then report."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--arms", default="*", help="a pattern of names")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--report", action="store_true", help="train nothing")
    parser.add_argument("--smoke", action="store_true", help="a few steps")
    file = Path(__file__).parent / "records" / "language_model.jsonl"
    parser.add_argument("--records", type=Path, default=file)
    parser.add_argument("--output", type=Path, default="language_model.png")
    arguments = parser.parse_args(given)
    if not arguments.report:
        keep_freed_memory()
        data = load_text()
        names = [*fnmatch.filter(ARMS, arguments.arms)]
        seeds = arguments.seeds
        if arguments.smoke:
            names, seeds = ["AdamW", "FunctionalSAM, rho 0.1"], [0]
        done = {
            (r["name"], r["seed"])
            for r in read(arguments.records, arguments.smoke)
        }
        missing = [
            (name, seed)
            for seed in seeds
            for name in names
            if (name, seed) not in done
        ]
        for name, seed in track(missing, "Training"):
            record = train(name, seed, data, arguments.smoke)
            with arguments.records.open("a") as lines:
                lines.write(json.dumps(record) + "\n")
    found = read(arguments.records, arguments.smoke)
    groups = {n: [r for r in found if r["name"] == n] for n in ARMS}
    groups = {name: group for name, group in groups.items() if group}
    report(groups)
    draw(groups, arguments.output)


def read(file, is_smoke):
    """Return the records of whole runs, or of those that are a few steps."""
    if not file.exists():
        return []
    found = map(json.loads, file.read_text().splitlines())
    return [
        record
        for record in found
        if len(record["loss"]) == num_epochs(record["name"], is_smoke)
    ]


if __name__ == "__main__":
    main()
