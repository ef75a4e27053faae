r"""Measure the cost of a Hessian-vector product, relative to a gradient.

    python examples/benchmarks/hessian.py

- One product against one gradient of the same compiled model on the same batch,
  for the networks of `step_time.py`: rounds of both alternate; the ratio is the
  median of the ratios of the rounds, with its quartiles. Layers are in
  inference mode, the default of all measures.
- Traces: the number of calls of the model by Python for all products.
- `hessian_eigenvalues(k=5)` on the network of the quickstart after five epochs,
  on its 1,347 training digits, with compilation.
- Memory: the growth of the resident memory of the process after many products,
  relative to the first 50 of them.

It takes less than 4 minutes on two CPU cores. Expected: a ratio of at most 3,
one trace, less than 10 s, and no growth.
"""

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.append(str(Path(__file__).parents[1]))

import keras
import numpy as np
import quickstart
from report import print_table
from report import quartiles
from step_time import NETWORKS

from keras_sam import sharpness
from keras_sam.data import Batches
from keras_sam.experiments.memory import keep_freed_memory


def objective_of(network, jit_compile):
    """Return an `Objective` on one batch of a network of `step_time.py`."""
    inputs, outputs, batch_size = NETWORKS[network](keras)
    model = keras.Model(inputs, outputs)
    model.compile(
        "sgd",
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=jit_compile,
    )
    rng = np.random.default_rng(0)
    x = rng.normal(size=(batch_size, *inputs.shape[1:])).astype("float32")
    y = rng.integers(0, 10, batch_size)
    return sharpness.Objective(model, x, y, batch_size=batch_size)


def product_row(network, jit_compile, num_rounds, num_calls):
    """Return a row: times of a gradient and a product, and traces."""
    objective = objective_of(network, jit_compile)
    curvature = sharpness.Curvature(objective)
    direction = np.random.default_rng(1).normal(size=curvature.size)
    direction = direction.astype(curvature.dtype)
    [(batch, _)] = objective.batches
    traces = count_traces(objective)

    def gradient():
        objective.loss_and_gradient(objective.weights, batch)

    def product():
        curvature.product(direction)

    product()
    num_traces = len(traces)
    gradient()
    before = len(traces)
    rounds = []
    for _ in range(num_rounds):
        rounds.append([seconds(f, num_calls) for f in (gradient, product)])
    # Except for the trace of the gradient, later calls must not trace again.
    num_traces += len(traces) - before
    gradients, products = (
        1000 * statistics.median(column) for column in zip(*rounds)
    )
    return (
        network,
        "XLA" if jit_compile else "graph",
        f"{gradients:.2f} ms",
        f"{products:.2f} ms",
        quartiles([b / a for a, b in rounds]),
        str(num_traces),
    )


def count_traces(objective):
    """Return a list to which each call of the model by Python appends."""
    traces = []
    call = objective.model.call

    def counting(*args, **kwargs):
        traces.append(1)
        return call(*args, **kwargs)

    objective.model.call = counting
    return traces


def seconds(function, num_calls):
    """Return the seconds of one call."""
    started = time.perf_counter()
    for _ in range(num_calls):
        function()
    return (time.perf_counter() - started) / num_calls


def eigenvalue_row(epochs):
    """Return a row: the time of five eigenvalues."""
    data = quickstart.load_data(0)
    keras.utils.set_random_seed(0)
    model = quickstart.make_model("keras.Model", 22 * 40)
    batches = Batches(data.x_train, data.y_train, 64)
    model.fit(batches, shuffle=False, epochs=epochs, verbose=0)
    started = time.perf_counter()
    result = sharpness.hessian_eigenvalues(
        model, data.x_train, data.y_train, k=5, verbose=0
    )
    return (
        str(result.num_weights),
        str(result.num_products),
        str(bool(result.converged.all())),
        f"{time.perf_counter() - started:.1f} s",
    )


def memory_rows(counts):
    """Yield rows: growth of resident memory after some numbers of products."""
    curvature = sharpness.Curvature(objective_of("mlp", False))
    direction = np.ones(curvature.size, curvature.dtype)
    weights = direction.nbytes
    for _ in range(50):
        curvature.product(direction)
    before, done = resident(), 0
    for count in counts:
        for _ in range(count - done):
            curvature.product(direction)
        done = count
        growth = resident() - before
        yield (
            str(count),
            f"{growth / 1e6:.1f} MB",
            f"{growth / weights:.2f}",
        )


def resident():
    """Return this process's resident memory in bytes, on Linux."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmRSS:")[1].split()[0])


def main():
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--models", nargs="+", choices=NETWORKS, default=list(NETWORKS)
    )
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--calls", type=int, default=5, help="per round")
    parser.add_argument(
        "--products", type=int, nargs="+", default=[200, 500, 1000, 2000]
    )
    parser.add_argument("--memory-only", action="store_true")
    parser.add_argument("--smoke", action="store_true", help="a few seconds")
    args = parser.parse_args()
    modes = (False, True)
    if args.smoke:
        args.models, args.rounds, args.products = ["mlp"], 2, [10]
        modes = (False,)
    if not args.memory_only:
        keep_freed_memory()
        print_table(
            ["network", "mode", "gradient", "one product", "ratio", "traces"],
            (
                product_row(network, mode, args.rounds, args.calls)
                for network in args.models
                for mode in modes
            ),
        )
        print_table(
            ["weights", "products", "converged", "five eigenvalues"],
            [eigenvalue_row(1 if args.smoke else 5)],
        )
    print_table(
        ["products", "growth of memory", "copies of the weights"],
        memory_rows(args.products),
    )


if __name__ == "__main__":
    main()
