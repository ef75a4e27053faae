"""The paper's alternatives for wrong labels: mixup and bootstrapping."""

from typing import Any

import keras
import numpy as np

from keras_sam.data.batches import ImageBatches
from keras_sam.data.batches import standardized


class MixedBatches(ImageBatches):
    """Batches of examples mixed with those of the same batch in reverse order.

    `lam * x + (1 - lam) * reversed(x)`, labels alike, with
    `lam = max(l, 1 - l)` and `l` drawn from the beta distribution once for each
    batch; the draw depends on the seed, the epoch and the position.

    Args:
        images: As for `ImageBatches`.
        labels: Array of shape `(num_images, num_classes)`.
        alpha: Number > 0, both parameters of the beta distribution.
        seed: Integer.
        **kwargs: As for `ImageBatches`.

    Reference:
        [Zhang et al., 2018](https://arxiv.org/abs/1710.09412), equation 1; one
        coefficient for each batch as in the code of SAM's authors, whose first
        README requires it. `keras.layers.MixUp` draws one for each image.
    """

    def __init__(
        self, images: Any, labels: Any, alpha: float, seed: int, **kwargs: Any
    ) -> None:
        super().__init__(images, labels, seed=seed, **kwargs)
        self._alpha = alpha

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        generator = np.random.default_rng((self._seed, self._epoch, index))
        drawn = generator.beta(self._alpha, self._alpha)
        share = np.float32(max(drawn, 1 - drawn))
        return tuple(
            share * array + (1 - share) * array[::-1]
            for array in super().__getitem__(index)
        )


def bootstrapped_labels(
    model: keras.Model,
    images: Any,
    statistics: tuple[Any, Any],
    batch_size: int,
) -> Any:
    """Return the most likely classes according to a trained network.

    They replace the labels that it was trained on: bootstrapping with hard
    labels as in the SAM paper, section 3.3, which then trains another network
    from scratch.
    """
    parts = [
        model.predict_on_batch(
            standardized(images[start : start + batch_size], statistics)
        ).argmax(-1)
        for start in range(0, len(images), batch_size)
    ]
    return np.concatenate(parts).astype("int32")
