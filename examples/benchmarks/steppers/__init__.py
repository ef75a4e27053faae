"""How `step_time.py` runs steps on each backend of Keras.

Steps go through the model's train function, as in `fit` but without what `fit`
does around it (callbacks, progress bar, logs as Python numbers). That is the
same for all models and would draw the ratio towards 1.

Each module of this folder has these names:

| name | what |
| --- | --- |
| `MODES` | `compile` arguments for each way of running a step |
| `Stepper(model, x, y)` | runs the steps of a compiled Keras model |
| `PEER` | the sharpness-aware step of another library, by its name |
| `make_peer(network, x, y, arguments)` | what runs its steps |

A stepper has `step()`, which may return before the step is done, and `wait()`,
which returns when all are. A peer does the same work: two passes over the same
network and batch, statistics of batch normalization written once, SGD with
momentum, loss and accuracy, compiled or not as the mode says.
"""

import importlib

import keras

_current = importlib.import_module(f"steppers.{keras.backend.backend()}")

MODES = _current.MODES
PEER = _current.PEER
Stepper = _current.Stepper
make_peer = _current.make_peer
