"""Any step of the family as one would write it by hand, on variables.

Nothing here comes from `keras_sam`. The model is a `keras.Model` that runs
eagerly: add e to its weights, differentiate, take e off again, and let the
optimizer apply what the reference makes of both gradients. The formulas are
those of `tests/reference/methods.py`, on one flat vector in float64.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np

from tests import frameworks
from tests.random_settings.flat_model import FlatModel
from tests.random_settings.flat_model import rows
from tests.random_settings.flat_model import size_of
from tests.reference import methods as formulas
from tests.reference import problems
from tests.reference.training import Part
from tests.reference.training import mean


class Recipe(NamedTuple):
    """What a sharpness-aware step is made of.

    Attributes:
        formula: `formulas.Method`.
        radius: Function of the optimizer's iteration.
        is_perturbed: Function of a variable.
        num_parts: How many parts a batch has.
        fraction: From which leading fraction of a part e is computed.
        needs_all: Whether the method needs the gradients at w of weights that
            are not perturbed.
    """

    formula: formulas.Method
    radius: Callable[[int], float]
    is_perturbed: Callable[[keras.Variable], bool]
    num_parts: int
    fraction: float
    needs_all: bool


def by_hand(model, recipe):
    """Return the compiled plain model, which now trains by hand.

    What is of interest afterwards is in its attribute `by_hand`, a `Trainer`.
    """
    trainer = Trainer(FlatModel(model), recipe)

    @frameworks.train_step
    def train_step(self, data):
        with np.errstate(all="ignore"):  # float16 may overflow.
            return trainer.step(keras.utils.unpack_x_y_sample_weight(data))

    own = {"train_step": train_step, "by_hand": trainer}
    model.__class__ = type("ByHand", (type(model),), own)
    return model


class Trainer:
    """Steps with a recipe.

    Attributes:
        rises: For each step how much higher the loss was at w + e, and in
            what share of the batch there was a perturbation.
    """

    def __init__(self, model, recipe):
        self.model = model
        self.recipe = recipe
        self.formula = recipe.formula
        self.chosen = model.spread(recipe.is_perturbed)
        self.is_matrix = model.spread(is_matrix)
        self.state = self.formula.start(self.chosen.size)
        self.rises = []

    def step(self, batch):
        """Do a step; return what Keras logs."""
        state, t = self.state, self.model.iteration
        radius = self.recipe.radius(t)
        is_sharp = radius > 0
        if is_sharp:
            square = self.mean_square(batch) if "mu" in state else None
            is_sharp, state = self.formula.decide(t, square, state)
        if is_sharp:
            given, logs = self.sharp(batch, radius, state)
        else:
            given, logs = self.plain(batch, radius, state)
        self.rises.append((given["rise"], given["is_sharp"]))
        if np.isfinite(given["update"]).all():
            self.state = given["state"]
        else:  # Loss scaling skips the step.
            given["correction"] = 0.0
        self.model.update(given["update"], given["correction"])
        return logs

    def parts(self, batch):
        """Return the `Part`s of a batch, of nests instead of lists."""
        size, parts = size_of(batch), []
        for start, stop in problems.parts(size, self.recipe.num_parts):
            count = stop - start
            num_leading = math.ceil(self.recipe.fraction * count)
            part = rows(batch, start, count)
            leading = rows(batch, start, num_leading)
            parts.append(Part(part, leading, count / size))
        return parts

    def mean_square(self, batch):
        """Return the mean of ||g||^2; the passes leave nothing."""
        restore, parts = self.model.state(), self.parts(batch)
        gradients = [self.model.gradient(p.leading)[self.chosen] for p in parts]
        restore()
        return mean(parts, [g @ g for g in gradients])

    def plain(self, batch, radius, state):
        """Return what one pass over the whole batch gives, and the logs."""
        passed = self.model.differentiate(batch)
        g = update = passed.g
        if radius > 0:
            reused = self.formula.reuse(np.where(self.chosen, g, 0.0), state)
            update = np.where(self.chosen, reused, g)
        elif self.has_length(g):
            state = self.formula.remember(g, state)
        return given(update, state), self.model.log(passed, batch)

    def sharp(self, batch, radius, state):
        """Return the mean over the parts of both passes, and the logs."""
        at = formulas.At(
            self.model.weight,
            radius,
            self.chosen,
            self.is_matrix,
            state,
            velocity=None,
            shapes=self.model.shapes,
        )
        passes = self.two_passes
        if self.formula.is_one_pass:
            passes = self.perturbed_pass_only
        parts = self.parts(batch)
        results, logs = zip(*[passes(at, part) for part in parts])
        return mean(parts, results), logs[-1]

    def two_passes(self, at, part):
        """Return what both passes over a part give, and the logs."""
        model, before, seen = self.model, self.model.state(), []
        clean = model.differentiate(part.leading)
        logs = model.log(clean, part.leading)
        after = model.state()

        def gradient(weight, held=None):
            by_outputs = None
            if held is not None:
                by_outputs = model.by_outputs(part.rows, clean.y_pred)
            before()
            with model.at(weight):
                seen.append(
                    model.differentiate(part.rows, part.leading, by_outputs)
                )
            after()
            return seen[-1].g

        if self.has_length(clean.g):
            found = self.formula.two_passes(
                at._replace(g=clean.g, gradient=gradient)
            )
            result = given(*found[1:], seen[-1].loss - clean.loss)
        else:
            result = given(gradient(at.weight), at.state)
        # Also where the method applies only one of both. What it does not need
        # at w, biases that it does not perturb for example, may overflow there.
        needed = clean.g if self.recipe.needs_all else clean.g[self.chosen]
        if not (np.isfinite(needed).all() and np.isfinite(seen[-1].g).all()):
            result["update"] = np.full_like(clean.g, np.nan)
        return result, logs

    def perturbed_pass_only(self, at, part):
        """Return what the pass at w + e gives, and the logs."""
        model, seen = self.model, []

        def gradient(weight):
            with model.at(weight):
                seen.append(model.differentiate(part.rows))
            return seen[-1].g

        found = self.formula.two_passes(at._replace(gradient=gradient))
        h = found.update
        result = given(h, at.state)
        if self.has_length(h):
            rise = h[self.chosen] @ found.e[self.chosen]
            result = given(*found[1:], rise)
        return result, model.log(seen[-1], part.rows)

    def has_length(self, vector):
        square = np.sum(vector[self.chosen] ** 2)
        return square > 0 and np.isfinite(square)


def given(update, state, correction=0.0, rise=np.nan):
    """Return what a part gives, to be averaged; without a rise if not sharp."""
    is_sharp = float(np.isfinite(rise))
    return {
        "update": update,
        "state": state,
        "correction": correction,
        "rise": rise if is_sharp else 0.0,
        "is_sharp": is_sharp,
    }


def is_matrix(variable):
    """Return whether ASAM scales a variable: no bias, no offset."""
    return variable.name not in ("bias", "beta")


def momentum_sam(momentum):
    """Return `formulas.momentum_sam` with a velocity beside the optimizer's."""

    def remember(g, state):
        return {"velocity": momentum * state["velocity"] - g}

    def two_passes(at):
        found = formulas.momentum_sam().two_passes(
            at._replace(velocity=at.state["velocity"])
        )
        return found._replace(state=remember(found.update, at.state))

    return formulas.Method(
        two_passes,
        lambda size: {"velocity": np.zeros(size)},
        remember=remember,
        is_one_pass=True,
    )
