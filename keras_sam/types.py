"""Names for the values that flow through the package."""

from typing import Any
from typing import NamedTuple
from typing import TypeAlias

Tensor: TypeAlias = Any
"""A tensor of the active backend, or anything `keras.ops` takes as one."""

Vector: TypeAlias = list[Tensor]
"""A point or direction in weight space: one tensor per variable."""

Gradients: TypeAlias = list[Tensor | None]
"""One for each trainable variable, `None` where a loss does not depend on it;
sparse where the backend has sparse gradients."""

State: TypeAlias = dict[str, Any]
"""The state of a method between steps: named tensors and vectors."""


class Weight(NamedTuple):
    """The value and the role of one perturbed variable.

    Attributes:
        value: Tensor of the variable's shape.
        role: `"kernel"` (of a dense, convolutional, recurrent or embedding
            layer), `"bias"`, or, in normalization layers, `"scale"` or
            `"offset"`.
    """

    value: Tensor
    role: str


Weights: TypeAlias = list[Weight]
"""One for each perturbed variable."""


class Batch(NamedTuple):
    """A batch, as from `keras.utils.unpack_x_y_sample_weight`.

    Attributes:
        x: Nest of tensors of shape `(batch_size, ...)`.
        y: Nest of tensors of shape `(batch_size, ...)`, or `None`.
        sample_weight: Nest of tensors of shape `(batch_size, ...)`, or `None`.
    """

    x: Any
    y: Any
    sample_weight: Any
