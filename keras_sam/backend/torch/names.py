"""Names in files that other backends know too."""

from typing import Any

_OPTIMIZERS = "keras.src.backend.torch.optimizers."


def with_public_optimizers(config: Any) -> Any:
    """Return a serialized nest with the public names of optimizers.

    With PyTorch, `keras.optimizers.SGD(...)` is an instance of a class of the
    same name in a private module, which Keras writes into files. Another
    backend would import PyTorch for it, and fail in the first step.

    Args:
        config: What `keras.saving.serialize_keras_object` returns, or a part.
    """
    if isinstance(config, list):
        return [with_public_optimizers(item) for item in config]
    if not isinstance(config, dict):
        return config
    public = {
        key: with_public_optimizers(value) for key, value in config.items()
    }
    if str(config.get("module")).startswith(_OPTIMIZERS):
        public.update(module="keras.optimizers", registered_name=None)
    return public
