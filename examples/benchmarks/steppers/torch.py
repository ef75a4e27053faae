"""PyTorch, and `pytorch_optimizer.SAM` in a step of plain PyTorch."""

import keras
import torch

MODES = {"eager": {"jit_compile": False}}
PEER = "pytorch_optimizer"


class Stepper:
    """Runs steps on a batch that is already on the device."""

    def __init__(self, model, x, y):
        self._batch = _on_device(x, y)
        self._model = model

    def step(self):
        """Run a step; the first one makes the train function."""
        if self._model.train_function is None:
            self._model.make_train_function()
        self._model.train_function([self._batch])

    def wait(self):
        """Return when all steps are done, also on an asynchronous device."""
        self._model.trainable_variables[-1].numpy()


class _Peer:
    def __init__(self, model, optimizer, x, y):
        self._batch = _on_device(x, y)
        self._model = model
        self._optimizer = optimizer

    def step(self):
        self._optimizer.zero_grad()
        loss, y_pred = self._pass()
        self._optimizer.step(self._second_pass)
        accuracy = (y_pred.argmax(-1) == self._batch[1]).float().mean()
        return loss.detach(), accuracy

    def wait(self):
        self._model.trainable_variables[-1].numpy()

    def _pass(self):
        x, y = self._batch
        y_pred = self._model(x, training=True)
        loss = torch.nn.functional.cross_entropy(y_pred, y)
        loss.backward()
        return loss, y_pred

    def _second_pass(self):
        self._optimizer.zero_grad()
        with keras.StatelessScope():  # Keeps the statistics of the first.
            self._pass()


def make_peer(network, x, y, arguments):
    """Return a stepper, on the same layers of Keras."""
    import pytorch_optimizer

    del arguments
    inputs, outputs, _ = network(keras)
    model = keras.Model(inputs, outputs)
    optimizer = pytorch_optimizer.SAM(
        [variable.value for variable in model.trainable_variables],
        torch.optim.SGD,
        rho=0.05,
        lr=0.01,
        momentum=0.9,
    )
    return _Peer(model, optimizer, x, y)


def _on_device(*arrays):
    return tuple(keras.ops.convert_to_tensor(array) for array in arrays)
