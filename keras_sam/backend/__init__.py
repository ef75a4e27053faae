"""The only place that names a framework or private Keras API.

Private Keras names that this folder relies on, each covered by
`tests/backend/test_private_names.py`:

| name | why |
| --- | --- |
| `Model._compute_loss` | calls `compute_loss` with or without `training` |
| `Model._aggregate_additional_loss` | sums what a model adds to its loss |
| `CompileLoss` | a loss in the form that `compile` takes |
| `Model._loss_tracker` | the running mean that `fit` logs as `loss` |
| `Model._call_has_training_arg` | whether `call` takes `training` |
| `Model._flatten_layers` | every layer, also inside composite layers |
| `Model._flatten_metrics_in_order` | the list that `train_on_batch` returns |
| `Model._get_metrics_result_or_logs` | `fit` keeps logs with an entry more |
| `Model._maybe_symbolic_build` | builds from a batch on several workers |
| `Model._symbolic_build` | creates the variables of loss and metrics |
| `Model._compile_loss`, `Model._compile_metrics` | whether they are built |
| `Model._distribute_strategy` | a strategy of TensorFlow, or `None` |
| `Model._compile_config` | tells one `compile` from another; set last |
| `MultiOptimizer._var_to_optimizer_idx`, `Optimizer._var_key` | who updates |
| `Optimizer._iterations` | the counter, also with accumulated gradients |
| `Variable._layout` | how a variable is laid out over devices |
| `Functional` | the class that `keras.Model(inputs, outputs)` makes |
| `functional_init_arguments` | whether arguments are inputs and outputs |
| `functional_like_constructor` | whether a constructor takes these |
| `default` | marks a `get_config` that subclasses may rely on |
| `KerasSaveable`, `KerasSaveable._obj_type` | is saved with the model |
| `GLOBAL_CUSTOM_NAMES` | under which name a class is saved |
| `unscale_loss_for_distribution` | undoes the division by the replica count |
| `get_keras_mask`, `set_keras_mask` | masks on predictions |
| `get_stateless_scope` | the scope around a scope |
| `current_path` | the layers that are being called |
| `get_device` | which device PyTorch runs on |
| `Variable._convert_to_tensor` | a variable that stays in main memory |
| `Variable._direct_assign` | a variable kept by PyTorch itself |
| `global_seed_generator` | made before a pass, not in it |
| `SeedGenerator._initial_seed` | whether PyTorch's generators are drawn from |
"""

import keras

from keras_sam.backend.common import as_input
from keras_sam.backend.common import as_tensor
from keras_sam.backend.common import densify
from keras_sam.backend.common import draws_by_example
from keras_sam.backend.common import filled_like
from keras_sam.backend.common import generator_variables
from keras_sam.backend.common import kept_generators
from keras_sam.backend.common import mean_over_replicas
from keras_sam.backend.common import normal_like
from keras_sam.backend.common import num_replicas
from keras_sam.backend.common import perturbed_weights
from keras_sam.backend.common import stored_values
from keras_sam.backend.common import sum_in_turn
from keras_sam.backend.common import take
from keras_sam.backend.common import unlisted_state
from keras_sam.backend.common import with_equal_lengths
from keras_sam.backend.common import with_pure_randomness
from keras_sam.backend.common import write_unlisted
from keras_sam.backend.evaluation import batches_of_evaluate
from keras_sam.backend.keras_private import DiscardsSharedFunctions
from keras_sam.backend.keras_private import Functional
from keras_sam.backend.keras_private import KerasSaveable
from keras_sam.backend.keras_private import as_default
from keras_sam.backend.keras_private import build
from keras_sam.backend.keras_private import call_in_training_mode
from keras_sam.backend.keras_private import compile_config
from keras_sam.backend.keras_private import compute_loss
from keras_sam.backend.keras_private import current_layer_name
from keras_sam.backend.keras_private import flatten_layers
from keras_sam.backend.keras_private import functional_init_arguments
from keras_sam.backend.keras_private import get_keras_mask
from keras_sam.backend.keras_private import get_stateless_scope
from keras_sam.backend.keras_private import has_functional_constructor
from keras_sam.backend.keras_private import iterations
from keras_sam.backend.keras_private import layout
from keras_sam.backend.keras_private import learning_rate
from keras_sam.backend.keras_private import logs_as_list
from keras_sam.backend.keras_private import loss_in_place_of_compiled
from keras_sam.backend.keras_private import loss_scale
from keras_sam.backend.keras_private import made_global_seed_variable
from keras_sam.backend.keras_private import optimizer_of
from keras_sam.backend.keras_private import predict
from keras_sam.backend.keras_private import save_under_name_of
from keras_sam.backend.keras_private import set_keras_mask
from keras_sam.backend.keras_private import track_loss
from keras_sam.backend.keras_private import unscale_loss_for_distribution
from keras_sam.backend.vectors import add
from keras_sam.backend.vectors import dot
from keras_sam.backend.vectors import scale
from keras_sam.backend.vectors import scale_lazily
from keras_sam.backend.vectors import scale_or_zero
from keras_sam.backend.vectors import subtract
from keras_sam.types import Tensor

# What a backend does in a way of its own replaces what is common to all.
if keras.backend.backend() == "tensorflow":
    from keras_sam.backend.tensorflow import *  # noqa: F403
elif keras.backend.backend() == "jax":
    from keras_sam.backend.jax import *  # noqa: F403
elif keras.backend.backend() == "torch":
    from keras_sam.backend.torch import *  # noqa: F403
else:
    raise NotImplementedError(
        "keras_sam runs on the TensorFlow, JAX and PyTorch backends of Keras. "
        'Set the environment variable KERAS_BACKEND to "tensorflow", "jax" or '
        '"torch" before Keras is imported. '
        f"Received: backend={keras.backend.backend()!r}"
    )


def read(variable: keras.Variable) -> Tensor:
    """Return the value of a variable as a tensor without a history."""
    return as_tensor(variable.value)


__all__ = [
    "DiscardsSharedFunctions",
    "Functional",
    "KerasSaveable",
    "add",
    "as_default",
    "as_input",
    "as_tensor",
    "batches_of_evaluate",
    "build",
    "call_in_training_mode",
    "compile_config",
    "compute_loss",
    "current_layer_name",
    "densify",
    "dot",
    "draws_by_example",
    "filled_like",
    "flatten_layers",
    "functional_init_arguments",
    "generator_variables",
    "get_keras_mask",
    "get_stateless_scope",
    "has_functional_constructor",
    "iterations",
    "kept_generators",
    "layout",
    "learning_rate",
    "logs_as_list",
    "loss_in_place_of_compiled",
    "loss_scale",
    "made_global_seed_variable",
    "mean_over_replicas",
    "normal_like",
    "num_replicas",
    "optimizer_of",
    "perturbed_weights",
    "predict",
    "read",
    "save_under_name_of",
    "scale",
    "scale_lazily",
    "scale_or_zero",
    "set_keras_mask",
    "stored_values",
    "subtract",
    "sum_in_turn",
    "take",
    "track_loss",
    "unlisted_state",
    "unscale_loss_for_distribution",
    "with_equal_lengths",
    "with_pure_randomness",
    "write_unlisted",
]
