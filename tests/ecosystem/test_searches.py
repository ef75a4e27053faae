"""Searches for a radius: KerasTuner and Optuna."""

import keras
import keras_tuner
import numpy as np
import optuna

from tests.ecosystem import small

RADII = [0.05, 0.5]


def test_keras_tuner_searches_the_radius(tmp_path):
    keras.utils.set_random_seed(0)
    tuner = keras_tuner.GridSearch(
        lambda hp: small.model(rho=hp.Choice("rho", RADII)),
        objective=keras_tuner.Objective("sharpness", "min"),
        max_trials=len(RADII),
        directory=tmp_path,
    )
    tuner.search(small.X, small.Y, epochs=2, verbose=0)
    [best] = tuner.get_best_models(1)
    assert best.sam.rho == tuner.get_best_hyperparameters()[0]["rho"] == 0.05
    assert np.isfinite(best.evaluate(small.X, small.Y, verbose=0))


def test_optuna_searches_the_radius():
    optuna.logging.set_verbosity(optuna.logging.WARNING)

    def sharpness(trial):
        keras.utils.set_random_seed(0)
        model = small.model(rho=trial.suggest_categorical("rho", RADII))
        history = model.fit(small.X, small.Y, epochs=2, verbose=0).history
        return history["sharpness"][-1]

    sampler = optuna.samplers.GridSampler({"rho": RADII})
    study = optuna.create_study(sampler=sampler)
    study.optimize(sharpness)
    assert len(study.trials) == len(RADII)
    assert study.best_params == {"rho": 0.05}
