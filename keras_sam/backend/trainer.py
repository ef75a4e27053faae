"""The choice of train step. It stands on the step, the step on `backend`."""

import keras

if keras.backend.backend() == "tensorflow":
    from keras_sam.backend.tensorflow.trainer import Trainer
