"""A script with types: what users of type checkers write."""

import keras
import numpy as np

import keras_sam
from keras_sam import data
from keras_sam import methods
from keras_sam import schedules
from keras_sam import sharpness
from keras_sam.callbacks import SharpnessMonitor
from keras_sam.methods import SAM
from keras_sam.networks import WideResNet
from keras_sam.sharpness import Objective
from keras_sam.sharpness import hessian_trace


class Net(keras_sam.SAMModel):
    """A subclass with something of its own."""

    def describe(self) -> str:
        """Return the method's name."""
        return type(self.sam.method).__name__


def main(x: np.ndarray, y: np.ndarray) -> list[float]:
    """Train in every way that there is, and measure."""
    inputs = keras.Input((4,))
    outputs = keras.layers.Dense(1)(inputs)
    model = keras_sam.SAMModel(inputs, outputs, method=SAM(), rho=0.1)
    model.compile("sgd", "mse")
    radius = schedules.Warmup(10, 0.1)
    plain = keras.Model(inputs, outputs)
    net: Net = Net.from_model(plain, rho=radius, method=methods.ASAM())
    net.describe()
    model.fit(x, y, callbacks=[SharpnessMonitor(x, y)])
    report: keras_sam.Verification = keras_sam.verify(model, x, y)
    suggestion = keras_sam.suggest_rho(model, data.Batches(x, y))
    objective = Objective(model, x, y)
    trace: sharpness.HessianTrace = hessian_trace(objective)
    WideResNet(16, 4, 10, (32, 32, 3))
    return [report.rise, suggestion.rho, trace.trace, *suggestion.rises]
