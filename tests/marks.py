"""The marks of slow tests, which compile a step or start processes.

Each promise has at least one fast test.
"""

import pytest

from tests import frameworks


def slow_but(fast, values):
    """Return values as parameters, all of them slow but those in `fast`."""
    return [
        pytest.param(*_as_tuple(value), marks=() if value in fast else slow)
        for value in values
    ]


def _as_tuple(value):
    return value if isinstance(value, tuple) else (value,)


slow = pytest.mark.slow

MODES = slow_but(["eager"], frameworks.MODES)
"""Names of all ways of running a step; the eager one is fast."""

COMPILED = (
    *("sam", "weighted_sam", "friendly_sam", "ae_sam", "momentum_sam"),
    "functional_sam",
)
"""Methods that stand for all where how a step runs is not up to the formula:
one without anything, one that corrects, stores, decides, has one pass, and
differentiates something else."""

REPRESENTED = (
    *("contract/", "diagnosis/", "engine/test_steps.py", "methods/"),
    "trainers/",
)
"""Where the cases of all other methods are slow."""

FOR_EVERY_METHOD = (
    "test_every_step_is_that_of_the_paper",
    "test_get_knows_a_method_by_name_instance_and_configuration",
)
"""Tests there that are fast for all methods."""


def with_modes(names):
    """Return pairs of a method and a mode: all eagerly, a few compiled too."""
    return [
        pytest.param(name, mode, marks=() if mode == "eager" else slow)
        for mode in frameworks.MODES
        for name in names
        if mode == "eager" or name in COMPILED
    ]


ONE_OR_TWO = slow_but([1], [1, 2])
"""Numbers of micro-batches, where every method is tried."""

EAGER_AND_GRAPH = [
    pytest.param({"run_eagerly": True}, id="eager"),
    pytest.param(frameworks.GRAPH, id="graph", marks=slow),
]
"""Arguments of `compile`."""

FAST_CASES = {
    "backend/test_private_names.py": {
        "test_a_keras_without_one_of_the_names_is_refused_in_a_sentence": 0,
    },
    "backend/tensorflow/test_custom_loop.py": {
        "test_a_loop_may_be_compiled_and_return_more_than_the_loss": 0,
    },
    "backend/tensorflow/test_shadows.py": {
        "test_a_model_may_be_compiled_with_xla_and_without_in_turn": 0,
    },
    "contract/test_overwritten.py": {
        "test_scales_are_those_of_a_plain_step": 4,
    },
    "contract/test_remat.py": {"test_weights_are_trained_as_without": 3},
    "engine/test_plain.py": {
        "test_a_model_without_trainable_weights_takes_plain_steps": 2,
    },
    "random_settings/test_random_settings.py": {
        "test_a_training_is_that_by_hand": 4,
    },
    "test_project.py": {
        "test_import_works_without_the_requirements_of_examples_and_plots": 0,
    },
    "backend/tensorflow/test_curvature.py": {
        "test_normalization_in_a_graph_of_its_own_has_its_second_derivative": 1,
    },
    "contract/test_small_rho.py": {
        "test_step_is_plain_for_every_reduction": 8,
        "test_step_is_plain_with_masks": 8,
    },
    "engine/test_law_of_parts.py": {
        "test_a_step_is_the_mean_over_its_parts": 12
    },
    "engine/test_steps.py": {"test_every_step_in_float64": 4},
    "experiments/test_experiments.py": {
        "test_a_killed_run_ends_as_one_that_was_not": 0,
        "test_a_sample_has_both_right_and_wrong_labels": 0,
        "test_fractions_of_right_and_wrong_labels_learned_are_recorded": 0,
        "test_bootstrap_trains_on_what_the_first_network_predicts": 0,
        "test_operations_are_those_of_all_passes": 1,
        "test_results_do_not_depend_on_the_number_of_workers": 0,
        "test_spectrum_is_measured_on_request_and_survives_a_kill": 0,
    },
    "experiments/test_files.py": {
        "test_a_damaged_row_of_a_complete_epoch_is_named": 1,
        "test_the_epoch_of_a_truncated_last_row_is_repeated": 1,
    },
    "experiments/test_memory.py": {"test_kept_pages_are_allocated_once": 0},
    "methods/test_gradients.py": {
        "test_weight_without_gradient_stays_and_changes_nothing": 8,
    },
    "methods/test_hostile_steps.py": {
        "test_the_step_is_plain_and_training_resumes": 8,
        "test_method_state_is_left_as_it_was": 12,
    },
    "methods/test_identities.py": {"test_method_is_sam": 2},
    "methods/test_state.py": {
        "test_weights_file_of_other_settings_leaves_fresh_method_state": 2,
    },
    "networks/test_networks.py": {
        "test_network_has_as_many_weights_as_the_paper_prints": 3,
        "test_network_is_trained_with_sharpness_and_saved": 0,
    },
    "sharpness/test_threads.py": {
        "test_each_has_its_own_second_derivatives": 0,
    },
    "test_custom_loop.py": {"test_a_loop_does_what_fit_does": 2},
    "test_from_model.py": {
        "test_files_of_the_model_load_where_keras_sam_is_not_installed": 0,
    },
    "test_saving.py": {
        "test_a_clone_has_every_setting_and_weights_of_its_own": 2,
        "test_a_copy_is_the_same_model": 2,
        "test_a_frozen_model_loads_and_predicts": 3,
        "test_a_loaded_model_resumes_as_if_never_saved": 2,
        "test_a_pickle_imports_its_modules": 0,
        "test_a_state_tree_contains_all_state_of_a_run": 1,
        "test_weights_of_sharp_and_plain_models_load_into_each_other": 2,
    },
    "test_views.py": {
        "test_compile_of_a_view_discards_the_functions_of_all": 1,
        "test_deleted_models_leave_nothing_behind": 1,
        "test_trained_models_leave_nothing_behind": 1,
    },
    "trainers/tensorflow/test_tracing.py": {
        "test_what_a_step_writes_is_made_before_its_only_trace": 4,
    },
    "trainers/test_single_batches.py": {
        "test_evaluate_after_fit_has_no_sharpness": 1,
        "test_rho_0_is_plain_fit_for_a_model_of_keras_applications": 0,
    },
    "trainers/test_zoo.py": {"test_a_step_is_two_passes_for_every_loss": 5},
}
"""How many cases of a test are fast, the first ones; all others are slow."""

SLOW_FILES = (
    "agreement/",
    "ecosystem/",
    "trainers/jax/test_processes.py",
    "trainers/jax/test_replicas.py",
    "trainers/jax/test_uncompiled.py",
    "trainers/tensorflow/test_programs.py",
    "trainers/tensorflow/test_replica_runs.py",
    "trainers/tensorflow/test_replicas.py",
    "trainers/tensorflow/test_workers.py",
    "trainers/torch/test_compile.py",
    "experiments/test_smoke.py",
    "keras_suite/",
    "test_examples.py",
    "test_notebooks.py",
)
