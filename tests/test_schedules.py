"""Schedules of rho: their values, their steps, and the passes they skip."""

import keras
import numpy as np
import pytest
from keras import ops
from keras.optimizers.schedules import CosineDecay
from keras.optimizers.schedules import PolynomialDecay

import keras_sam
from keras_sam import methods
from keras_sam.schedules import LatePhase
from keras_sam.schedules import Periodic
from keras_sam.schedules import ProportionalToLearningRate
from keras_sam.schedules import Warmup
from keras_sam.schedules import WarmupStableDecay
from tests import frameworks
from tests import marks
from tests import small_network
from tests.frameworks import MODES
from tests.methods.table import METHODS
from tests.small_network import EPOCHS
from tests.small_network import LEARNING_RATE

NUM_STEPS = 6
RHO = 0.3


@pytest.mark.parametrize(
    "schedule, values",
    [
        (Warmup(2, 0.4), [0, 0, 0, 0.2, 0.4, 0.4, 0.4]),
        (Warmup(1, 0.4), [0, 0, 0.4, 0.4]),
        (Periodic(3, 0.4), [0.4, 0, 0, 0.4, 0, 0, 0.4]),
        (Periodic(1, 0.4), [0.4, 0.4, 0.4]),
        (LatePhase(2, 0.4), [0, 0, 0.4, 0.4]),
        (LatePhase(0, 0.4), [0.4, 0.4]),
        (Periodic(2, LatePhase(3, 0.4)), [0, 0, 0, 0, 0.4, 0, 0.4]),
        (LatePhase(3, Periodic(2, 0.4)), [0, 0, 0, 0, 0.4, 0, 0.4]),
        (Warmup(2, PolynomialDecay(0.8, 8, 0.0)), [0, 0, 0, 0.25, 0.4, 0.3]),
        (LatePhase(1, PolynomialDecay(0.8, 8, 0.0)), [0, 0.7, 0.6]),
        (
            WarmupStableDecay(0.4, 8, 2, 4),
            [0, 0.2, 0.4, 0.4, 0.4, 0.3, 0.2, 0.1, 0, 0],
        ),
        (WarmupStableDecay(0.4, 10), 8 * [0.4] + [0.8 / 3, 0.4 / 3, 0, 0]),
        (WarmupStableDecay(0.4, 3, 3, 0), [0, 0.4 / 3, 0.8 / 3, 0, 0]),
        (WarmupStableDecay(0.4, 4, 0, 4, 0.2), [0.4, 0.35, 0.3, 0.25, 0.2]),
        (WarmupStableDecay(0.4, 2, 0, 0, 0.8), [0.4, 0.4, 0.8, 0.8]),
        (WarmupStableDecay(0, 2, 1, 1), [0, 0, 0]),
    ],
)
def test_schedule_has_these_values(schedule, values):
    for integer in (int, np.int64, ops.convert_to_tensor, counter):
        found = [float(schedule(integer(t))) for t in range(len(values))]
        # A few float32 operations on numbers up to 1.
        np.testing.assert_allclose(found, values, rtol=0, atol=4 * 2**-24)


def counter(value):
    return keras.Variable(value, trainable=False, dtype="int32")


def test_a_decay_late_in_a_long_run_keeps_its_steps():
    # float32 holds integers up to 2^24 only.
    schedule = WarmupStableDecay(0.4, 2**25 + 4, decay_steps=4)
    found = [float(schedule(counter(2**25 + t))) for t in range(5)]
    assert found == pytest.approx([0.4, 0.3, 0.2, 0.1, 0], abs=4 * 2**-24)


def test_a_large_step_keeps_its_parity():
    # float32 holds integers up to 2^24 only.
    schedule = Warmup(1, Periodic(2, 0.4))
    found = [float(schedule(t)) for t in (2**24 + 1, 2**24 + 2, 2**24 + 3)]
    assert found == [0.0, pytest.approx(0.4), 0.0]


def at_rate(schedule, rate):
    optimizer = keras.optimizers.SGD(rate)
    settings = keras_sam.SAMModel(rho=schedule).sam
    return float(settings.rho_at(optimizer))


@pytest.mark.parametrize(
    "rate, rho",
    [(0.5, 0.4), (0.3, 0.25), (0.1, 0.1), (0.7, 0.55), (0.0, 0.025)],
)
def test_proportional_is_linear_in_the_learning_rate(rate, rho):
    schedule = ProportionalToLearningRate(
        max_rho=0.4, max_rate=0.5, min_rho=0.1, min_rate=0.1
    )
    assert at_rate(schedule, rate) == pytest.approx(rho, rel=1e-6)


def test_proportional_is_never_negative():
    schedule = ProportionalToLearningRate(0.4, 0.5, min_rate=0.1)
    assert at_rate(schedule, 0.05) == 0.0
    assert at_rate(schedule, 0.1) == 0.0


@pytest.mark.parametrize(
    "schedule, rho",
    [
        (ProportionalToLearningRate(0.4, 0.1), 0.4),
        (Periodic(1, ProportionalToLearningRate(0.4, 0.1)), 0.4),
        (LatePhase(0, ProportionalToLearningRate(0.4, 0.2)), 0.2),
        (LatePhase(1, ProportionalToLearningRate(0.4, 0.1)), 0.0),
    ],
)
def test_proportional_knows_the_rate_inside_other_schedules(schedule, rho):
    assert at_rate(schedule, 0.1) == pytest.approx(rho, rel=1e-6)


def test_proportional_outside_a_step_says_so():
    schedule = ProportionalToLearningRate(0.4, 0.1)
    with pytest.raises(ValueError, match="only inside a training step"):
        schedule(0)
    at_rate(schedule, 0.1)
    with pytest.raises(ValueError, match="only inside a training step"):
        schedule(0)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Warmup(0, 0.1), "`steps` must be an integer >= 1.*steps=0"),
        (lambda: Warmup(1.5, 0.1), "`steps` must be an integer.*steps=1.5"),
        (lambda: Warmup(None, 0.1), "`steps` must be an integer.*steps=None"),
        (lambda: Warmup("a", 0.1), "`steps` must be an integer.*steps='a'"),
        (lambda: Warmup(True, 0.1), "`steps` must be an integer.*steps=True"),
        (lambda: Warmup(2, -0.1), "`rho` must be a number in.*-0.1"),
        (lambda: Periodic(0, 0.1), "`period` must be an integer >= 1.*=0"),
        (lambda: Periodic(float("inf"), 0.1), "`period` must be an int.*inf"),
        (lambda: Periodic(2, float("nan")), "`rho` must be a number in .*nan"),
        (lambda: Periodic(2, "big"), "`rho` must be a number in .*'big'"),
        (lambda: LatePhase(-1, 0.1), "`start` must be an integer >= 0.*=-1"),
        (lambda: LatePhase(1, None), "`rho` must be a number in .*rho=None"),
        (
            lambda: WarmupStableDecay(0.1, 10, 4, 7),
            "at most `total_steps` together.*steps=4, decay_steps=7.*=10",
        ),
        (
            lambda: WarmupStableDecay(0.1, 0),
            "`total_steps` must be an integer >= 1.*total_steps=0",
        ),
        (
            lambda: WarmupStableDecay(0.1, 9, decay_steps=-1),
            "`decay_steps` must be an integer >= 0.*decay_steps=-1",
        ),
        (
            lambda: WarmupStableDecay(-0.1, 10),
            r"`peak_rate` must be a number in \[0, inf\)\. Received: .*=-0.1",
        ),
        (
            lambda: ProportionalToLearningRate(0.1, 0.1, min_rho=0.2),
            "0 <= min_rho <= max_rho. Received: min_rho=0.2, max_rho=0.1",
        ),
        (
            lambda: ProportionalToLearningRate(0.1, 0.1, min_rate=0.1),
            "0 <= min_rate < max_rate. Received: min_rate=0.1, max_rate=0.1",
        ),
        (
            lambda: ProportionalToLearningRate(0.1, float("inf")),
            "0 <= min_rate < max_rate. Received: min_rate=0.0, max_rate=inf",
        ),
    ],
)
def test_bad_argument_is_refused_by_name(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def nested():
    inner = ProportionalToLearningRate(0.4, 0.5, min_rho=0.1, min_rate=0.2)
    return Warmup(2, Periodic(3, LatePhase(4, inner)))


@pytest.mark.parametrize(
    "schedule", [nested(), WarmupStableDecay(0.1, 100, 10, 20, 0.01)]
)
def test_configuration_makes_the_same_schedule(schedule):
    config = keras.saving.serialize_keras_object(schedule)
    copy = keras.saving.deserialize_keras_object(config)
    assert keras.saving.serialize_keras_object(copy) == config
    copy = type(schedule).from_config(schedule.get_config())
    assert keras.saving.serialize_keras_object(copy) == config


@pytest.mark.parametrize(
    "schedule", [nested(), Warmup(2, CosineDecay(0.2, 10))]
)
def test_saved_model_keeps_its_schedule(schedule, tmp_path):
    model = small_network.compiled(rho=schedule)
    small_network.fit(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    config, expected = (
        keras.saving.serialize_keras_object(m.sam.rho) for m in (loaded, model)
    )
    assert config == expected
    small_network.assert_same(
        small_network.fit(loaded, epochs=2).weights,
        small_network.fit(model, epochs=2).weights,
    )


def cosine(t):
    return RHO * (1 + np.cos(np.pi * t / NUM_STEPS)) / 2


STEPS = {
    "periodic": (lambda: Periodic(2, RHO), lambda t: RHO * (t % 2 == 0)),
    "late_phase": (lambda: LatePhase(4, RHO), lambda t: RHO * (t >= 4)),
    "warmup": (
        lambda: Warmup(2, RHO),
        lambda t: RHO * np.clip((t - 2) / 2, 0, 1),
    ),
    "cosine": (lambda: CosineDecay(RHO, NUM_STEPS), cosine),
}


def assert_same_training(schedule, rho, mode, rate=LEARNING_RATE, **fit):
    """Compare each step with that of SAM in NumPy."""
    keras_rate, rate = rate if isinstance(rate, tuple) else (rate, rate)
    optimizer = keras.optimizers.SGD(keras_rate)
    model = small_network.compiled(mode, optimizer=optimizer, rho=schedule)
    steps = small_network.reference_steps(
        model, METHODS["sam"].formula, rho, learning_rate=rate
    )
    small_network.assert_same_training(model, steps, **fit)


@pytest.mark.parametrize("mode", marks.MODES)
@pytest.mark.parametrize("name", STEPS)
def test_every_step_has_the_radius_of_the_schedule(name, mode):
    make, rho = STEPS[name]
    assert_same_training(make(), rho, MODES[mode])


@pytest.mark.parametrize("mode", marks.MODES)
def test_radius_follows_a_schedule_of_the_learning_rate(mode):
    assert_same_training(
        ProportionalToLearningRate(RHO, 0.1),
        lambda t: RHO * (1 - t / NUM_STEPS),
        MODES[mode],
        rate=(
            PolynomialDecay(0.1, NUM_STEPS, 0.0),
            lambda t: 0.1 * (1 - t / NUM_STEPS),
        ),
    )


@pytest.mark.parametrize("mode", marks.MODES)
def test_radius_follows_a_callback_that_changes_the_learning_rate(mode):
    rates = [0.1, 0.02]
    num_batches = NUM_STEPS // EPOCHS
    callback = keras.callbacks.LearningRateScheduler(lambda i: rates[i])
    assert_same_training(
        Periodic(1, ProportionalToLearningRate(RHO, 0.1)),
        lambda t: RHO * rates[t // num_batches] / 0.1,
        MODES[mode],
        rate=(0.5, lambda t: rates[t // num_batches]),
        callbacks=[callback],
    )


class Counter(keras.layers.Layer):
    """Counts its runs, also in a compiled graph."""

    num_runs = 0

    def call(self, inputs):
        def count():
            self.num_runs += 1

        return frameworks.counted(inputs, count)


def runs_of_each_step(mode, **settings):
    counter = Counter()
    inputs = keras.Input((3,))
    outputs = keras.layers.Dense(1)(counter(inputs))
    model = keras_sam.SAMModel(inputs, outputs, **settings)
    model.compile(keras.optimizers.SGD(0.1), "mse", **mode)
    x, y, _ = small_network.examples(6)
    model.train_on_batch(x, y)
    frameworks.wait()
    model.optimizer.iterations.assign(0)
    runs = []
    for _ in range(4):
        counter.num_runs = 0
        model.train_on_batch(x, y)
        frameworks.wait()
        runs.append(counter.num_runs)
    return runs


@pytest.mark.parametrize("mode", marks.EAGER_AND_GRAPH)
@pytest.mark.parametrize(
    "settings, runs",
    [
        ({"rho": 0.1}, [2, 2, 2, 2]),
        ({"rho": 0.0}, [1, 1, 1, 1]),
        ({"rho": Periodic(2, 0.1)}, [2, 1, 2, 1]),
        ({"rho": LatePhase(2, 0.1)}, [1, 1, 2, 2]),
        ({"rho": PolynomialDecay(0.1, 2, 0.0)}, [2, 2, 1, 1]),
        ({"rho": Periodic(2, 0.1), "num_microbatches": 3}, [6, 1, 6, 1]),
        ({"rho": Periodic(2, 0.1), "ascent_fraction": 0.5}, [2, 1, 2, 1]),
        ({"rho": Periodic(2, 0.1), "method": "gsam"}, [2, 1, 2, 1]),
        ({"method": methods.LookSAM(period=3)}, [2, 1, 1, 2]),
        ({"method": methods.AESAM(threshold=9e9)}, [1, 1, 1, 1]),
        ({"method": methods.AESAM(threshold=-9e9)}, [2, 2, 2, 2]),
        ({"method": "momentum_sam"}, [1, 1, 1, 1]),
    ],
)
def test_step_without_a_radius_runs_the_model_once(settings, runs, mode):
    assert runs_of_each_step(mode, **settings) == runs
