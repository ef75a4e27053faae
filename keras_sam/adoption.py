"""Classes of `SAMModel`s that are functional or made from an existing model.

An object has one class in Python. A functional `SAMModel`, and a `SAMModel`
made from an existing model, each have a class that inherits from both and that
no other model has. It is freed with the model.
"""

import dataclasses
import functools
import inspect
from typing import Any

import keras

from keras_sam import backend
from keras_sam import model_state
from keras_sam.settings import Settings
from keras_sam.trainers import Trainer

_FUNCTIONAL_ARGUMENTS = ("inputs", "outputs", "name", "trainable", "dtype")


def check_functional_arguments(arguments: dict[str, Any]) -> None:
    """Check for unknown arguments, such as misspelled ones: Keras drops them.

    Raises:
        TypeError: If an argument is unknown.
    """
    for name, value in arguments.items():
        if name not in _FUNCTIONAL_ARGUMENTS:
            known = [field.name for field in dataclasses.fields(Settings)]
            known += _FUNCTIONAL_ARGUMENTS
            raise TypeError(
                f"`SAMModel` has no argument `{name}`. It has "
                f"{', '.join(f'`{k}`' for k in known)}. "
                f"Received: {name}={value!r}"
            )


def check_adoptable(model: Any) -> None:
    """Check the argument of `from_model`.

    Raises:
        TypeError: If it is not a `keras.Model`.
        ValueError: If it has a custom train step, or is a `SAMModel`.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(
            "`model` must be a `keras.Model`. "
            f"Received: model={model!r} (of type {type(model)})"
        )
    if isinstance(model, Trainer):
        raise ValueError(
            f"`model` is a `SAMModel` already. Received: model={model!r}"
        )
    if type(model).train_step is not keras.Model.train_step:
        raise ValueError(
            "`model` must not have a `train_step` of its own, because "
            "`SAMModel` replaces it. Move its additional computations to "
            "`compute_loss`, or make the class a subclass of `SAMModel` whose "
            "`train_step` calls `super().train_step`, on other data for "
            "example. For a step that does something else, there is "
            "`keras_sam.sharpness_aware_gradients`. "
            f"Received: model={model!r}"
        )


def view(model: keras.Model, cls: type[keras.Model]) -> Any:
    """Return a second object with the model's attributes and class `cls`."""
    # The objects share one `__dict__`, and so all attributes.
    other = object.__new__(cls)
    object.__setattr__(other, "__dict__", model.__dict__)
    return other


def original_class(cls: Any) -> Any:
    """Return the class in the user's code, given the class of a model."""
    return cls if cls._original is None else cls._original


def functional(model: keras.Model) -> keras.Model:
    """Return a built `Sequential` as a functional model, any other as it is.

    Keras clones functional models with their class, sequential ones without.
    """
    if not (isinstance(model, keras.Sequential) and model.built):
        return model
    # A list of one input would require a list of one array in each call.
    [inputs], outputs = model.inputs, model.outputs
    outputs = outputs[0] if len(outputs) == 1 else outputs
    return keras.Model(inputs, outputs, name=model.name)


def adopt(cls: type[Any], model: keras.Model, settings: Settings) -> Any:
    """Return an existing model as a `cls` with its own settings."""
    base = plain_class = type(model)
    if plain_class is keras.Sequential:
        base = _acts_for(model, plain_class)
    is_functional = base is backend.Functional
    has_constructor = backend.has_functional_constructor(original_class(cls))
    is_remade = not (is_functional and has_constructor)
    adopted = view(model, cls)
    combine(adopted, base, settings, plain_class if is_remade else None)
    model_state.start(adopted, settings)
    return adopted


def _acts_for(model: Any, cls: type[keras.Model]) -> type[keras.Model]:
    """Return a class that delegates to `model` and is no subclass of `cls`.

    `keras.models.clone_model` would silently clone an instance of `Sequential`
    as a plain `Sequential`, which takes plain steps.
    """

    def read(name: str) -> property:
        return property(lambda view: getattr(model, name))

    namespace: dict[str, Any] = {"__doc__": cls.__doc__}
    for name, value in vars(cls).items():
        if isinstance(value, property):
            namespace[name] = read(name)
        elif inspect.isfunction(value) and not name.startswith("__"):
            namespace[name] = staticmethod(getattr(model, name))
    return type(cls.__name__, (keras.Model,), namespace)


def combine(
    model: Any,
    base: type[keras.Model],
    settings: Settings,
    plain_class: type[keras.Model] | None = None,
) -> None:
    """Make a `SAMModel` an instance of `base`, too.

    Files contain the name of the class in the user's code, whose `from_config`
    combines the two classes again.

    Args:
        model: The `SAMModel`. Gets a class that no other model has.
        base: `Functional`, or the class of the adopted model.
        settings: The settings of clones.
        plain_class: The class that `from_config` creates and then adopts;
            `None` if it calls the constructor.
    """
    original = original_class(type(model))
    namespace: dict[str, Any] = {
        "__doc__": original.__doc__,
        "__module__": original.__module__,
        "__qualname__": original.__qualname__,
        "_original": original,
        "_plain_class": plain_class,
    }
    if issubclass(base, backend.Functional):
        namespace |= _cloning(original, settings)
    if plain_class is not None:
        namespace |= _saving(plain_class)
    combined = type(original.__name__, (original, base), namespace)
    backend.save_under_name_of(original, combined)
    model.__class__ = combined


def _saving(plain_class: type[keras.Model]) -> dict[str, Any]:
    """Return methods that save in formats of other libraries.

    These files contain the plain model, whose class their readers expect.
    """

    def of_plain_view(name: str) -> Any:
        def save(self: Any, *args: Any, **kwargs: Any) -> Any:
            plain = view(self, plain_class)
            return getattr(plain, name)(*args, **kwargs)

        return functools.wraps(getattr(plain_class, name))(save)

    return {
        name: of_plain_view(name)
        for name in dir(plain_class)
        if name.startswith("save_") and not hasattr(keras.Model, name)
    }


def _cloning(original: type[Any], settings: Settings) -> dict[str, Any]:
    """Return attributes with which `clone_model` keeps class and settings.

    Keras calls the class of a functional model with inputs and outputs alone,
    and only if the constructor seems to accept them; otherwise the clone is a
    plain `Functional`. A constructor with other arguments is skipped here too:
    the clone is of the first base class without one.
    """
    constructor: Any = next(
        cls
        for cls in original.__mro__
        if issubclass(cls, Trainer) and backend.has_functional_constructor(cls)
    )

    def make_clone(cls: type[Any], *args: Any, **kwargs: Any) -> Any:
        clone = constructor(*args, **kwargs)
        given = {k: v for k, v in kwargs.items() if k in vars(settings)}
        cloned = dataclasses.replace(settings, **given)
        combine(clone, backend.Functional, cloned)
        model_state.start(clone, cloned)
        return clone

    # The clone is no instance of the class, so Python leaves out `__init__`.
    return {"__new__": make_clone, "__init__": backend.Functional.__init__}
