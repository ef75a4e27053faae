"""Method state: where it is stored, how it is saved, restored and renewed."""

import h5py
import keras
import numpy as np
import pytest

from tests import small_network
from tests.methods.table import METHODS
from tests.methods.table import STATEFUL
from tests.small_network import EAGER
from tests.small_network import GRAPH
from tests.small_network import of_method

# A weights file does not contain the optimizer's momentum.
pytestmark = pytest.mark.filterwarnings("ignore:Skipping variable loading")


def num_stored(name):
    """Return how many numbers a method stores for the small network."""
    row = METHODS[name]
    return row.copies * small_network.PROBLEM.is_matrix.size + row.numbers


def method_state(model):
    """Return the method's state, as arrays."""
    weights = {id(v) for v in model.weights}
    return small_network.values(
        v for v in model.variables if id(v) not in weights
    )


@pytest.mark.parametrize("name", METHODS)
def test_method_state_is_in_the_variables_but_not_in_the_weights(name):
    model = of_method(name)
    plain = small_network.network(keras.Model)
    small_network.fit(model)
    found = method_state(model)
    assert sum(value.size for value in found) == num_stored(name)
    assert all(np.any(value != 0) for value in found)
    for attribute in ("trainable_weights", "weights", "trainable_variables"):
        shapes = [v.shape for v in getattr(model, attribute)]
        assert shapes == [v.shape for v in getattr(plain, attribute)]
    assert len(model.get_weights()) == len(plain.get_weights())
    assert model.count_params() == plain.count_params()


def lacking(group, names):
    del group[names[-1]]


def reshaped(group, names):
    value = np.zeros((2, *group[names[-1]].shape))
    del group[names[-1]]
    group[names[-1]] = value


def not_finite(group, names):
    group[names[-1]][...] = np.nan


DAMAGES = {
    "not complete": lacking,
    "of other shapes": reshaped,
    "not finite": not_finite,
}


# A file without the only number of a state is like one of another method.
@pytest.mark.parametrize(
    "name, fault",
    [
        (name, fault)
        for name in STATEFUL
        for fault in DAMAGES
        if (name, fault) != ("random_ascent", "not complete")
    ],
)
def test_method_state_starts_anew_if_that_of_a_file_is_unusable(
    name, fault, tmp_path
):
    path = tmp_path / "saved.weights.h5"
    saved, fresh, model = (of_method(name) for _ in range(3))
    small_network.fit(saved)
    small_network.fit(model)  # Has its own state, which is not kept.
    fresh.build_method_state()
    saved.save_weights(path)
    prefix = type(saved.sam.method).__name__
    with h5py.File(path, "r+") as file:
        [group] = {
            item.parent.name
            for item in all_datasets(file)
            if item.name.split("/")[-1].startswith(prefix)
        }
        names = [key for key in file[group] if key.startswith(prefix)]
        DAMAGES[fault](file[group], names)
    with pytest.warns(UserWarning, match=f"starts anew.*{fault}") as warnings:
        model.load_weights(path)
    assert len([w for w in warnings if "anew" in str(w.message)]) == 1
    small_network.assert_same(model.get_weights(), saved.get_weights())
    small_network.assert_same(method_state(model), method_state(fresh))


def all_datasets(group):
    found = []
    group.visititems(
        lambda _, item: (
            found.append(item) if isinstance(item, h5py.Dataset) else None
        )
    )
    return found


def test_a_torn_weights_file_changes_nothing(tmp_path):
    path = tmp_path / "saved.weights.h5"
    saved, model = of_method("friendly_sam"), of_method("friendly_sam")
    small_network.fit(saved)
    saved.save_weights(path)
    with h5py.File(path, "r+") as file:
        items = [i.name for i in all_datasets(file) if "/layers/" in i.name]
        del file[max(items)]  # The bias of the last layer.
    model.build_method_state()
    before = small_network.values(model.variables)
    with pytest.raises(ValueError, match="expected 2 variables"):
        model.load_weights(path)
    small_network.assert_same(small_network.values(model.variables), before)


@pytest.mark.parametrize(
    "name, mode",
    [*((name, EAGER) for name in STATEFUL), ("look_sam", GRAPH)],
)
def test_saved_model_resumes_bit_for_bit(name, mode, tmp_path):
    # Four steps, and LookSAM has a period of three.
    model = of_method(name, mode)
    small_network.fit(model, number=20)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    small_network.assert_same(method_state(loaded), method_state(model))
    going_on = small_network.fit(model, epochs=2)
    resumed = small_network.fit(loaded, epochs=2)
    small_network.assert_same(resumed.weights, going_on.weights)
    assert resumed.logs == going_on.logs
    small_network.assert_same(method_state(loaded), method_state(model))


@pytest.mark.parametrize("name", STATEFUL)
def test_weights_files_pass_between_plain_and_sharp(name, tmp_path):
    sharp, plain = of_method(name), small_network.network(keras.Model)
    small_network.fit(sharp)
    sharp.save_weights(tmp_path / "sharp.weights.h5")
    plain.load_weights(tmp_path / "sharp.weights.h5")
    small_network.assert_same(plain.get_weights(), sharp.get_weights())

    before = method_state(sharp)
    small_network.network(keras.Model).save_weights(
        tmp_path / "plain.weights.h5"
    )
    sharp.load_weights(tmp_path / "plain.weights.h5")
    small_network.assert_same(
        sharp.get_weights(), small_network.network().get_weights()
    )
    small_network.assert_same(method_state(sharp), before)


@pytest.mark.parametrize("name", STATEFUL)
@pytest.mark.parametrize("perturb", ["all", "no_norm_no_bias"])
def test_weights_file_of_other_settings_leaves_fresh_method_state(
    name, perturb, tmp_path
):
    other = "vasso" if name == "look_sam" else "look_sam"
    for saved in (of_method(name), of_method(other)):
        small_network.fit(saved)
        saved.save_weights(tmp_path / "saved.weights.h5")
        model = of_method(name, perturb=perturb)
        model.load_weights(tmp_path / "saved.weights.h5")
        small_network.assert_same(model.get_weights(), saved.get_weights())
        small_network.fit(model)


@pytest.mark.parametrize(
    "name, mode",
    [*((name, EAGER) for name in STATEFUL), ("look_sam", GRAPH)],
)
def test_method_state_is_renewed_when_other_weights_are_trained(name, mode):
    model = of_method(name, mode)
    small_network.fit(model)
    start = model.get_weights()
    model.get_layer("hidden").trainable = False
    compile_again(model, mode)
    small_network.fit(model)

    # As a model that was frozen from the start; only the state of AESAM is
    # independent of single weights, and is kept.
    fresh = small_network.network(method=model.sam.method, rho=model.sam.rho)
    fresh.set_weights(start)
    fresh.get_layer("hidden").trainable = False
    compile_again(fresh, mode)
    small_network.fit(fresh)
    small_network.assert_same(fresh.get_weights(), model.get_weights())
    small_network.assert_same(method_state(fresh), method_state(model))
    assert method_state(model)[0].size in (4, 1)

    model.get_layer("hidden").trainable = True
    compile_again(model, mode)
    small_network.fit(model)
    assert sum(value.size for value in method_state(model)) == num_stored(name)


def compile_again(model, mode=EAGER):
    model.compile(keras.optimizers.SGD(0.1, 0.9), "mse", **mode)


@pytest.mark.parametrize("name", STATEFUL)
def test_method_state_survives_compile(name):
    model = of_method(name)
    small_network.fit(model)
    before = method_state(model)
    compile_again(model)
    small_network.assert_same(method_state(model), before)


@pytest.mark.parametrize("name", STATEFUL)
def test_clone_has_its_own_method_state(name):
    model = of_method(name)
    small_network.fit(model)
    before = method_state(model)
    clone = keras.models.clone_model(model)
    compile_again(clone)
    clone.set_weights(small_network.network().get_weights())
    found = small_network.fit(clone).weights
    small_network.assert_same(method_state(model), before)
    small_network.assert_same(found, small_network.fit(of_method(name)).weights)
