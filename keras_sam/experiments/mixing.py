"""The paper's alternatives for wrong labels: mixup and bootstrapping."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sam.data.batches import ImageBatches
from keras_sam.data.batches import standardized


class MixedBatches(ImageBatches):
    """Batches of examples mixed in pairs by `keras.layers.MixUp`.

    The weights of each pair are drawn from the beta distribution, for each
    image separately; they depend on the seed, the epoch and the position.

    Args:
        images: As for `ImageBatches`.
        labels: Array of shape `(num_images, num_classes)`.
        alpha: Number > 0, both parameters of the beta distribution.
        seed: Integer.
        **kwargs: As for `ImageBatches`.

    Reference:
        [Zhang et al., 2018](https://arxiv.org/abs/1710.09412), equation 1.
    """

    def __init__(
        self, images: Any, labels: Any, alpha: float, seed: int, **kwargs: Any
    ) -> None:
        super().__init__(images, labels, seed=seed, **kwargs)
        self._layer = keras.layers.MixUp(alpha)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        images, labels = super().__getitem__(index)
        # The state is 32 bits wide, and Keras' seeds are signed: 31 bits.
        sequence = np.random.SeedSequence((self._seed, self._epoch, index))
        drawn = self._layer.get_random_transformation(
            images, seed=int(sequence.generate_state(1)[0] >> 1)
        )
        return tuple(
            ops.convert_to_numpy(mixed)
            for mixed in (
                self._layer.transform_images(images, drawn),
                self._layer.transform_labels(labels, drawn),
            )
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
