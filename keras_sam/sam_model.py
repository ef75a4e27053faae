"""`SAMModel`: what the user sees."""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any

import keras

from keras_sam import backend
from keras_sam import model_state
from keras_sam.engine import roles
from keras_sam.engine.two_passes import seen_by
from keras_sam.methods.base import Method
from keras_sam.settings import Settings
from keras_sam.trainers import Trainer
from keras_sam.validation import check_batch_size


@keras.saving.register_keras_serializable(package="keras_sam")
class SAMModel(Trainer):
    """A `keras.Model` that trains for a low loss in a whole neighbourhood.

    Each step of `fit` computes the gradient `g` at the weights `w`, climbs to
    `w + e` (for SAM `e = rho * g / ||g||`), computes the gradient there on the
    same batch, and lets the optimizer apply that one at `w`. The weights are
    never moved for it: the second pass runs on perturbed tensors.

    There are three ways to make one, as with `keras.Model`: from inputs and
    outputs, by subclassing, and, for a model that exists, with `from_model`.
    Everything else is as ever: `compile`, `fit`, callbacks, saving. The logs
    of `fit` have one entry more, `sharpness`: the mean of `L(w + e) - L(w)`
    over the batches on which the weights were perturbed. If it stays at 0, no
    sharpness-aware step took place.

    A step costs two gradients instead of one, and one or two copies of the
    weights. Batch normalization statistics, seeds, the loss and the metrics
    are those of the first pass; the second draws the same dropout masks.

    Args:
        *args: As for `keras.Model`: inputs and outputs, or nothing.
        method: A `keras_sam.methods.Method` or its name, `"sam"` or `"asam"`.
            Defaults to `"sam"`.
        rho: The radius of the neighbourhood: a finite number >= 0, or a
            `keras.optimizers.schedules.LearningRateSchedule`, called with the
            optimizer's iteration. A step whose radius is 0 has no second pass
            and costs what a plain step costs. Defaults to the method's own
            default, 0.05 for SAM and 0.5 for ASAM.
        perturb: Which trainable variables are perturbed: `"all"`,
            `"no_norm_no_bias"`, `"norm_only"`, or a callable that takes a
            variable and returns a boolean. The norm is taken over these alone.
            Defaults to `"all"`, as in the paper.
        perturbation: Under data parallelism, `"replica"`: each replica
            perturbs from its own shard, as in the paper; or `"global"`: one
            perturbation from the averaged gradient; or an integer k: one for
            each group of k replicas. The same on a single device. Defaults to
            `"replica"`.
        num_microbatches: Integer >= 1. Splits the batch into so many parts,
            perturbs for each from its own gradient, and averages: m-sharpness
            (section 4.1 of the paper) on one device. Parts differ by at most
            one example; a last batch with fewer examples is split into single
            examples. Defaults to 1.
        ascent_fraction: Number in (0, 1]. The perturbation is computed from
            this leading fraction of the (micro-)batch; the second pass always
            uses all of it. State, loss and metrics are then those of the
            leading examples. Defaults to 1.
        **kwargs: As for `keras.Model`.

    Raises:
        TypeError: If there is no such argument.
        ValueError: If an argument is outside its range.

    Example:
    ```python
    inputs = keras.Input((784,))
    outputs = keras.layers.Dense(10, activation="softmax")(inputs)
    model = keras_sam.SAMModel(inputs, outputs, rho=0.1)
    model.compile(
        "sgd", "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    model.fit(x, y, epochs=10)
    ```

    Reference:
        [Foret et al., 2021](https://arxiv.org/abs/2010.01412), algorithm 1.
    """

    _plain_class: type[keras.Model] | None = None
    _given: frozenset[str] = frozenset()

    def __new__(cls, *args: Any, **kwargs: Any) -> "SAMModel":
        """Remember what the outermost constructor is given by name."""
        model = super().__new__(cls, *args, **kwargs)
        names = inspect.getfullargspec(cls.__init__).args[1:]
        given = {*kwargs, *names[: len(args)]}
        object.__setattr__(model, "_given", frozenset(given))
        return model

    def __init__(
        self,
        *args: Any,
        method: str | Method = "sam",
        rho: Any = None,
        perturb: str | Callable[[keras.Variable], bool] = "all",
        perturbation: str | int = "replica",
        num_microbatches: int = 1,
        ascent_fraction: float = 1.0,
        **kwargs: Any,
    ) -> None:
        settings = Settings(
            method=method,
            rho=rho,
            perturb=perturb,
            perturbation=perturbation,
            num_microbatches=num_microbatches,
            ascent_fraction=ascent_fraction,
        )
        # Keras would put `Functional` between this class and `keras.Model`,
        # for all instances of it. Only this one is to become functional.
        if backend.functional_init_arguments(args, kwargs):
            _check_functional_arguments(kwargs)
            if not isinstance(self, backend.Functional):
                self.__class__ = _combined_class(
                    type(self), backend.Functional, settings
                )
        super().__init__(*args, **kwargs)
        self._start(settings)

    @classmethod
    def from_model(cls, model: keras.Model, **settings: Any) -> "SAMModel":
        """Return a `SAMModel` that trains an existing model in place.

        The result is the same model, layers and weights seen as a `SAMModel`:
        whatever one trains or compiles, the other has too. `model.save()`
        still writes a plain Keras file, which loads where keras_sam is not
        installed. A built `Sequential` model is taken as the functional model
        of its layers; the two share weights but not what `compile` sets.

        Args:
            model: A `keras.Model`: functional, sequential or subclassed.
            **settings: The keyword arguments of `SAMModel`.

        Returns:
            A `SAMModel`.

        Raises:
            TypeError: If `model` is not a `keras.Model`.
            ValueError: If `model` has a `train_step` of its own, which would
                not take part, or is a `SAMModel`.
        """
        _check_model(model)
        checked = Settings(**settings)
        if isinstance(model, keras.Sequential) and model.built:
            # A list of one input would want a list of one array in each call.
            [inputs], outputs = model.inputs, model.outputs
            outputs = outputs[0] if len(outputs) == 1 else outputs
            model = keras.Model(inputs, outputs, name=model.name)
        combined = _combined_class(cls, type(model), checked)
        wrapper = _view(model, combined)
        wrapper._start(checked)
        return wrapper

    def _start(self, settings: Settings) -> None:
        self._sam = model_state.SAMState(settings)
        self._sam_saved = model_state.SavedState(self)

    @property
    def sam(self) -> Settings:
        """The arguments given to the constructor, checked; read-only."""
        return self._sam.settings

    @property
    def variables(self) -> list[keras.Variable]:
        """List of all model state: weights, seeds, and the method's state."""
        own = self._sam.variables if hasattr(self, "_sam") else []
        return super().variables + own

    def build_method_state(self) -> None:
        """Create what the method remembers; the model must be built."""
        weights = self.trainable_variables
        _, perturbed = roles.of_sam_model(self)
        seen = seen_by(self.sam.method, len(weights), perturbed)
        self._sam.build([weights[i] for i in seen])

    @property
    def metrics_variables(self) -> list[keras.Variable]:
        """List of all metric variables, that of `sharpness` included."""
        return super().metrics_variables + self._sam.tracker.variables

    def reset_metrics(self) -> None:
        """Reset the state of all metrics."""
        super().reset_metrics()
        self._sam.tracker.reset_state()

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """Train as `keras.Model.fit` does; `sharpness` is one more log.

        Args:
            x: Input data, as for `keras.Model`.
            y: Targets.
            batch_size: Integer. Not smaller than `num_microbatches`.
            *args: As for `keras.Model`.
            **kwargs: As for `keras.Model`.

        Returns:
            A `keras.callbacks.History`.

        Raises:
            ValueError: If `batch_size` is smaller than `num_microbatches`.
        """
        if batch_size is not None:
            check_batch_size(self, batch_size)
        return super().fit(x, y, batch_size, *args, **kwargs)

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """Train on one batch, as `keras.Model.train_on_batch` does.

        Args:
            x: Input data, as for `keras.Model`.
            y: Targets.
            sample_weight: Weights of the examples.
            class_weight: Weights of the classes.
            return_dict: Boolean. Only a dictionary has `sharpness`; the
                scalar or list is that of `keras.Model`.

        Returns:
            The loss, or loss and metrics as a list or a dictionary.
        """
        logs = super().train_on_batch(
            x, y, sample_weight, class_weight, return_dict=True
        )
        if return_dict:
            return logs
        del logs[self._sam.tracker.name]
        return backend.logs_as_list(self, logs)

    @backend.as_default
    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` makes the same model from."""
        settings = self.sam.get_config()
        if self._plain_class is not None:
            plain = _view(self, self._plain_class)
            config = keras.saving.serialize_keras_object(plain)
            config.pop("compile_config", None)
            return {"wrapped_model": config, **settings}
        if not backend.has_functional_constructor(type(self)):
            # The constructor is another, which may choose what it is not given.
            settings = {k: v for k, v in settings.items() if k in self._given}
        return {**super().get_config(), **settings}

    def __reduce__(self) -> Any:
        """Return what `pickle` needs, without this class, which has no name."""
        load, arguments = super().__reduce__()
        return getattr(keras.Model, load.__name__), arguments

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: Any = None
    ) -> "SAMModel":
        """Return the model that `get_config` describes."""
        if "wrapped_model" in config:
            config = dict(config)
            model = keras.saving.deserialize_keras_object(
                config.pop("wrapped_model"), custom_objects=custom_objects
            )
            original: Any = cls.__bases__[0] if cls._plain_class else cls
            return original.from_model(model, **config)
        return super().from_config(config, custom_objects=custom_objects)


_FUNCTIONAL_ARGUMENTS = ("inputs", "outputs", "name", "trainable", "dtype")


def _check_functional_arguments(arguments: dict[str, Any]) -> None:
    """Check that Keras would drop none, a misspelled radius for example.

    Raises:
        TypeError: If there is no such argument.
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


def _check_model(model: Any) -> None:
    if not isinstance(model, keras.Model):
        raise TypeError(
            "`model` must be a `keras.Model`. "
            f"Received: model={model!r} (of type {type(model)})"
        )
    if isinstance(model, SAMModel):
        raise ValueError(
            f"`model` is a `SAMModel` already. Received: model={model!r}"
        )
    if type(model).train_step is not keras.Model.train_step:
        raise ValueError(
            "`model` must not have a `train_step` of its own, because "
            "`SAMModel` replaces it. Move what is special about it to "
            "`compute_loss`, or make the class a subclass of `SAMModel`. "
            f"Received: model={model!r}"
        )


def _view(model: keras.Model, cls: type[keras.Model]) -> Any:
    """Return the same model, state and all, as an instance of `cls`."""
    view = object.__new__(cls)
    object.__setattr__(view, "__dict__", model.__dict__)
    return view


def _make_combined_class(cls: Any, base: Any, settings: Settings) -> Any:
    """Return the class of a model that is a `cls` and a `base`.

    It is saved under the name of `cls`, whose `from_config` makes it again.
    `keras.models.clone_model` calls the constructor of a functional
    model with inputs and outputs alone, so the class remembers the settings.
    """
    namespace: dict[str, Any] = {
        "__doc__": cls.__doc__,
        "__module__": cls.__module__,
        "__qualname__": cls.__qualname__,
    }
    if base is not backend.Functional:
        namespace["_plain_class"] = base
    elif cls.__init__ is SAMModel.__init__:

        def __init__(self: SAMModel, *args: Any, **kwargs: Any) -> None:
            SAMModel.__init__(self, *args, **{**vars(settings), **kwargs})

        namespace["__init__"] = __init__
    combined = type(cls.__name__, (cls, base), namespace)
    backend.save_under_name_of(cls, combined)
    return combined


_combined_class: Callable[..., Any] = functools.cache(_make_combined_class)
