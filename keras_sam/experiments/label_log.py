"""The fractions of right and of wrong labels that a network has learned."""

from collections.abc import Sequence
from typing import Any

import keras

_NAMES = ("right_labels_learned", "wrong_labels_learned")


class LabelLog(keras.callbacks.Callback):
    """Adds two fractions to the logs of each epoch, in per cent.

    Among images with right labels, and among images with wrong labels, the
    fraction for which the network predicts the label, in inference mode.

    Args:
        x: Training images as the network takes them.
        labels: Their labels, some of them wrong.
        right: Their right labels.
    """

    def __init__(self, x: Any, labels: Any, right: Any) -> None:
        super().__init__()
        self._x = x
        self._labels = labels
        self._is_right = labels == right

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        outputs = self.model.predict(self._x, batch_size=500, verbose=0)
        is_learned = outputs.argmax(-1) == self._labels
        for name, group in zip(_NAMES, (self._is_right, ~self._is_right)):
            logs[name] = 100 * float(is_learned[group].mean())


def read(history: Sequence[dict[str, float]]) -> dict[str, list[float]]:
    """Return the values of `LabelLog` after each epoch, for a record."""
    return {
        name: [round(epoch[name], 2) for epoch in history]
        for name in _NAMES
        if name in history[0]
    }
