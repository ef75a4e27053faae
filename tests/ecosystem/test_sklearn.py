"""Keras' wrappers for scikit-learn, around models that train sharply."""

import keras
import numpy as np
from keras.wrappers import SKLearnClassifier
from sklearn.model_selection import cross_val_score

import keras_sam
from tests.ecosystem import small


def unbuilt():
    layers = [keras.layers.Dense(8), keras.layers.Dense(3)]
    plain = keras.Sequential([*layers, keras.layers.Softmax()])
    model = keras_sam.SAMModel.from_model(plain, rho=0.1)
    model.compile("sgd", "categorical_crossentropy")
    return model


def test_a_classifier_of_a_model_without_a_shape_is_sharp():
    estimator = SKLearnClassifier(unbuilt(), fit_kwargs={"verbose": 0})
    estimator.fit(small.X, small.Y)
    assert estimator.history_.history["sharpness"][0] > 0
    assert estimator.model_.sam.rho == 0.1


def test_folds_are_trained_in_separate_processes():
    estimator = SKLearnClassifier(unbuilt(), fit_kwargs={"verbose": 0})
    scores = cross_val_score(estimator, small.X, small.Y, cv=2, n_jobs=2)
    assert np.all(np.isfinite(scores))
