"""Sharpness-aware steps as one would write them by hand, on variables.

Add the perturbation to the weights, run the second pass, take it off again.
Nothing here comes from `keras_sam`.
"""

import keras
from keras import ops

from tests import frameworks

RHO = {"sam": 0.1, "asam": 0.5}
"""The methods there are, each with a radius that leaves its mark.

At 1.0, a relative change of ASAM's radius by 1e-6 moves the weights of the
smallest network by 2e-4: one float32 rounding of the norm (6e-8) is then more
than the tolerance of 1e-5.
"""


def perturbation(name, gradients, variables, rho):
    """Foret et al., 2021, equation 2; Kwon et al., 2021, equation 8."""
    metric = [ops.ones_like(g) for g in gradients]
    if name == "asam":
        metric = [
            ops.abs(v) + 0.01 if v.name not in ("bias", "beta") else m
            for v, m in zip(variables, metric)
        ]
    squares = [ops.sum((m * g) ** 2) for m, g in zip(metric, gradients)]
    norm = ops.sqrt(sum(squares))
    return [rho * m * m * g / norm for m, g in zip(metric, gradients)]


class InPlace:
    """The train step; to be mixed into a `keras.Model` that runs eagerly."""

    @frameworks.train_step
    def train_step(self, data):
        data = keras.utils.unpack_x_y_sample_weight(data)
        before = read(self.non_trainable_variables)
        generators = frameworks.generators()
        gradients, loss, y_pred = self.differentiate(*data)
        self._loss_tracker.update_state(
            loss, len(keras.tree.flatten(data[0])[0])
        )
        logs = self.compute_metrics(data[0], data[1], y_pred, data[2])

        state = self.non_trainable_variables + self.metrics_variables
        after = read(state)
        weights = read(self.trainable_variables)
        self.perturb(gradients)
        write(self.non_trainable_variables, before)
        frameworks.set_generators(generators)
        gradients, _, _ = self.differentiate(*data)
        write(self.trainable_variables, weights)
        write(state, after)
        frameworks.update(self.optimizer, gradients, self.trainable_variables)
        return logs

    def differentiate(self, x, y, sample_weight):
        if not self.built:
            self(x, training=False)

        def compute():
            y_pred = self(x, training=True)
            loss = self.compute_loss(x, y, y_pred, sample_weight)
            return self.optimizer.scale_loss(loss), (loss, y_pred)

        gradients, (loss, y_pred) = frameworks.gradients(
            compute, self.trainable_variables
        )
        return gradients, loss, y_pred

    def perturb(self, gradients):
        scale = self.optimizer.scale_loss(1.0)
        found = [
            (v, frameworks.dense(g) / scale)
            for v, g in zip(self.trainable_variables, gradients)
            if g is not None
        ]
        variables, gradients = zip(*found)
        climb = perturbation(self.method, gradients, variables, self.rho)
        for variable, e in zip(variables, climb):
            variable.assign_add(e)


def read(variables):
    return [variable.numpy() for variable in variables]


def write(variables, values):
    for variable, value in zip(variables, values):
        variable.assign(value)


def in_place(model, method="sam", rho=0.05):
    """Return the model with the train step above."""
    model.method, model.rho = method, rho
    model.__class__ = type("InPlace", (InPlace, type(model)), {})
    return model
