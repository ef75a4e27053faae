"""What `summary` says of a `SAMModel`, below what Keras says."""

import keras
from keras import layers

import keras_sam


class Averaged(keras.losses.Loss):
    """The mean of a registered function."""

    def __init__(self, function, **kwargs):
        super().__init__(**kwargs)
        self.call = function

    def get_config(self):
        function = keras.saving.serialize_keras_object(self.call)
        return {"function": function}


@keras.saving.register_keras_serializable("tests")
def error(y, y_pred):
    return y - y_pred


def lines(**settings):
    """Return the lines of the summary of a small network."""
    network = keras.Sequential([
        keras.Input((3,)),
        layers.Dense(4),
        layers.LayerNormalization(),
    ])
    model = keras_sam.SAMModel.from_model(network, **settings)
    printed = []
    model.summary(print_fn=lambda text, **_: printed.append(text))
    return "\n".join(printed).splitlines()


def test_method_radius_and_perturbed_weights_are_below_the_summary_of_keras():
    found = lines(method="stable_sam", rho=0.1)
    total = [i for i, line in enumerate(found) if "Total params: 24" in line]
    method = found.index(
        f" Sharpness-aware method: {keras_sam.methods.StableSAM()}"
    )
    assert total[0] < method
    assert found[method + 1 :] == [
        " Radius: 0.1",
        " Perturbed params: 24 of 24 trainable (perturb='all')",
    ]


def test_weights_that_are_left_out_and_parts_are_counted():
    found = lines(perturb="norm_only", num_microbatches=2, ascent_fraction=0.5)
    assert " Perturbed params: 8 of 24 trainable (perturb='norm_only')" in found
    assert found[-2:] == [" Micro-batches: 2", " Ascent fraction: 0.5"]


def test_a_loss_for_the_ascent_is_shown():
    assert lines(ascent_loss="mae")[-1] == " Ascent loss: 'mae'"
    nest = {"a": [error, None], "b": Averaged(error)}
    assert lines(ascent_loss=nest)[-1] == (
        " Ascent loss: {'a': [error, None], "
        "'b': Averaged(function=tests>error)}"
    )


def test_a_schedule_is_shown_with_its_arguments():
    schedules = keras_sam.schedules
    rho = schedules.LatePhase(100, schedules.Periodic(5, 0.1))
    shown = " Radius: LatePhase(start=100, rho=Periodic(period=5, rho=0.1))"
    assert shown in lines(rho=rho)


def test_a_radius_of_zero_is_said():
    assert any("none, the radius is 0" in line for line in lines(rho=0.0))


def test_a_model_that_is_not_built_has_no_number_yet():
    network = keras.Sequential([layers.Dense(1)])
    printed = []
    model = keras_sam.SAMModel.from_model(network)
    model.summary(print_fn=lambda text, **_: printed.append(text))
    assert "the model is not built" in printed[-1]


def test_the_summary_is_printed_by_default(capsys):
    model = keras_sam.SAMModel(*(2 * [keras.Input((1,))]))
    model.summary()
    assert "Sharpness-aware method: SAM(" in capsys.readouterr().out


def test_where_it_is_written_may_be_given_by_position():
    model = keras_sam.SAMModel(*(2 * [keras.Input((1,))]))
    printed = []

    def write(text, **_):
        printed.append(text)

    model.summary(60, None, write)
    assert "Radius: 0.05" in printed[-1]
