"""One way to check a number."""

import keras
import numpy as np
import pytest

import keras_sam
from keras_sam import data
from keras_sam import methods
from keras_sam import schedules
from keras_sam import validation


@pytest.mark.parametrize("value", [3, 3.0, np.int64(3), np.float32(3)])
def test_integers_of_every_type_are_accepted(value):
    settings = keras_sam.SAMModel(
        num_microbatches=value, perturbation=value
    ).sam
    found = [
        settings.num_microbatches,
        settings.perturbation,
        methods.LookSAM(period=value).period,
        schedules.Periodic(value, 0.1).period,
        schedules.LatePhase(value, 0.1).start,
        validation.integer("steps", value),
    ]
    assert found == [3] * 6
    assert {type(integer) for integer in found} == {int}


@pytest.mark.parametrize("value", [True, "3", None, 2.5, float("nan"), 0])
def test_other_values_than_integers_are_refused(value):
    for name, make in {
        "num_microbatches": lambda: keras_sam.SAMModel(num_microbatches=value),
        "perturbation": lambda: keras_sam.SAMModel(perturbation=value),
        "period": lambda: methods.LookSAM(period=value),
        "batch_size": lambda: data.Batches(
            np.ones(3), np.ones(3), batch_size=value
        ),
    }.items():
        message = f"`{name}` must be .*an integer >= 1.*Received: {name}="
        with pytest.raises(ValueError, match=message):
            make()


@pytest.mark.parametrize("value", [1, 1.0, np.int64(1), np.float32(1)])
def test_numbers_of_every_type_are_accepted(value):
    settings = keras_sam.SAMModel(rho=value, ascent_fraction=value).sam
    found = [
        settings.rho,
        settings.ascent_fraction,
        methods.ASAM(eta=value).eta,
        methods.FriendlySAM(sigma=value).sigma,
        schedules.LatePhase(5, value).rho,
    ]
    assert found == [1.0] * 5
    assert {type(number) for number in found} == {float}


@pytest.mark.parametrize("value", [True, "1", float("nan"), -1.0])
def test_other_values_than_numbers_are_refused(value):
    for name, make in {
        "rho": lambda: keras_sam.SAMModel(rho=value),
        "ascent_fraction": lambda: keras_sam.SAMModel(ascent_fraction=value),
        "eta": lambda: methods.ASAM(eta=value),
        "theta": lambda: methods.VaSSO(theta=value),
    }.items():
        message = f"`{name}` must be a number in .*Received: {name}="
        with pytest.raises(ValueError, match=message):
            make()


@pytest.mark.parametrize(
    ("interval", "inside", "outside"),
    [
        ("[0, 1)", [0, 0.5], [1, -1]),
        ("(0, 1]", [0.5, 1], [0, 2]),
        ("[0, inf)", [0, 1e300], [-1e-300, float("inf")]),
        ("[-inf, inf]", [float("-inf"), 0], [float("nan")]),
    ],
)
def test_bounds_are_inside_where_the_bracket_is_closed(
    interval, inside, outside
):
    for value in inside:
        assert validation.number("x", value, interval) == value
    for value in outside:
        with pytest.raises(ValueError, match="`x` must be a number in "):
            validation.number("x", value, interval)


def test_a_method_with_numbers_of_numpy_can_be_saved():
    method = methods.LookSAM(period=np.int64(3), alpha=np.float32(0.5))
    config = keras.saving.serialize_keras_object(method)
    assert config["config"] == {"period": 3, "alpha": 0.5}
