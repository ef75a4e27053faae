"""The choice of train step. It stands on the step, the step on `backend`."""

import keras

if keras.backend.backend() == "tensorflow":
    from keras_sam.backend.tensorflow.trainer import Trainer
elif keras.backend.backend() == "jax":
    from keras_sam.backend.jax.trainer import Trainer
elif keras.backend.backend() == "torch":
    from keras_sam.backend.torch.trainer import Trainer
