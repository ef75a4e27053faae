"""The table of methods: one row, and a method is in every test of methods."""

from typing import NamedTuple

import keras
import numpy as np

from keras_sam import backend
from keras_sam import methods
from tests.reference import methods as formulas

MOMENTUM = 0.8

# From the paper of AESAM, for six steps of training.
THRESHOLD = keras.optimizers.schedules.PolynomialDecay(1.0, 6, -1.0)


def normal(shapes, t):
    """Return the draws of `RandomAscent(seed=3)` at step t."""
    arrays = [np.zeros(shape, keras.config.floatx()) for shape in shapes]
    draws = backend.normal_like(arrays, 3, keras.ops.convert_to_tensor(t))
    return [keras.ops.convert_to_numpy(z) for z in draws]


class Row(NamedTuple):
    """A method, and its promises.

    Attributes:
        method: With hyperparameters that are not the defaults.
        formula: The same in NumPy.
        rho: A radius large enough for a visible effect.
        default_rho: The radius if none is given.
        copies: How many numbers are stored for each perturbed weight.
        numbers: How many other numbers are stored.
        is_conditional: Whether some steps have no second pass. Such methods
            work in `fit` only.
        corrects: Whether weights are changed past the optimizer, which is
            possible in `fit` only.
        combines: Whether the update depends on the gradient at w of weights
            that are not perturbed.
        is_radius: Whether the norm of the perturbation is rho.
    """

    method: methods.Method
    formula: formulas.Method
    rho: float = 0.3
    default_rho: float = 0.05
    copies: int = 0
    numbers: int = 0
    is_conditional: bool = False
    corrects: bool = False
    combines: bool = False
    is_radius: bool = True


METHODS = {
    "sam": Row(methods.SAM(), formulas.sam()),
    "asam": Row(
        methods.ASAM(eta=0.02),
        formulas.asam(0.02),
        0.5,
        default_rho=0.5,
        is_radius=False,
    ),
    "gsam": Row(methods.GSAM(alpha=0.3), formulas.gsam(0.3), combines=True),
    "weighted_sam": Row(
        methods.WeightedSAM(gamma=0.8),
        formulas.weighted_sam(0.8, decoupled=True),
        rho=0.1,
        corrects=True,
        combines=True,
    ),
    "coupled": Row(
        methods.WeightedSAM(gamma=0.8, decoupled=False),
        formulas.weighted_sam(0.8, decoupled=False),
        rho=0.1,
        combines=True,
    ),
    "friendly_sam": Row(
        methods.FriendlySAM(sigma=0.7, decay=0.6),
        formulas.friendly_sam(0.7, 0.6),
        copies=1,
        numbers=1,
    ),
    "vasso": Row(
        methods.VaSSO(theta=0.4), formulas.vasso(0.4), copies=1, numbers=1
    ),
    "stable_sam": Row(
        methods.StableSAM(), formulas.stable_sam(), combines=True
    ),
    "momentum_sam": Row(
        methods.MomentumSAM(momentum=MOMENTUM),
        formulas.momentum_sam(),
        default_rho=0.3,
        copies=1,
    ),
    "look_sam": Row(
        methods.LookSAM(period=3, alpha=0.6),
        formulas.look_sam(3, 0.6),
        copies=1,
        is_conditional=True,
    ),
    "ae_sam": Row(
        methods.AESAM(threshold=THRESHOLD, decay=0.5),
        formulas.ae_sam(lambda t: 1 - 2 * t / 6, 0.5),
        numbers=3,
        is_conditional=True,
    ),
    "le_sam": Row(
        methods.LESAM(max_radius=0.3),
        formulas.le_sam(0.3),
        default_rho=0.1,
        is_radius=False,
    ),
    "preconditioned_sam": Row(
        methods.PreconditionedSAM(beta=0.6, epsilon=0.01),
        formulas.preconditioned_sam(0.6, 0.01),
        copies=1,
        numbers=1,
    ),
    "random_ascent": Row(
        methods.RandomAscent(seed=3),
        formulas.random_ascent(normal, per_filter=True),
        numbers=1,
        is_radius=False,
    ),
    "functional_sam": Row(methods.FunctionalSAM(), formulas.functional_sam()),
}

VARIANTS = {
    "adaptive_gsam": Row(
        methods.GSAM(alpha=0.3, metric=methods.AdaptiveMetric(eta=0.02)),
        formulas.gsam(0.3, eta=0.02),
        rho=0.5,
    ),
    "adaptive_le_sam": Row(
        methods.LESAM(max_radius=1.5, metric=methods.AdaptiveMetric(eta=0.02)),
        formulas.le_sam(1.5, eta=0.02),
    ),
    "unnormalized_stable_sam": Row(
        methods.StableSAM(normalized=False),
        formulas.stable_sam(normalized=False),
    ),
    "random_direction": Row(
        methods.RandomAscent(seed=3, per_filter=False),
        formulas.random_ascent(normal, per_filter=False),
    ),
}
"""Methods with other arguments, for the tests against the formula alone."""

ROWS = {**METHODS, **VARIANTS}

ALONG_GRADIENTS = tuple(name for name in METHODS if name != "random_ascent")
"""The methods that draw no numbers, which differ between backends.

Their perturbation is zero where all gradients have been.
"""

WITH_CLEAN_PASS = tuple(
    name for name, row in METHODS.items() if row.method.needs_gradients
)
"""The methods that need the gradients at w."""

WITH_ASCENT_FRACTION = tuple(
    name for name, row in METHODS.items() if not row.method.holds_outputs
)
"""The methods whose first pass may be over fewer examples."""

NAMES = tuple(name for name in METHODS if name != "coupled")
"""Values of the argument `method` of `SAMModel`."""

STATEFUL = tuple(
    name for name, row in METHODS.items() if row.copies or row.numbers
)
"""The methods with state."""

IN_LOOPS = tuple(
    name
    for name, row in METHODS.items()
    if not (row.is_conditional or row.corrects or row.method.holds_outputs)
)
"""The methods of `sharpness_aware_gradients`."""
