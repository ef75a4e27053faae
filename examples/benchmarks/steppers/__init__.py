"""The steps that `step_time.py` runs on each backend of Keras.

They call the model's train function, without the rest of `fit` (callbacks,
progress bar, logs as Python numbers), which is the same for all models and
would move the ratio towards 1.

Each module of this folder has these names:

| name | content |
| --- | --- |
| `MODES` | `compile` arguments for each way of running a step |
| `Stepper(model, x, y)` | runs the steps of a compiled Keras model |
| `PEER` | the name of another library with a sharpness-aware step |
| `make_peer(network, x, y, arguments)` | returns a stepper for it |

A stepper has `step()`, which may return before the step is finished, and
`wait()`, which returns when all steps are. A peer does the same work: two
passes over the same network and batch, statistics of batch normalization
written once, SGD with momentum, loss and accuracy, compiled or not depending on
the mode.
"""

import importlib

import keras

_current = importlib.import_module(f"steppers.{keras.backend.backend()}")

MODES = _current.MODES
PEER = _current.PEER
Stepper = _current.Stepper
make_peer = _current.make_peer
