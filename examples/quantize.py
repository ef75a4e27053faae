r"""SAM, then fewer bits: what is lost by quantization (3 minutes).

    python examples/quantize.py
    python examples/quantize.py --smoke      # one seed, a few epochs

Two papers find that networks trained with SAM lose less by quantization after
training (arXiv 2605.02105 and 2503.11078): rounding moves the weights by a
perturbation that nobody chose, and SAM has trained for a low loss around them.

The networks of `quickstart.py`, without and with SAM, once on the right labels
and once with 40 % of them drawn at random, are rounded in two ways: by
`model.quantize("int8")` of Keras, which has a scale for each unit and also
rounds the inputs of each layer, and to 4 bits by hand, with one scale for each
kernel. Prints accuracy and loss on the test digits before and after, as mean
and range over five seeds. Nothing is trained after rounding.

Results: `docs/results/quantize.md`. Takes about three minutes on two CPU cores.
"""

import argparse
import itertools
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import frontier
import numpy as np
import quickstart
from rich.progress import track

from keras_sam.experiments import tables
from keras_sam.experiments.memory import keep_freed_memory

NOISES = (0.0, 0.4)


def rounded(model, bits):
    """Round each kernel to so many bits, with one scale for the kernel."""
    largest = 2 ** (bits - 1) - 1
    for variable in model.trainable_variables:
        if variable.name != "kernel":
            continue
        value = variable.numpy()
        scale = np.abs(value).max() / largest
        variable.assign(np.round(value / scale) * scale)


def measured(model, data):
    """Return loss and accuracy in per cent on the test digits."""
    loss, accuracy = model.evaluate(data.x_test, data.y_test, verbose=0)
    return loss, 100 * accuracy


def run(method, noise, seed, epochs):
    """Return loss and accuracy as trained, and with 8 and with 4 bits."""
    data = quickstart.load_data(seed, noise)
    model = quickstart.train(method, data, seed, epochs).model
    weights = model.get_weights()
    found = {"as trained": measured(model, data)}
    rounded(model, 4)
    found["4 bits"] = measured(model, data)
    model.set_weights(weights)
    model.quantize("int8")
    found["int8"] = measured(model, data)
    return found


def main(given=None):
    """Train, round and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--smoke", action="store_true", help="a few epochs")
    arguments = parser.parse_args(given)
    keep_freed_memory()
    seeds, epochs = (range(1), 2) if arguments.smoke else (range(5), 40)
    arms = [*itertools.product(NOISES, quickstart.METHODS)]
    found = {
        (noise, method): [run(method, noise, seed, epochs) for seed in seeds]
        for noise, method in track(arms, "Training")
    }
    rows = []
    for (noise, method), runs in found.items():
        for name in ("as trained", "int8", "4 bits"):
            losses, accuracies = zip(*(run[name] for run in runs))
            changes = [run[name][0] - run["as trained"][0] for run in runs]
            rows.append((
                f"{noise:.0%}",
                method,
                name,
                frontier.mean_and_range(accuracies),
                frontier.mean_and_range(losses, ".3f"),
                frontier.mean_and_range(changes, "+.4f"),
            ))
    header = (
        *("random labels", "trained as", "weights"),
        *("accuracy, %", "loss", "change"),
    )
    print(f"Clean test digits, {len(seeds)} seeds: mean (lowest to highest)")
    print(tables.render(header, rows))


if __name__ == "__main__":
    main()
