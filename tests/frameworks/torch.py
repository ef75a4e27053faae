"""PyTorch: see `__init__.py`.

Keras runs it eagerly unless told otherwise. `tests/backend/torch` has the
tests of `torch.compile`, which takes too long for all of them.
"""

import contextlib

import keras
import torch

GRAPH = {"jit_compile": False}
JIT = GRAPH
MODES = {"eager": {"run_eagerly": True}}
COMPILED = MODES
EXECUTIONS = {"usual": GRAPH, **MODES}
LACKS = {"several steps in one execution"}
PARTS = ("one after another",)
MODULES = (torch, torch.nn.functional, torch.random)
REMAT = {"function": MODES, "scope": MODES}
SEED = {"seed": 1}

float64 = contextlib.nullcontext
same_arithmetic = contextlib.nullcontext

uncompiled = contextlib.nullcontext


def accuracy(floatx):
    # `keras.ops.mean` rounds float64 to float32 with PyTorch.
    return "float32" if floatx == "float64" else floatx


def exact():
    # A GPU would otherwise round the factors of a product to 10 bits.
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True


def gradients(function, variables):
    value, auxiliary = function()
    found = torch.autograd.grad(
        value, [variable.value for variable in variables], allow_unused=True
    )
    return list(found), keras.tree.map_structure(_detached, auxiliary)


def _detached(tensor):
    return tensor.detach() if isinstance(tensor, torch.Tensor) else tensor


def dense(gradient):
    return gradient


def update(optimizer, gradients, variables):
    optimizer.apply_gradients(zip(gradients, variables))


def generators():
    return torch.get_rng_state()


def set_generators(states):
    torch.set_rng_state(states)


def train_step(function):
    return function


def counted(inputs, count):
    count()
    return inputs


def wait():
    pass


def datasets(batch_size):
    """Return rows with data loaders of PyTorch."""

    def loader(*arrays, **arguments):
        tensors = [torch.as_tensor(array) for array in arrays]
        data = torch.utils.data.TensorDataset(*tensors)
        return torch.utils.data.DataLoader(data, batch_size, **arguments)

    return {
        "dataset": lambda x, y, weights: {"x": loader(x, y)},
        "weighted_dataset": lambda x, y, weights: {"x": loader(x, y, weights)},
        "static_dataset": lambda x, y, weights: {
            "x": loader(x, y, drop_last=True)
        },
    }
