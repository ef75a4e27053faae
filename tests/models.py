"""One small model of each kind that Keras has.

A builder takes the keyword arguments of `SAMModel` and returns a `SAMModel`;
for `None` it returns the same `keras.Model`, with the same initial weights if
the seed is the same.
"""

import keras
from keras import layers

import keras_sam
from tests import frameworks


def functional(inputs, outputs, settings):
    if settings is None:
        return keras.Model(inputs, outputs)
    return keras_sam.SAMModel(inputs, outputs, **settings)


def adopt(model, settings):
    if settings is None:
        return model
    return keras_sam.SAMModel.from_model(model, **settings)


def probabilities(name=None):
    return layers.Dense(3, activation="softmax", name=name)


def size():
    return layers.Dense(1, name="size")


def dense(settings):
    inputs = keras.Input((6,))
    hidden = layers.Dense(8, activation="relu")(inputs)
    return functional(inputs, probabilities()(hidden), settings)


def dict_inputs(settings):
    inputs = {
        "first": keras.Input((6,), name="first"),
        "second": keras.Input((4,), name="second"),
    }
    first = layers.Dense(8, activation="tanh")(inputs["first"])
    second = layers.Dense(8, activation="tanh")(inputs["second"])
    outputs = {
        "kind": probabilities("kind")(layers.add([first, second])),
        "size": size()(second),
    }
    return functional(inputs, outputs, settings)


def tuple_inputs(settings):
    inputs = (keras.Input((6,)), keras.Input((4,)))
    joined = layers.Concatenate()(list(inputs))
    outputs = (probabilities("kind")(joined), size()(joined))
    return functional(inputs, outputs, settings)


def list_outputs(settings):
    inputs = keras.Input((6,))
    hidden = layers.Dense(8, activation="gelu")(inputs)
    outputs = [probabilities("kind")(hidden), size()(hidden)]
    return functional(inputs, outputs, settings)


def sequential(settings):
    model = keras.Sequential([
        keras.Input((6,)),
        layers.Dense(8, activation="elu"),
        probabilities(),
    ])
    return adopt(model, settings)


def unbuilt_sequential(settings):
    model = keras.Sequential([
        layers.Dense(8, activation="relu"),
        layers.Dropout(0.3, **frameworks.SEED),
    ])
    model.add(probabilities())
    return adopt(model, settings)


class Body:
    """The constructor and `call` of a subclassed model."""

    def __init__(self, units=8, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.hidden = layers.Dense(units, activation="relu")
        self.drop = layers.Dropout(0.3, **frameworks.SEED)
        self.head = probabilities()

    def build(self, input_shape):
        self.hidden.build(input_shape)
        self.head.build((None, self.units))
        self.built = True

    def call(self, x, training=False):
        return self.head(self.drop(self.hidden(x), training=training))


@keras.saving.register_keras_serializable("tests")
class PlainNet(Body, keras.Model):
    def get_config(self):
        return {**super().get_config(), "units": self.units}


@keras.saving.register_keras_serializable("tests")
class SharpNet(Body, keras_sam.SAMModel):
    def get_config(self):
        return {**super().get_config(), "units": self.units}


class FunctionalBody:
    """A subclass whose constructor calls the functional one."""

    def __init__(self, units=8, **kwargs):
        inputs = keras.Input((6,))
        hidden = layers.Dense(units, activation="relu")(inputs)
        super().__init__(inputs, probabilities()(hidden), **kwargs)


@keras.saving.register_keras_serializable("tests")
class PlainFunctionalNet(FunctionalBody, keras.Model):
    pass


@keras.saving.register_keras_serializable("tests")
class SharpFunctionalNet(FunctionalBody, keras_sam.SAMModel):
    pass


def adopted_subclass(settings):
    return adopt(PlainNet(), settings)


def subclass(settings):
    return PlainNet() if settings is None else SharpNet(**settings)


def functional_subclass(settings):
    if settings is None:
        return PlainFunctionalNet()
    return SharpFunctionalNet(**settings)


def without_training_argument(settings):
    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.head = probabilities()

        def call(self, x):
            return self.head(x)

    return adopt(Net(), settings)


def batch_norm_dropout(settings):
    inputs = keras.Input((6,))
    hidden = layers.Dense(8)(inputs)
    hidden = layers.BatchNormalization(momentum=0.9)(hidden)
    hidden = layers.Dropout(0.3, **frameworks.SEED)(layers.ReLU()(hidden))
    return functional(inputs, probabilities()(hidden), settings)


def noise(settings):
    inputs = keras.Input((6,))
    hidden = layers.GaussianNoise(0.1, seed=3)(inputs)
    hidden = layers.AlphaDropout(0.2)(layers.Dense(8, "selu")(hidden))
    return functional(inputs, probabilities()(hidden), settings)


def shared_layer(settings):
    inputs = keras.Input((6,))
    shared = layers.Dense(6, activation="tanh")
    return functional(inputs, probabilities()(shared(shared(inputs))), settings)


def nested_model(settings):
    inner_inputs = keras.Input((6,))
    inner = keras.Model(
        inner_inputs,
        layers.BatchNormalization()(layers.Dense(6)(inner_inputs)),
        name="inner",
    )
    inputs = keras.Input((6,))
    outer = keras.Sequential([inner, layers.ReLU()], name="outer")
    return functional(inputs, probabilities()(outer(inner(inputs))), settings)


def frozen_layers(settings):
    inputs = keras.Input((6,))
    hidden = layers.Dense(8, activation="relu", trainable=False)(inputs)
    hidden = layers.BatchNormalization(trainable=False)(hidden)
    return functional(inputs, probabilities()(hidden), settings)


class Regularized(layers.Layer):
    """Adds the mean square of its inputs, and of its weight, to the loss."""

    def build(self, input_shape):
        self.scale = self.add_weight(
            shape=(input_shape[-1],), initializer="ones", name="scale"
        )

    def call(self, x):
        x = x * self.scale
        self.add_loss(0.1 * keras.ops.mean(keras.ops.square(x)))
        return x


def regularized(settings):
    inputs = keras.Input((6,))
    hidden = layers.Dense(
        8, kernel_regularizer="l2", activity_regularizer="l1"
    )(inputs)
    hidden = Regularized()(hidden)
    return functional(inputs, probabilities()(hidden), settings)


def unused_weights(settings):
    class Net(Body, keras.Model):
        def call(self, x, training=False):
            self.hidden(x)
            return self.head(x)

        def build(self, input_shape):
            self.hidden.build(input_shape)
            self.head.build(input_shape)
            self.built = True

    return adopt(Net(), settings)


def spectral_normalization(settings):
    inputs = keras.Input((6,))
    hidden = layers.SpectralNormalization(layers.Dense(8))(inputs)
    return functional(inputs, probabilities()(hidden), settings)


def lstm(settings):
    inputs = keras.Input((5, 6))
    hidden = layers.LSTM(4, return_sequences=True)(inputs)
    hidden = layers.Bidirectional(layers.LSTM(4))(hidden)
    return functional(inputs, probabilities()(hidden), settings)


def gru_dropout(settings):
    inputs = keras.Input((5, 6))
    hidden = layers.GRU(4, dropout=0.2, recurrent_dropout=0.2)(inputs)
    return functional(inputs, probabilities()(hidden), settings)


def attention(settings):
    inputs = keras.Input((5, 6))
    attend = layers.MultiHeadAttention(num_heads=2, key_dim=3, dropout=0.2)
    hidden = layers.LayerNormalization()(inputs + attend(inputs, inputs))
    hidden = layers.GlobalAveragePooling1D()(hidden)
    return functional(inputs, probabilities()(hidden), settings)


def masked_embedding(settings):
    inputs = keras.Input((5,), dtype="int32")
    hidden = layers.Embedding(9, 4, mask_zero=True)(inputs)
    hidden = layers.LSTM(4, return_sequences=True)(hidden)
    return functional(inputs, probabilities()(hidden), settings)


def conv_batch_norm(settings):
    inputs = keras.Input((8, 8, 3))
    hidden = layers.RandomFlip("horizontal")(inputs)
    hidden = layers.Conv2D(4, 3, use_bias=False)(hidden)
    hidden = layers.Activation("silu")(layers.BatchNormalization()(hidden))
    hidden = layers.DepthwiseConv2D(2)(layers.AveragePooling2D(2)(hidden))
    hidden = layers.GroupNormalization(2)(hidden)
    hidden = layers.GlobalAveragePooling2D()(hidden)
    return functional(inputs, probabilities()(hidden), settings)


def mobile_net(settings):
    model = keras.applications.MobileNetV3Small(
        input_shape=(32, 32, 3),
        alpha=0.35,
        minimalistic=True,
        weights=None,
        classes=3,
        include_preprocessing=False,
    )
    return adopt(model, settings)
