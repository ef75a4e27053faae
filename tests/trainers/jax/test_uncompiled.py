"""A perturbation for each device needs compiled steps."""

from tests.running import printed_by


def test_uncompiled_steps_on_devices_are_refused_and_change_nothing():
    printed = printed_by("-m", "tests.trainers.jax.uncompiled")
    assert printed.count("refused: On JAX, a perturbation") == 2
