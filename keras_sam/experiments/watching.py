"""Which of the right and of the wrong labels a network has learned."""

from collections.abc import Sequence
from typing import Any

import keras

_SHARES = ("right_labels_learned", "wrong_labels_learned")


class LabelLog(keras.callbacks.Callback):
    """Puts two shares into the logs of each epoch, in per cent.

    Of the images that are labelled rightly, and of those that are labelled
    wrongly, to how many the network gives the label, in inference mode.

    Args:
        x: Training images as the network takes them.
        labels: Their labels, some of them wrong.
        right: The right ones.
    """

    def __init__(self, x: Any, labels: Any, right: Any) -> None:
        super().__init__()
        self._x = x
        self._labels = labels
        self._is_right = labels == right

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        outputs = self.model.predict(self._x, batch_size=500, verbose=0)
        is_learned = outputs.argmax(-1) == self._labels
        for name, group in zip(_SHARES, (self._is_right, ~self._is_right)):
            logs[name] = 100 * float(is_learned[group].mean())


def read(history: Sequence[dict[str, float]]) -> dict[str, list[float]]:
    """Return what `LabelLog` wrote after each epoch, as a record has it."""
    return {
        name: [round(epoch[name], 2) for epoch in history]
        for name in _SHARES
        if name in history[0]
    }
