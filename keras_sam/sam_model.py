"""`SAMModel`, the main class of the package."""

import copy
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING
from typing import Any

import keras
from keras.optimizers.schedules import LearningRateSchedule

from keras_sam import adoption
from keras_sam import backend
from keras_sam import model_state
from keras_sam import summary
from keras_sam.engine import roles
from keras_sam.engine.gradients import seen_by
from keras_sam.methods.base import Method
from keras_sam.settings import Settings
from keras_sam.settings import SettingsArguments
from keras_sam.trainers import Trainer
from keras_sam.validation import check_batch_size

if TYPE_CHECKING:
    from typing_extensions import Self
    from typing_extensions import Unpack

_FIT_AFTER_BATCH_SIZE = (
    "epochs",
    "verbose",
    "callbacks",
    "validation_split",
    "validation_data",
    "shuffle",
    "class_weight",
    "sample_weight",
    "initial_epoch",
    "steps_per_epoch",
    "validation_steps",
    "validation_batch_size",
    "validation_freq",
)
"""Keras' arguments of `fit`, in its order. They are not read from `keras.Model`
because tools for logging replace its functions."""

_SUMMARY = ("line_length", "positions", "print_fn")
"""The first arguments of Keras' `summary`."""


@keras.saving.register_keras_serializable(package="keras_sam")
class SAMModel(Trainer):
    """A `keras.Model` that trains for a low loss in a neighbourhood of weights.

    Each step of `fit` computes the gradient `g` at the weights `w`, perturbs
    them to `w + e` (for SAM `e = rho * g / ||g||`), computes the gradient there
    on the same batch, and lets the optimizer apply the latter at `w`. The
    variables are never assigned for it: the second pass reads perturbed values.

    A `SAMModel` is made like a `keras.Model`, from inputs and outputs or by
    subclassing, or from an existing model with `from_model`. `compile`, `fit`,
    callbacks and saving are those of Keras. The logs of `fit` have an
    additional entry `sharpness`, the mean of `L(w + e) - L(w)` over the batches
    with perturbed weights. If it stays at 0, there was no sharpness-aware step.

    A step costs two gradients instead of one, and one or two copies of the
    weights. Batch normalization statistics, seeds, loss and metrics are those
    of the first pass; the second draws the same dropout masks.

    Args:
        *args: As for `keras.Model`: inputs and outputs, or nothing.
        method: A `keras_sam.methods.Method` or its name, `"sam"` or `"asam"`.
            Defaults to `"sam"`.
        rho: The radius of the neighbourhood: a finite number >= 0, or a
            `keras.optimizers.schedules.LearningRateSchedule`, called with the
            optimizer's iteration. A step with radius 0 has no second pass and
            the cost of a plain step. Defaults to the default of the method,
            0.05 for SAM and 0.5 for ASAM.
        perturb: The trainable variables to perturb: `"all"`,
            `"no_norm_no_bias"`, `"norm_only"`, or a callable that takes a
            variable and returns a boolean. The norm is taken over these alone.
            Normalization layers and biases are recognized by name; without
            names, as in a `JaxLayer` with a list of parameters, biases are
            guessed from their shape, which `verify` shows. Defaults to
            `"all"`, as in the paper.
        perturbation: Under data parallelism, `"replica"`: each replica
            perturbs from its own shard, as in the paper; `"global"`: one
            perturbation from the averaged gradient; or an integer k: one for
            each group of k replicas. All are the same on a single device.
            Defaults to `"replica"`.
        num_microbatches: Integer >= 1. Splits the batch into this many parts,
            perturbs for each from its own gradient, and averages: m-sharpness
            (section 4.1 of the paper) on one device. Each part is a batch of
            its own and counts with its share of the examples, as on a replica:
            with the reduction `"sum"` the loss is the mean of the sums over
            the parts. The sizes of parts differ by at most one; a batch with
            fewer examples than parts is split into single examples. Defaults
            to 1.
        ascent_fraction: Number in (0, 1]. The perturbation is computed from
            this leading fraction of the (micro-)batch; the second pass always
            uses all of it. State, loss and metrics are then those of the
            leading examples, and so are both losses that `sharpness` compares;
            batch normalization, however, is over the examples of each pass.
            Defaults to 1.
        ascent_loss: A loss for the perturbation alone, as `compile` takes it:
            for example class-weighted or focal for long-tailed data, or the
            loss of one of several outputs, with `None` for the others. It has
            no `loss_weights`, takes the place of `compute_loss`, and needs a
            target for each output; what layers add to the loss is added to it
            too. The gradient that the optimizer applies, the logged loss and
            `sharpness` are those of the loss of `compile`. Not for methods
            that also use the gradient of that loss at w (GSAM, WeightedSAM,
            StableSAM, LookSAM, AESAM), nor for those without a pass at w
            (MomentumSAM, RandomAscent). Defaults to `None`: the loss of
            `compile`.
        **kwargs: As for `keras.Model`.

    Raises:
        TypeError: If an argument is unknown.
        ValueError: If an argument is outside its range.

    Example:
    >>> x, y = np.random.normal(size=(64, 20)), np.arange(64) % 10
    >>> inputs = keras.Input((20,))
    >>> outputs = keras.layers.Dense(10, activation="softmax")(inputs)
    >>> model = keras_sam.SAMModel(inputs, outputs, rho=0.1)
    >>> model.compile(
    ...     "sgd", "sparse_categorical_crossentropy", metrics=["accuracy"]
    ... )
    >>> history = model.fit(x, y, epochs=2, verbose=0)
    >>> sorted(history.history)
    ['accuracy', 'loss', 'sharpness']

    Reference:
        [Foret et al., 2021](https://arxiv.org/abs/2010.01412), algorithm 1.
    """

    # Views of one model share its `__dict__`; in slots each has its own.
    __slots__ = ("_sam", "_sam_saved")

    _original: "type[SAMModel] | None" = None
    _plain_class: type[keras.Model] | None = None
    _given: frozenset[str] = frozenset()

    def __new__(cls, *args: Any, **kwargs: Any) -> "Self":
        """Store the names of the arguments of the outermost constructor."""
        model = super().__new__(cls, *args, **kwargs)
        names = inspect.getfullargspec(cls.__init__).args[1:]
        given = {*kwargs, *names[: len(args)]}
        object.__setattr__(model, "_given", frozenset(given))
        return model

    def __init__(
        self,
        *args: Any,
        method: str | Method = "sam",
        rho: float | LearningRateSchedule | None = None,
        perturb: str | Callable[[keras.Variable], bool] = "all",
        perturbation: str | int = "replica",
        num_microbatches: int = 1,
        ascent_fraction: float = 1.0,
        ascent_loss: Any = None,
        **kwargs: Any,
    ) -> None:
        settings = Settings(
            method=method,
            rho=rho,
            perturb=perturb,
            perturbation=perturbation,
            num_microbatches=num_microbatches,
            ascent_fraction=ascent_fraction,
            ascent_loss=ascent_loss,
        )
        # Keras would insert `Functional` between this class and `keras.Model`
        # for all instances, but only this one is functional.
        if backend.functional_init_arguments(args, kwargs):
            adoption.check_functional_arguments(kwargs)
            adoption.combine(self, backend.Functional, settings)
        super().__init__(*args, **kwargs)
        model_state.start(self, settings)

    @classmethod
    def from_model(
        cls, model: keras.Model, **settings: "Unpack[SettingsArguments]"
    ) -> "Self":
        """Return a `SAMModel` that trains an existing model in place.

        The result is a view of the model with the same layers, weights and
        compilation: changes of one apply to the other. `fit` of the model
        itself takes plain steps, `fit` of the result sharpness-aware ones, in
        any order. Another `SAMModel` of the same model has its own settings.
        `model.save()` still writes a plain Keras file, which loads without
        keras_sam. A built `Sequential` model is replaced by the functional
        model of its layers, which shares the weights but not the compilation.

        Args:
            model: A `keras.Model`: functional, sequential or subclassed.
            **settings: The keyword arguments of `SAMModel`.

        Returns:
            A `SAMModel`.

        Raises:
            TypeError: If `model` is not a `keras.Model`.
            ValueError: If `model` has a custom `train_step`, which would be
                ignored, or is a `SAMModel`.
        """
        adoption.check_adoptable(model)
        model = adoption.functional(model)
        return adoption.adopt(cls, model, Settings(**settings))

    @property
    def sam(self) -> Settings:
        """The arguments given to the constructor, checked; read-only."""
        return self._sam.settings

    @property
    def variables(self) -> list[keras.Variable]:
        """List of all model state, with seeds and what the method stores."""
        own = self._sam.variables if hasattr(self, "_sam") else []
        return super().variables + own

    def summary(self, *args: Any, **kwargs: Any) -> None:
        """Print Keras' summary, then method, radius and what is perturbed.

        Args:
            *args: As for `keras.Model`.
            **kwargs: As for `keras.Model`.
        """
        super().summary(*args, **kwargs)
        given = dict(zip(_SUMMARY, args)) | kwargs
        write = given.get("print_fn") or print
        write("\n".join(summary.lines(self)))

    def build_method_state(self, anew: bool = False) -> None:
        """Create the method's state; the model must be built.

        Args:
            anew: Boolean. Whether existing state is reset. Defaults to
                `False`.
        """
        weights = self.trainable_variables
        _, perturbed = roles.of_sam_model(self)
        seen = [
            weights[i] for i in seen_by(self.sam.method, weights, perturbed)
        ]
        self._sam.build(seen)
        if anew:
            self._sam.start_anew(seen)

    def load_weights(self, filepath: Any, *args: Any, **kwargs: Any) -> None:
        """Load weights as `keras.Model.load_weights` does, or none of them.

        If the file cannot be read to its end, the model is not changed.

        Args:
            filepath: The path of the file.
            *args: As for `keras.Model`.
            **kwargs: As for `keras.Model`.
        """
        if self.built:
            self.build_method_state()
        # Copies: on PyTorch, the value of a variable is changed in place.
        before = [(v, copy.deepcopy(backend.read(v))) for v in self.variables]
        try:
            super().load_weights(filepath, *args, **kwargs)
        except BaseException:
            for variable, value in before:
                variable.assign(value)
            raise

    def get_state_tree(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return all variables by path; see `keras.Model.get_state_tree`."""
        self._build_for_state()
        return super().get_state_tree(*args, **kwargs)

    def set_state_tree(self, state_tree: dict[str, Any]) -> None:
        """Set all variables; see `keras.Model.set_state_tree`."""
        self._build_for_state()
        super().set_state_tree(state_tree)

    def _build_for_state(self) -> None:
        if self.built and self.trainable_variables:
            self.build_method_state()

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
        """Train as `keras.Model.fit` does, with `sharpness` in the logs.

        Args:
            x: Input data, as for `keras.Model`.
            y: Targets.
            batch_size: Integer. Not smaller than `num_microbatches`.
            *args: As for `keras.Model`.
            **kwargs: As for `keras.Model`.

        Returns:
            A `keras.callbacks.History`.

        Raises:
            TypeError: If there are more positional arguments than Keras has.
            ValueError: If `batch_size` is smaller than `num_microbatches`.
        """
        if batch_size is not None:
            check_batch_size(self, batch_size)
        if len(args) > len(_FIT_AFTER_BATCH_SIZE):
            raise TypeError(
                "`fit` was given too many positional arguments. "
                f"Received: {3 + len(args)} of them"
            )
        # By name: the class of an adopted model may have another order.
        named = {"x": x, "y": y, "batch_size": batch_size}
        named |= zip(_FIT_AFTER_BATCH_SIZE, args)
        return super().fit(**named, **kwargs)

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
            return_dict: Boolean. Only a dictionary has `sharpness`; a scalar
                or list is the same as for `keras.Model`.

        Returns:
            The loss, or loss and metrics as a list or a dictionary.
        """
        given = {"sample_weight": sample_weight, "class_weight": class_weight}
        given = {k: v for k, v in given.items() if v is not None}
        logs = super().train_on_batch(x=x, y=y, return_dict=True, **given)
        if return_dict:
            return logs
        logs.pop(self._sam.tracker.name, None)  # Missing in custom steps.
        return backend.logs_as_list(self, logs)

    @backend.as_default
    def get_config(self) -> dict[str, Any]:
        """Return the configuration for `from_config`."""
        settings = self.sam.get_config()
        if self._plain_class is not None:
            plain = adoption.view(self, self._plain_class)
            config = keras.saving.serialize_keras_object(plain)
            config.pop("compile_config", None)
            return {"wrapped_model": config, **settings}
        model = self
        original = adoption.original_class(type(self))
        if not backend.has_functional_constructor(original):
            # The constructor has its own defaults: only settings that it was
            # given are stored, beside the arguments that Keras finds for it.
            settings = {k: v for k, v in settings.items() if k in self._given}
            model = adoption.view(self, original)
        return {**super(SAMModel, model).get_config(), **settings}

    def __reduce__(self) -> Any:
        """Return a function and arguments for `pickle`.

        The class of the model cannot be imported by name.
        """
        load, arguments = super().__reduce__()
        classes = adoption.original_class(type(self)), self._plain_class
        return _unpickled, (load.__name__, classes, *arguments)

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: Any = None
    ) -> "Self":
        """Return the model that `get_config` describes."""
        original = adoption.original_class(cls)
        if "wrapped_model" in config:
            config = dict(config)
            model = keras.saving.deserialize_keras_object(
                config.pop("wrapped_model"), custom_objects=custom_objects
            )
            # Not `from_model`, which replaces a built `Sequential`: this one
            # was not built when it was adopted.
            return adoption.adopt(original, model, Settings(**config))
        return super(SAMModel, original).from_config(
            config, custom_objects=custom_objects
        )


def _unpickled(load: str, classes: Any, *arguments: Any) -> keras.Model:
    """Return a model from a pickle.

    Args:
        load: The name of the method of `keras.Model` that reads it.
        classes: The classes of the model. Reading them has imported the modules
            that register them with Keras.
        *arguments: The arguments of that method.
    """
    return getattr(keras.Model, load)(*arguments)
