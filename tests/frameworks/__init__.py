"""What the tests need to know of the framework under Keras.

Each module of this folder has these names:

| name | what |
| --- | --- |
| `MODES` | `compile` arguments for each way of running a step |
| `GRAPH` | one of them: what most users run, compiled where that is usual |
| `JIT` | one of them: with the compiler of the framework, if it has one here |
| `COMPILED` | `MODES` without the eager one, if there are others |
| `LACKS` | what Keras itself does not do with the framework |
| `SEED` | arguments of a dropout layer whose draws a file reproduces |
| `MODULES` | where the framework has functions that one could patch |
| `PARTS` | the ways in which parts of a batch are averaged |
| `REMAT` | modes in which Keras has `keras.remat`, and its `RematScope` |
| `side_by_side(count)` | what opens a scope of so many replicas, of three |
| `EXECUTIONS` | `MODES`, and several steps in one execution |
| `exact()` | settings without which a GPU rounds more than the tests allow |
| `float64()` | a context in which tensors may be float64 |
| `accuracy(floatx)` | the dtype to which a loss is right |
| `same_arithmetic()` | a context in which a step is rounded in one way only |
| `uncompiled()` | a context in which no two operations become one |
| `gradients(function, variables)` | derivatives, and its other result |
| `dense(gradient)` | a gradient as a tensor |
| `update(optimizer, gradients, variables)` | the update, in an eager step |
| `generators()` | the state that draws without a seed start from |
| `set_generators(states)` | sets it |
| `train_step(function)` | a `train_step` from a function of model and data |
| `counted(inputs, count)` | `inputs`; each run of a step calls `count()` |
| `wait()` | returns once all that was started is done |
| `datasets(batch_size)` | more rows for `cases.DATA` |
"""

import importlib
from typing import Any

import keras

_current: Any = importlib.import_module(
    f"tests.frameworks.{keras.backend.backend()}"
)

MODES = _current.MODES
GRAPH = _current.GRAPH
JIT = _current.JIT
COMPILED = _current.COMPILED
EXECUTIONS = _current.EXECUTIONS
MODULES = _current.MODULES
PARTS = _current.PARTS
REMAT = _current.REMAT
LACKS = _current.LACKS
SEED = _current.SEED
exact = _current.exact
side_by_side = getattr(_current, "side_by_side", None)
float64 = _current.float64
accuracy = _current.accuracy
same_arithmetic = _current.same_arithmetic
uncompiled = _current.uncompiled
gradients = _current.gradients
dense = _current.dense
update = _current.update
generators = _current.generators
set_generators = _current.set_generators
train_step = _current.train_step
counted = _current.counted
wait = _current.wait
datasets = _current.datasets
