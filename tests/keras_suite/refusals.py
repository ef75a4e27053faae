"""Tests of Keras that fail with `SAMModel` for a reason, and the reason."""

_SHARPNESS = (
    "It counts the variables of metrics, and that of `sharpness` is among them."
)
_SEQUENTIAL = (
    "It looks for the class of the functional model that a `Sequential` makes "
    "of its layers, which is Keras' own."
)
_ONE_MESH = (
    "It inspects how an array lies on the devices, for which JAX wants one "
    "mesh in a program. Groups that perturb on their own have a second."
)

_STEP = {
    (
        "backend.jax.distribution_lib_test.JaxDistributionLibTest."
        "test_e2e_model_parallel_with_output_sharding"
    ): _ONE_MESH,
    "trainers.trainer_test.TestTrainer.test_metric_tracking": _SHARPNESS,
}
_CLASS = {
    f"models.sequential_test.SequentialTest.test_{name}": _SEQUENTIAL
    for name in (
        "basic_flow_deferred",
        "basic_flow_with_functional_model_as_first_layer",
        "basic_flow_with_input",
        "basic_flow_with_sequential_model_as_first_layer",
        "legacy_flow_with_input_shape",
    )
}


def of(mode):
    """Return the reasons by test.

    Args:
        mode: One of `comparison.MODES`. A radius of 0 has no exception.
    """
    return {"step-0": {}, "step": _STEP, "class": _CLASS}[mode]
