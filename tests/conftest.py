"""What every test starts from, and the ways a step can run."""

import keras
import pytest

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    # A GPU would otherwise round the factors of a product to 10 bits.
    tf.config.experimental.enable_tensor_float_32_execution(False)

MODES = {
    "graph": {"jit_compile": False},
    "eager": {"run_eagerly": True},
    "jit": {"jit_compile": True},
}


@pytest.fixture(autouse=True)
def _same_start():
    """Seed every generator, and undo what a test changes globally."""
    keras.utils.set_random_seed(0)
    policy, floatx = keras.config.dtype_policy(), keras.config.floatx()
    yield
    keras.config.set_floatx(floatx)
    keras.config.set_dtype_policy(policy)


@pytest.fixture(params=MODES)
def mode(request):
    """Arguments of `compile` for each way of running a step."""
    return dict(MODES[request.param])
