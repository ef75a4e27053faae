"""The private Keras names that the package relies on, one by one.

A release of Keras that changes one of them fails here, by name.
"""

import ast
import pathlib
import re

import keras
import numpy as np
import pytest
from keras.src.backend.common.masking import get_keras_mask
from keras.src.backend.common.masking import set_keras_mask
from keras.src.backend.common.name_scope import current_path
from keras.src.backend.common.stateless_scope import get_stateless_scope
from keras.src.losses.loss import unscale_loss_for_distribution
from keras.src.models.functional import Functional
from keras.src.models.functional import functional_like_constructor
from keras.src.models.model import functional_init_arguments
from keras.src.saving import object_registration
from keras.src.saving.keras_saveable import KerasSaveable
from keras.src.trainers.compile_utils import CompileLoss
from keras.src.utils import python_utils

from keras_sam import backend
from tests.running import printed_by

FOLDER = pathlib.Path(backend.__file__).parent

# Keras calls them; the package at most passes them on.
CALLED_BY_KERAS = {
    "_convert_to_tensor",
    "_direct_assign",
    "_distribute_strategy",
    "_get_metrics_result_or_logs",
    "_maybe_symbolic_build",
    "_obj_type",
}
OWN = {"_sam"}  # Where a model keeps what `SAMModel` adds to it.


def listed_names():
    """Return the names in the first column of the table in the docstring."""
    rows = re.findall(r"^\| (`.*?) \|", backend.__doc__, re.MULTILINE)
    names = re.findall(r"`([\w.]+)`", " ".join(rows))
    return {name.split(".")[-1] for name in names}


def used_names(tree):
    """Return private names of Keras in a module.

    These are what it imports from `keras.src`, or takes from modules that it
    imports from there, and attributes with a leading underscore of anything
    but `self`.
    """
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        and node.module.startswith("keras.src")
        for alias in node.names
    }
    attributes = [
        (node.value.id, node.attr)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    ]
    modules = {owner for owner, _ in attributes if owner in imported}
    return (imported - modules) | {
        name
        for owner, name in attributes
        if owner in modules
        or (re.match(r"_[a-z]", name) and owner not in ("self", "tf"))
    }


def test_table_lists_what_the_backend_uses():
    used = set()
    for path in FOLDER.rglob("*.py"):
        used |= used_names(ast.parse(path.read_text()))
    assert (used - OWN) | CALLED_BY_KERAS == listed_names()


@pytest.fixture
def model():
    inputs = keras.Input((2,))
    outputs = keras.layers.Dense(1, kernel_regularizer="l2")(inputs)
    model = keras.Model(inputs, outputs)
    model.compile("sgd", "mse", metrics=["mae"])
    return model


def test_evaluate_builds_nothing_but_by_these_names(model):
    """So that what reads batches by way of it can leave the model alone."""
    unbuilt = keras.Sequential([keras.layers.Dense(1)])
    unbuilt.compile("sgd", "mse", metrics=["mae"])
    x = np.ones((3, 2), "float32")
    [batch] = backend.batches_of_evaluate(unbuilt, x=x, y=x[:, :1])
    assert len(batch[0]) == 3
    assert not unbuilt.built and not unbuilt.optimizer.built
    assert unbuilt.weights == unbuilt.metrics_variables[2:] == []


def test_a_strategy_of_tensorflow_is_an_attribute(model):
    is_on_tensorflow = keras.backend.backend() == "tensorflow"
    assert ("_distribute_strategy" in vars(model)) == is_on_tensorflow


def test_call_has_training_arg(model):
    class WithoutTraining(keras.Model):
        def call(self, inputs):
            return inputs

    assert model._call_has_training_arg
    assert not WithoutTraining()._call_has_training_arg


def test_compute_loss_calls_a_compute_loss_without_training():
    class Old(keras.Model):
        def compute_loss(self, x, y, y_pred, sample_weight):
            return x + y + y_pred + sample_weight

    assert (
        Old()._compute_loss(
            x=1, y=20, y_pred=300, sample_weight=4000, training=True
        )
        == 4321
    )


def test_loss_tracker_is_the_mean_that_is_logged(model):
    model.train_on_batch(np.zeros((1, 2)), np.zeros((1, 1)))
    model.reset_metrics()
    model._loss_tracker.update_state(2.0, sample_weight=3)
    model._loss_tracker.update_state(6.0, sample_weight=1)
    assert float(model.get_metrics_result()["loss"]) == 3.0


def test_flatten_layers_gives_the_model_and_layers_at_any_depth():
    inner = keras.layers.Dense(1)
    outer = keras.layers.TimeDistributed(keras.Sequential([inner]))
    model = keras.Sequential([outer])
    found = list(model._flatten_layers())
    assert found[0] is model
    assert any(layer is inner for layer in found)


def test_flatten_metrics_in_order(model):
    model.train_on_batch(np.zeros((1, 2)), np.zeros((1, 1)))
    logs = {"mae": 2.0, "loss": 1.0}
    assert model._flatten_metrics_in_order(logs) == [1.0, 2.0]


def test_get_metrics_result_or_logs_keeps_logs_with_an_entry_more(model):
    model.train_on_batch(np.zeros((1, 2)), np.zeros((1, 1)))
    logs = {"mae": 2.0, "loss": 1.0}
    assert model._get_metrics_result_or_logs(logs) != logs
    logs["sharpness"] = 3.0
    assert model._get_metrics_result_or_logs(logs) == logs


def test_symbolic_build_creates_the_variables_of_metrics(model):
    assert len(model.metrics_variables) == 2
    data = (np.zeros((1, 2)), np.zeros((1, 1)), None)
    model._symbolic_build(data_batch=data)
    assert len(model.metrics_variables) == 4


def test_compile_loss_and_metrics_say_whether_they_are_built(model):
    parts = (model._compile_loss, model._compile_metrics)
    assert not any(part.built for part in parts)
    model.train_on_batch(np.zeros((1, 2)), np.zeros((1, 1)))
    assert all(part.built for part in parts)
    model = keras.Sequential()
    model.compile("sgd")
    assert model._compile_loss is model._compile_metrics is None


def test_a_model_sums_what_is_added_to_its_loss(model):
    assert float(model._aggregate_additional_loss(np.ones(3))) == 3.0


def test_a_loss_of_compile_may_be_several_and_weighs_examples():
    loss = CompileLoss(["mse", None], output_names=["a", "b"])
    y = [np.zeros((2, 1), "float32")] * 2
    y_pred = [np.array([[1.0], [3.0]], "float32")] * 2
    weights = [np.array([1.0, 0.0], "float32")] * 2
    assert float(loss(y, y_pred, weights)) == 0.5
    assert loss.metrics == []


def test_iterations_of_an_optimizer_count_all_steps():
    variable = keras.Variable(1.0)
    optimizer = keras.optimizers.SGD(gradient_accumulation_steps=2)
    optimizer.build([variable])
    optimizer.apply([keras.ops.ones(())])
    assert int(optimizer._iterations) == 1
    assert int(optimizer.iterations) == 0


if hasattr(keras.optimizers, "MultiOptimizer"):

    def test_a_multi_optimizer_knows_whose_a_variable_is():
        one, other = keras.Variable(1.0), keras.Variable(1.0)
        parts = [keras.optimizers.SGD(), keras.optimizers.Adam()]
        optimizer = keras.optimizers.MultiOptimizer(
            lambda variable: parts[variable is other]
        )
        optimizer.build([one, other])
        indices = optimizer._var_to_optimizer_idx
        for variable, part in zip((one, other), parts):
            key = optimizer._var_key(variable)
            assert optimizer.optimizers[indices[key]] is part


def test_functional_is_what_model_makes_of_inputs_and_outputs(model):
    assert type(model) is Functional


def test_functional_init_arguments():
    assert functional_init_arguments((1, 2), {})
    assert functional_init_arguments((1,), {"outputs": 2})
    assert functional_init_arguments((), {"inputs": 1, "outputs": 2})
    assert not functional_init_arguments((), {"name": "model"})


def test_functional_like_constructor():
    class Own(keras.Model):
        def __init__(self, width):
            super().__init__()

    class Any(keras.Model):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)

    assert functional_like_constructor(Functional)
    assert functional_like_constructor(Any)
    assert not functional_like_constructor(Own)


def test_default_marks_a_method_that_is_not_overridden():
    class Parent:
        @python_utils.default
        def method(self):
            pass

    class Child(Parent):
        def method(self):
            pass

    assert python_utils.is_default(Parent().method)
    assert not python_utils.is_default(Child().method)
    assert python_utils.is_default(keras.Model().get_config)


def test_saveable_attribute_of_a_model_is_saved_with_it(tmp_path):
    class Note(KerasSaveable):
        text = np.array([1.0])

        def save_own_variables(self, store):
            store["text"] = self.text

        def load_own_variables(self, store):
            self.text = np.array(store["text"])

        def _obj_type(self):
            return "Loss"

    def network():
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        model.note = Note()
        return model

    first, second = network(), network()
    first.note.text = np.array([2.0])
    first.save_weights(tmp_path / "note.weights.h5")
    second.load_weights(tmp_path / "note.weights.h5")
    assert second.note.text == 2.0


def test_global_custom_names_names_a_class_in_files():
    class Substitute:
        pass

    object_registration.GLOBAL_CUSTOM_NAMES[Substitute] = "tests>Original"
    name = keras.saving.get_registered_name(Substitute)
    del object_registration.GLOBAL_CUSTOM_NAMES[Substitute]
    assert name == "tests>Original"


def test_loss_is_as_it_is_without_distribution():
    assert float(unscale_loss_for_distribution(2.0)) == 2.0


def test_masks_on_tensors():
    tensor = keras.ops.zeros((2, 3))
    assert get_keras_mask(tensor) is None
    mask = keras.ops.ones((2,), "bool")
    set_keras_mask(tensor, mask)
    assert get_keras_mask(tensor) is mask


def test_get_stateless_scope_gives_the_scope_that_is_entered():
    assert get_stateless_scope() is None
    with keras.StatelessScope() as scope:
        assert get_stateless_scope() is scope


class PathRecorder(keras.layers.Layer):
    def call(self, inputs):
        self.seen = current_path()
        return inputs


def test_current_path_ends_with_the_layer_that_is_called():
    layer = PathRecorder(name="inner")
    model = keras.Sequential([keras.Input((2,)), layer], name="outer")
    model(np.zeros((1, 2)))
    assert layer.seen.split("/")[-2:] == ["outer", "inner"]
    assert current_path() == ""


def test_initial_seed_is_none_where_no_seed_was_given():
    seeds = [None, 3]
    made = [keras.layers.Dropout(0.5, seed=seed) for seed in seeds]
    assert [d.seed_generator._initial_seed for d in made] == seeds


def test_compile_config_is_another_after_each_compile(model):
    first = model._compile_config
    model.compile("sgd", "mse")
    assert model._compile_config is not first


def test_layout_of_a_variable_is_what_it_is_given():
    assert keras.Variable(0.0)._layout is None
    # On JAX it is a sharding, as an array has one; elsewhere it is kept as is.
    layout = getattr(keras.ops.zeros(()), "sharding", "layout")
    assert keras.Variable(0.0, layout=layout)._layout == layout


def test_a_variable_converts_what_it_is_assigned_and_then_writes_it():
    written = []

    class Doubling(keras.Variable):
        def _convert_to_tensor(self, value, dtype=None):
            return super()._convert_to_tensor(2 * value, dtype)

        def _direct_assign(self, value):
            written.append(keras.ops.convert_to_numpy(value))
            super()._direct_assign(value)

    variable = Doubling(np.zeros(2), dtype="float32", trainable=False)
    written.clear()  # On JAX, the first value is assigned too.
    variable.assign(np.ones(2))
    with keras.StatelessScope() as scope:
        variable.assign(np.full(2, 3.0))
    np.testing.assert_array_equal(scope.get_current_value(variable), [6.0, 6.0])
    np.testing.assert_array_equal(written, [[2.0, 2.0]])


WITHOUT_A_NAME = """
from keras.src.models import functional
del functional.functional_like_constructor
import keras_sam
"""


def test_a_keras_without_one_of_the_names_is_refused_in_a_sentence():
    with pytest.raises(AssertionError) as failure:
        printed_by("-c", WITHOUT_A_NAME)
    assert f"does not run with Keras {keras.__version__}" in str(failure.value)
