"""A progress bar that appears only if the work is long."""

import time

import keras

PATIENCE = 2.0
"""Seconds before a bar is shown."""


class Progress:
    """Keras' progress bar, shown once the work has taken some seconds.

    Args:
        total: The maximum number of steps.
        verbose: 0 for no bar, 1 for one.
    """

    def __init__(self, total: int, verbose: int) -> None:
        self._total = total
        self._verbose = verbose
        self._start = time.monotonic()
        self._done = 0
        self._bar: keras.utils.Progbar | None = None

    def advance(self) -> None:
        """Count one more step."""
        self._done += 1
        if not self._verbose:
            return
        if self._bar is None and time.monotonic() - self._start > PATIENCE:
            self._bar = keras.utils.Progbar(self._total, unit_name="step")
        if self._bar is not None:
            self._bar.update(self._done)

    def finish(self) -> None:
        """Complete the bar after fewer steps than the maximum."""
        if self._bar is not None and self._done < self._total:
            self._bar.update(self._total, finalize=True)
