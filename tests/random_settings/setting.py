"""Everything that a training depends on, drawn at random."""

import dataclasses
from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import keras
import numpy as np
from hypothesis import strategies

from keras_sam import schedules
from tests import frameworks
from tests.methods.table import METHODS
from tests.methods.table import MOMENTUM
from tests.random_settings.by_hand import Recipe
from tests.random_settings.by_hand import momentum_sam
from tests.random_settings.networks import BRANCHES
from tests.random_settings.networks import NUM_CLASSES
from tests.random_settings.networks import Network

BATCH_SIZE = 8

# Small gradients are divided by their size: by that of 1e-7 they would show
# roundings. This is the order of the larger ones.
EPSILON = 1e-2

OPTIMIZERS = {
    "sgd": lambda **options: keras.optimizers.SGD(0.1, **options),
    "nesterov": lambda **options: keras.optimizers.SGD(
        0.1, momentum=0.9, nesterov=True, **options
    ),
    "adam": lambda **options: keras.optimizers.Adam(
        0.02, epsilon=EPSILON, **options
    ),
    "adamw": lambda **options: keras.optimizers.AdamW(
        0.02, weight_decay=0.1, epsilon=EPSILON, **options
    ),
    "decayed_sgd": lambda **options: keras.optimizers.SGD(
        keras.optimizers.schedules.ExponentialDecay(0.1, 2, 0.5), **options
    ),
}

CLIPPING = {
    "none": {},
    "clipnorm": {"clipnorm": 0.1},
    "global_clipnorm": {"global_clipnorm": 0.3},
    "clipvalue": {"clipvalue": 0.05},
}

ACCUMULATION = {"none": {}, "two": {"gradient_accumulation_steps": 2}}

AVERAGING = {
    "none": {},
    "ema": {"use_ema": True, "ema_momentum": 0.5},
    "overwriting": {
        "use_ema": True,
        "ema_momentum": 0.5,
        "ema_overwrite_frequency": 2,
    },
}

SCALING = {
    "none": lambda optimizer: optimizer,
    "dynamic": lambda optimizer: keras.optimizers.LossScaleOptimizer(
        optimizer, initial_scale=2.0**8, dynamic_growth_steps=2
    ),
    # The first steps overflow in float16, and are skipped.
    "overflowing": lambda optimizer: keras.optimizers.LossScaleOptimizer(
        optimizer, initial_scale=2.0**18
    ),
}


class Schedule(NamedTuple):
    """A radius: as an argument of `SAMModel`, and by the iteration."""

    make: Callable[[float], Any]
    at: Callable[[float, int], float]


SCHEDULES = {
    "constant": Schedule(lambda rho: rho, lambda rho, t: rho),
    "zero": Schedule(lambda rho: 0.0, lambda rho, t: 0.0),
    "periodic": Schedule(
        lambda rho: schedules.Periodic(2, rho),
        lambda rho, t: rho if t % 2 == 0 else 0.0,
    ),
    "late": Schedule(
        lambda rho: schedules.LatePhase(2, rho),
        lambda rho, t: rho if t >= 2 else 0.0,
    ),
    "warmup": Schedule(
        lambda rho: schedules.Warmup(2, rho),
        lambda rho, t: rho * min(max((t - 2) / 2, 0.0), 1.0),
    ),
    "decay": Schedule(
        lambda rho: keras.optimizers.schedules.ExponentialDecay(rho, 1, 0.8),
        lambda rho, t: rho * 0.8**t,
    ),
}


@keras.saving.register_keras_serializable("tests")
def is_kernel(variable):
    return "kernel" in variable.name


SELECTIONS = {
    "all": lambda variable: True,
    "no_norm_no_bias": lambda variable: (
        variable.name not in ("bias", "gamma", "beta")
    ),
    "norm_only": lambda variable: variable.name in ("gamma", "beta"),
    "kernels": is_kernel,
}

# That of the table takes the velocity of the optimizer.
OWN_FORMULAS = {"momentum_sam": momentum_sam(MOMENTUM)}

POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")
REDUCTIONS = ("sum_over_batch_size", "sum", "mean_with_sample_weight")
WEIGHTINGS = ("none", "sample_weight", "class_weight")


@dataclasses.dataclass(frozen=True)
class Setting:
    """All that a training depends on; most are keys of the tables above."""

    network: Network
    policy: str
    reduction: str
    weighting: str
    optimizer: str
    clipping: str
    accumulation: str
    averaging: str
    scaling: str
    method: str
    schedule: str
    perturb: str
    num_microbatches: int
    ascent_fraction: float
    num_examples: int
    steps_per_execution: int
    is_adopted: bool

    @property
    def is_possible(self):
        if self.weighting == "class_weight" and self.network.num_outputs > 1:
            return False
        holds_outputs = METHODS[self.method].method.holds_outputs
        if holds_outputs and self.ascent_fraction < 1:
            return False
        if self.perturb == "norm_only" and not self.network.has_trainable_norm:
            return False
        if self.clipping != "none" and self.network.has_sparse_gradients:
            # By hand a gradient is dense.
            if "clipping of sums in sparse gradients" in frameworks.LACKS:
                return False
        return self.network.is_loaded_as_saved

    @property
    def arguments(self):
        """Those of `SAMModel`."""
        row = METHODS[self.method]
        perturb = is_kernel if self.perturb == "kernels" else self.perturb
        return {
            "method": row.method,
            "rho": SCHEDULES[self.schedule].make(row.rho),
            "perturb": perturb,
            "num_microbatches": self.num_microbatches,
            "ascent_fraction": self.ascent_fraction,
        }

    @property
    def recipe(self):
        """The same by hand."""
        row, schedule = METHODS[self.method], SCHEDULES[self.schedule]
        return Recipe(
            OWN_FORMULAS.get(self.method, row.formula),
            lambda t: schedule.at(row.rho, t),
            SELECTIONS[self.perturb],
            self.num_microbatches,
            self.ascent_fraction,
            row.combines or row.is_conditional,
        )

    def make_optimizer(self):
        options = {
            **CLIPPING[self.clipping],
            **ACCUMULATION[self.accumulation],
            **AVERAGING[self.averaging],
        }
        return SCALING[self.scaling](OPTIMIZERS[self.optimizer](**options))

    def compile(self, model, **arguments):
        """Compile a model with loss, metrics and optimizer."""
        losses = [
            keras.losses.SparseCategoricalCrossentropy(
                reduction=self.reduction
            ),
            keras.losses.MeanSquaredError(reduction=self.reduction),
        ]
        metrics = ["accuracy", "mae"]
        if self.network.num_outputs == 1:
            losses, metrics = losses[0], metrics[:1]
        else:
            arguments["loss_weights"] = [1.0, 0.5]
        model.compile(
            self.make_optimizer(), losses, metrics=metrics, **arguments
        )

    def fit_arguments(self):
        """Return data and weights as arguments of `fit`."""
        x, y = self.network.data(self.num_examples)
        weights = np.linspace(0.2, 1.8, self.num_examples).astype("float32")
        if self.network.num_outputs > 1:
            weights = [weights, weights[::-1].copy()]
        arguments = {"x": x, "y": y, "batch_size": BATCH_SIZE}
        if self.weighting == "sample_weight":
            arguments["sample_weight"] = weights
        if self.weighting == "class_weight":
            arguments["class_weight"] = dict(
                zip(range(NUM_CLASSES), (0.5, 2.0, 1.0))
            )
        return {**arguments, "shuffle": False, "verbose": 0}


STEPS_PER_EXECUTION = [1, 1, 2]
if "several steps in one execution" in frameworks.LACKS:
    STEPS_PER_EXECUTION = [1]


def any_of(choices):
    return strategies.sampled_from(list(choices))


NETWORK = strategies.builds(
    Network,
    branches=strategies.lists(any_of(BRANCHES), min_size=1, max_size=2).map(
        tuple
    ),
    is_frozen=any_of([False, False, True]),
    dropout=any_of([0.0, 0.3]),
    l2=any_of([0.0, 0.01]),
    num_outputs=any_of([1, 2]),
)


def settings_of(method):
    """Return a strategy for all settings with a method.

    Hypothesis begins with the first of each choice: that is no plain step.
    """
    return strategies.builds(
        Setting,
        network=NETWORK,
        policy=any_of(["float32", *POLICIES]),
        reduction=any_of(REDUCTIONS),
        weighting=any_of(WEIGHTINGS),
        optimizer=any_of(OPTIMIZERS),
        clipping=any_of(CLIPPING),
        accumulation=any_of(ACCUMULATION),
        averaging=any_of(AVERAGING),
        scaling=any_of(SCALING),
        method=strategies.just(method),
        schedule=any_of(["constant", *SCHEDULES]),
        perturb=any_of(SELECTIONS),
        num_microbatches=any_of([3, 1, 2, 1]),
        ascent_fraction=any_of([0.5, 1.0, 0.3, 1.0]),
        num_examples=any_of([12, 16, 9, 20]),
        steps_per_execution=any_of(STEPS_PER_EXECUTION),
        is_adopted=strategies.booleans(),
    ).filter(lambda setting: setting.is_possible)
