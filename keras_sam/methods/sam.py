"""Sharpness-Aware Minimization."""

import dataclasses

import keras

from keras_sam.methods.steepest import SteepestAscent


@keras.saving.register_keras_serializable(package="keras_sam")
@dataclasses.dataclass(frozen=True, kw_only=True)
class SAM(SteepestAscent):
    """Perturb to the surface of a ball: `e = rho * g / ||g||`.

    The norm is the Euclidean norm over all perturbed variables together. The
    default radius is 0.05, which the paper calls a solid default (section
    3.1); its search grid is 0.01, 0.02, 0.05, 0.1, 0.2, 0.5.

    Args:
        metric: `"euclidean"`, or `"adaptive"`, which is ASAM; see
            `keras_sam.methods.AdaptiveMetric`. Defaults to `"euclidean"`.

    Example:
    >>> gradients = [ops.array([3e-8, 4e-8])]
    >>> [e] = keras_sam.methods.SAM().perturb(gradients, [], 0.05, {})
    >>> print(ops.convert_to_numpy(e).round(3))
    [0.03 0.04]

    Reference:
        [Foret et al., 2021](https://arxiv.org/abs/2010.01412), equation 2 with
        p = 2, and equation 3 without the second-order term. Deviation: the
        authors' code divides by the bare norm, which is NaN at a zero
        gradient; here the perturbation is then zero.
    """
