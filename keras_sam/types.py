"""Names for the values that flow through the package."""

from typing import Any
from typing import NamedTuple
from typing import TypeAlias

Tensor: TypeAlias = Any
"""A tensor of the active backend, or anything `keras.ops` takes as one."""

Vector: TypeAlias = list[Tensor]
"""A point or direction in weight space: one tensor per variable."""

State: TypeAlias = dict[str, Any]
"""What a method remembers between steps: named tensors and vectors."""


class Weight(NamedTuple):
    """The value of one perturbed variable, and what the variable is for.

    Attributes:
        value: Tensor of the variable's shape.
        kind: `"kernel"` (of a dense, convolutional, recurrent or embedding
            layer), `"bias"`, or, in normalization layers, `"scale"` or
            `"offset"`.
    """

    value: Tensor
    kind: str


class Batch(NamedTuple):
    """What a step trains on, as `keras.utils.unpack_x_y_sample_weight` says.

    Attributes:
        x: Nest of tensors of shape `(batch_size, ...)`.
        y: Nest of tensors of shape `(batch_size, ...)`, or `None`.
        sample_weight: Nest of tensors of shape `(batch_size, ...)`, or `None`.
    """

    x: Any
    y: Any
    sample_weight: Any
