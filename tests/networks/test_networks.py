"""Networks have the sizes and shapes that their papers print."""

import math

import keras
import numpy as np
import pytest

import keras_sam
from keras_sam import networks

# Millions of weights, as the papers print them: tables 6 (He et al.), 1 and 9
# (Zagoruyko and Komodakis), 1 (Gastaldi), 4 (Han et al., who print 26.0; with
# widths rounded to the nearest, as in their code, it is 26.2).
SIZES = [
    (networks.CIFARResNet, {"depth": 20}, "0.27"),
    (networks.CIFARResNet, {"depth": 32}, "0.46"),
    (networks.CIFARResNet, {"depth": 56}, "0.85"),
    (networks.WideResNet, {"depth": 16, "width": 4}, "2.7"),
    (networks.WideResNet, {"depth": 40, "width": 2}, "2.2"),
    (networks.WideResNet, {}, "36.5"),
    (networks.ShakeShake, {"width": 32}, "2.9"),
    (networks.ShakeShake, {}, "26.2"),
    (networks.PyramidNet, {}, "26.2"),
]
SMALL = {
    "CIFARResNet": {"depth": 8, "width": 4},
    "WideResNet": {"depth": 10, "width": 1, "dropout": 0.3},
    "ShakeShake": {"depth": 8, "width": 4},
    "PyramidNet": {"depth": 11, "widening": 9, "survival": 0.5},
}


def small(name):
    return getattr(networks, name)(
        num_classes=3, input_shape=(8, 8, 3), **SMALL[name]
    )


@pytest.mark.parametrize(("make", "arguments", "millions"), SIZES)
def test_network_has_as_many_weights_as_the_paper_prints(
    make, arguments, millions
):
    model = make(**arguments)
    number = sum(math.prod(v.shape) for v in model.trainable_variables) / 1e6
    digits = len(millions.split(".")[1])
    assert f"{number:.{digits}f}" == millions
    assert model.output_shape == (None, 10)


@pytest.mark.parametrize("name", SMALL)
def test_positions_are_halved_twice_and_channels_grow(name):
    model = small(name)
    shapes = [layer.output.shape for layer in model.layers]
    sizes = [shape[1] for shape in shapes if len(shape) == 4]
    assert sizes[0] == 8
    assert min(sizes) == 2
    assert model.output_shape == (None, 3)


@pytest.mark.parametrize("name", SMALL)
def test_network_is_trained_with_sharpness_and_saved(name, tmp_path):
    model = keras_sam.SAMModel.from_model(small(name))
    model.compile(
        "sgd",
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    generator = np.random.default_rng(0)
    x = generator.normal(size=(6, 8, 8, 3)).astype("float32")
    logs = model.fit(x, np.array([0, 1, 2, 0, 1, 2]), verbose=0).history
    # The loss rises because both passes have the same random branches: with
    # other ones in the second pass, it could be lower.
    assert logs["sharpness"][0] > 0
    model.save(tmp_path / "network.keras")
    again = keras.models.load_model(tmp_path / "network.keras")
    np.testing.assert_array_equal(
        model.predict(x, verbose=0), again.predict(x, verbose=0)
    )


def test_a_projected_and_halved_resnet_has_these_weights_and_positions():
    model = networks.CIFARResNet(8, width=32, stem_strides=2, shortcut="B")
    # Convolutions of 3 x 3 and 1 x 1, four numbers for each normalized channel,
    # and the dense layer.
    kernels = 9 * (3 * 32 + 2 * 32**2 + 32 * 64 + 64**2 + 64 * 128 + 128**2)
    shortcuts = 32 * 64 + 64 * 128
    normalization = 4 * (32 * 3 + 64 * 2 + 128 * 2)
    expected = kernels + shortcuts + normalization + 129 * 10
    assert model.count_params() == expected == 309_226
    shapes = [layer.output.shape for layer in model.layers]
    sizes = {shape[1] for shape in shapes[1:] if len(shape) == 4}
    assert sizes == {16, 8, 4}


def test_an_unknown_shortcut_is_refused():
    with pytest.raises(ValueError, match=r"`shortcut` must be .*shortcut='C'"):
        networks.CIFARResNet(8, shortcut="C")


@pytest.mark.parametrize(
    ("make", "depth"),
    [
        (networks.CIFARResNet, 21),
        (networks.WideResNet, 4),
        (networks.ShakeShake, 25),
        (networks.PyramidNet, 111),
    ],
)
def test_depth_without_a_network_is_refused(make, depth):
    with pytest.raises(
        ValueError, match=f"`depth` of a {make.__name__}.*{depth}"
    ):
        make(depth=depth)


def test_odd_width_of_a_shake_shake_network_is_refused():
    with pytest.raises(ValueError, match=r"`width` must be even.*width=3"):
        networks.ShakeShake(width=3)
