"""Keras' train step for each backend; stands on the engine."""

import keras

if keras.backend.backend() == "tensorflow":
    from keras_sam.trainers.tensorflow.trainer import Trainer
elif keras.backend.backend() == "jax":
    from keras_sam.trainers.jax.trainer import Trainer
elif keras.backend.backend() == "torch":
    from keras_sam.trainers.torch.trainer import Trainer

__all__ = [
    "Trainer",
]
