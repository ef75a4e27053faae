r"""Measure the cost of a sharpness-aware step, relative to a plain Keras step.

    python examples/benchmarks/step_time.py
    python examples/benchmarks/step_time.py --steps-only --models mlp cnn \
        --methods sam asam gsam weighted_sam friendly_sam vasso stable_sam \
        ae_sam momentum_sam look_sam periodic_5 quarter
    python examples/benchmarks/step_time.py --steps-only --models mlp cnn \
        --peer --backend jax

Prints the tables of the README's section on cost. For each network there is a
plain `keras.Model` and a `SAMModel` of the same layers, optimizer and data:
with TensorFlow once with the graph executor and once with XLA
(`jit_compile=True`), with JAX compiled, with PyTorch eager. `--peer` adds, to
the same rounds, the step of another library on the same network and batch:
`SharpnessAwareMinimization` of tf-keras, `optax.contrib.sam` in opaque mode, or
`pytorch_optimizer.SAM`, which must be installed.

- Time per step: rounds of plain and SAM steps alternate, in random order within
  a round; the ratio is the median of the ratios of the rounds, with its
  quartiles. A slow phase of the machine then affects both sides.
- First step: making the train function and calling it once on a new, built
  model: tracing, compilation, creation of the optimizer's variables, and one
  step. Median over repetitions with new models, in random order.
- Memory: each variant trains 16 layers of 2,048 x 2,048 weights (268 MB) on one
  example in a separate process; the difference of the peaks of resident memory
  is given in copies of the weights. Activations are negligible.

Networks and batches are sized so that a step takes milliseconds to tens of
milliseconds on two CPU cores; the overhead of a call is then negligible.

It takes about 8 minutes on two CPU cores. Expected: see README.md, section
"What a step costs".
"""

import argparse
import gc
import os
import random
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

if "--backend" in sys.argv:
    os.environ["KERAS_BACKEND"] = sys.argv[sys.argv.index("--backend") + 1]

import keras
import numpy as np
from networks import NETWORKS
from report import print_table
from report import quartiles
from steppers import MODES
from steppers import PEER
from steppers import Stepper
from steppers import make_peer

import keras_sam
from keras_sam.experiments.memory import keep_freed_memory

NUM_MICROBATCHES = 8
VARIANTS = {
    "periodic_5": {"rho": keras_sam.schedules.Periodic(5, 0.05)},
    "quarter": {"ascent_fraction": 0.25},
    "norm_only": {"perturb": "norm_only"},
}
"""Values of `--methods` that are no methods, as arguments of `SAMModel`."""
BIG = 2048
NUM_BIG = 16


class Timer:
    """Measures the time of steps.

    Args:
        stepper: See `steppers`.
    """

    def __init__(self, stepper):
        self._stepper = stepper

    def run(self, num_steps):
        """Return the seconds per step."""
        started = time.perf_counter()
        for _ in range(num_steps):
            self._stepper.step()
        self._stepper.wait()
        return (time.perf_counter() - started) / num_steps


def make_timer(network, mode, sam=None, is_peer=False):
    """Return a new `Timer`; `sam` are settings, or `None` for plain."""
    inputs, outputs, batch_size = NETWORKS[network](keras)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(batch_size, *inputs.shape[1:])).astype("float32")
    y = rng.integers(0, 10, batch_size)
    if is_peer:
        return Timer(make_peer(NETWORKS[network], x, y, MODES[mode]))
    if sam is None:
        model = keras.Model(inputs, outputs)
    else:
        model = keras_sam.SAMModel(inputs, outputs, **sam)
    model.compile(
        optimizer=keras.optimizers.SGD(0.01, momentum=0.9),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        **MODES[mode],
    )
    return Timer(Stepper(model, x, y))


def free_earlier_models():
    """Free them now, and not during a measurement."""
    keras.utils.clear_session()
    gc.collect()


def in_random_order(measure, variants):
    """Return `{variant: measure(variant)}`, measured in random order."""
    order = random.sample(variants, len(variants))
    measured = {variant: measure(variant) for variant in order}
    return {variant: measured[variant] for variant in variants}


def step_rows(network, mode, args):
    """Return a row for each method, and for the peer: time per step.

    Methods with plain steps in between have a period of five steps.
    """
    free_earlier_models()
    timers = {
        name: make_timer(network, mode, sam)
        for name, sam in settings_of(args.methods).items()
    }
    if args.peer:
        timers[PEER] = make_timer(network, mode, is_peer=True)
    for timer in timers.values():
        timer.run(3)
    rounds = [
        in_random_order(lambda name: timers[name].run(args.steps), list(timers))
        for _ in range(args.rounds)
    ]
    plain = 1000 * statistics.median(r["plain"] for r in rounds)
    for name in list(timers)[1:]:
        sam = 1000 * statistics.median(r[name] for r in rounds)
        yield (
            network,
            mode,
            name,
            f"{plain:.2f} ms",
            f"{sam:.2f} ms",
            quartiles([r[name] / r["plain"] for r in rounds]),
        )


def first_step_rows(network, mode, methods, num_repeats):
    """Return a row for each method: the first step, and with micro-batches."""
    variants = settings_of(methods)
    for name in methods:
        variants[name, NUM_MICROBATCHES] = {
            "method": name,
            "num_microbatches": NUM_MICROBATCHES,
        }

    def measure(name):
        free_earlier_models()
        return make_timer(network, mode, variants[name]).run(1)

    in_random_order(measure, list(variants))
    repeats = [
        in_random_order(measure, list(variants)) for _ in range(num_repeats)
    ]
    plain = statistics.median(r["plain"] for r in repeats)
    for name in methods:
        one, eight = name, (name, NUM_MICROBATCHES)
        seconds = [
            statistics.median(r[v] for r in repeats) for v in (one, eight)
        ]
        yield (
            network,
            mode,
            name,
            f"{plain:.2f} s",
            f"{seconds[0]:.2f} s",
            f"{median_ratio(repeats, one, 'plain'):.2f}",
            f"{seconds[1]:.2f} s",
            f"{median_ratio(repeats, eight, one):.2f}",
        )


def memory_rows(methods, modes, smoke):
    """Return a row for each mode and method: peak memory."""
    for mode in modes:
        peaks = {
            name: peak_in_new_process(name, mode, smoke)
            for name in settings_of(methods)
        }
        weights = num_layers(smoke) * BIG * BIG * 4
        for name in methods:
            yield (
                mode,
                name,
                f"{peaks['plain'] / 1e6:.0f} MB",
                f"{peaks[name] / 1e6:.0f} MB",
                f"{(peaks[name] - peaks['plain']) / weights:.2f}",
            )


def peak_in_new_process(name, mode, smoke):
    """Return the peak of resident memory in bytes."""
    command = [sys.executable, __file__, "--memory-of", name, mode]
    result = subprocess.run(
        command + ["--smoke"] * smoke,
        check=True,
        text=True,
        stdout=subprocess.PIPE,
    )
    return int(result.stdout.split()[-1])


def print_peak(name, mode, smoke):
    """Train a model of large weights and print this process's peak memory."""
    inputs = x = keras.Input((BIG,))
    for _ in range(num_layers(smoke)):
        x = keras.layers.Dense(BIG, use_bias=False)(x)
    sam = settings_of([name])[name]
    if sam is None:
        model = keras.Model(inputs, x)
    else:
        model = keras_sam.SAMModel(inputs, x, **sam)
    model.compile("sgd", "mse", **MODES[mode])
    data = np.ones((1, BIG), "float32")
    for _ in range(3):
        model.train_on_batch(data, data)
    print(peak_memory())


def peak_memory():
    """Return the peak of this process's resident memory in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # On Linux, ru_maxrss starts at that of the parent.
        return 1024 * int(status.read_text().split("VmHWM:")[1].split()[0])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def num_layers(smoke):
    """Return the number of layers of the network for memory."""
    return 2 if smoke else NUM_BIG


def settings_of(methods):
    """Return `{name: arguments of SAMModel}`, `None` for the plain model."""
    named = {
        name: VARIANTS.get(name, {"method": name})
        for name in methods
        if name != "plain"
    }
    return {"plain": None, **named}


def median_ratio(repeats, numerator, denominator):
    """Return the median over repetitions of one time over another."""
    return statistics.median(r[numerator] / r[denominator] for r in repeats)


def main():
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--models", nargs="+", choices=NETWORKS, default=list(NETWORKS)
    )
    parser.add_argument("--methods", nargs="+", default=["sam"])
    parser.add_argument(
        "--backend",
        choices=[keras.backend.backend()],  # Read before Keras is imported.
        metavar="{tensorflow,jax,torch}",
    )
    parser.add_argument("--modes", nargs="+", choices=MODES, default=MODES)
    parser.add_argument(
        "--peer", action="store_true", help=f"also the step of {PEER}"
    )
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--steps", type=int, default=10, help="per round")
    parser.add_argument("--repeats", type=int, default=5, help="first steps")
    parser.add_argument(
        "--steps-only", action="store_true", help="only the first table"
    )
    parser.add_argument("--smoke", action="store_true", help="a few seconds")
    parser.add_argument("--memory-of", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.memory_of:
        print_peak(*args.memory_of, args.smoke)
        return
    keep_freed_memory()
    if args.smoke:
        args.models, args.modes = args.models[:1], [*MODES][:1]
        args.rounds, args.steps, args.repeats = 2, 2, 1

    cases = [(network, mode) for network in args.models for mode in args.modes]
    print_table(
        ["network", "mode", "method", "plain step", "SAM step", "ratio"],
        (row for case in cases for row in step_rows(*case, args)),
    )
    if args.steps_only:
        return
    print_table(
        [
            "network",
            "mode",
            "method",
            "plain first step",
            "SAM first step",
            "ratio",
            f"with num_microbatches={NUM_MICROBATCHES}",
            "ratio to 1",
        ],
        (
            row
            for case in cases
            for row in first_step_rows(*case, args.methods, args.repeats)
        ),
    )
    print_table(
        ["mode", "method", "plain peak", "SAM peak", "extra copies of weights"],
        memory_rows(args.methods, args.modes, args.smoke),
    )


if __name__ == "__main__":
    main()
