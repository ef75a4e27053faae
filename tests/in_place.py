"""Sharpness-aware steps as one would write them by hand, on variables.

Add the perturbation to the weights, run the second pass, take it off again.
Nothing here comes from `keras_sam`; the perturbation is that of the reference.
"""

import keras
import numpy as np
from keras import ops

from tests import frameworks
from tests.arrays import flat
from tests.arrays import values
from tests.reference import methods as formulas

RHO = {"sam": 0.1, "asam": 0.5}
"""The methods there are, each with a radius that leaves its mark.

At 1.0, a relative change of ASAM's radius by 1e-6 moves the weights of the
smallest network by 2e-4: one float32 rounding of the norm (6e-8) is then more
than the tolerance of 1e-5.
"""


def perturbation(name, gradients, variables, rho):
    """Return e of the reference, an array for each variable."""
    formula = {"sam": formulas.sam(), "asam": formulas.asam(0.01)}[name]
    gradients = [ops.convert_to_numpy(g) for g in gradients]
    is_matrix = [
        np.full(v.shape, v.name not in ("bias", "beta")) for v in variables
    ]
    g, weight = flat(gradients), flat(values(variables))
    at = formulas.At(
        weight,
        rho,
        chosen=np.ones(g.shape, bool),
        is_matrix=flat(is_matrix) > 0,
        state={},
        velocity=None,
        g=g,
        gradient=lambda w: g,
    )
    parts = np.split(
        formula.two_passes(at).e, np.cumsum([x.size for x in gradients])
    )
    return [e.reshape(x.shape) for e, x in zip(parts, gradients)]


class InPlace:
    """The train step; to be mixed into a `keras.Model` that runs eagerly."""

    @frameworks.train_step
    def train_step(self, data):
        data = keras.utils.unpack_x_y_sample_weight(data)
        before = values(self.non_trainable_variables)
        generators = frameworks.generators()
        gradients, loss, y_pred = self.differentiate(*data)
        self._loss_tracker.update_state(
            loss, len(keras.tree.flatten(data[0])[0])
        )
        logs = self.compute_metrics(data[0], data[1], y_pred, data[2])

        state = self.non_trainable_variables + self.metrics_variables
        after = values(state)
        weights = values(self.trainable_variables)
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
        perturbed_by = perturbation(self.method, gradients, variables, self.rho)
        for variable, e in zip(variables, perturbed_by):
            variable.assign_add(e)


def write(variables, values):
    for variable, value in zip(variables, values):
        variable.assign(value)


def in_place(model, method="sam", rho=0.05):
    """Return the model with the train step above."""
    model.method, model.rho = method, rho
    model.__class__ = type("InPlace", (InPlace, type(model)), {})
    return model
