"""The networks of `step_time.py`, in the layers of Keras 3 or of Keras 2."""


def mlp(keras):
    """784-1024-1024-10 on batches of 128."""
    inputs = keras.Input((784,))
    x = keras.layers.Dense(1024, activation="relu")(inputs)
    x = keras.layers.Dense(1024, activation="relu")(x)
    return inputs, keras.layers.Dense(10)(x), 128


def cnn(keras):
    """Six convolutions with batch normalization, 32 x 32, batches of 64."""
    inputs = x = keras.Input((32, 32, 3))
    for filters in (16, 32, 64):
        for strides in (1, 2):
            x = keras.layers.Conv2D(
                filters, 3, strides, padding="same", use_bias=False
            )(x)
            x = keras.layers.BatchNormalization()(x)
            x = keras.layers.ReLU()(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return inputs, keras.layers.Dense(10)(x), 64


def transformer(keras):
    """Two pre-norm blocks of width 128, 64 tokens, dropout, batches of 32."""
    inputs = keras.Input((64, 32))
    x = keras.layers.Dense(128)(inputs)
    for _ in range(2):
        y = keras.layers.LayerNormalization()(x)
        y = keras.layers.MultiHeadAttention(4, 32, dropout=0.1)(y, y)
        x = x + y
        y = keras.layers.LayerNormalization()(x)
        y = keras.layers.Dense(512, activation="gelu")(y)
        y = keras.layers.Dropout(0.1)(keras.layers.Dense(128)(y))
        x = x + y
    x = keras.layers.GlobalAveragePooling1D()(x)
    return inputs, keras.layers.Dense(10)(x), 32


NETWORKS = {"mlp": mlp, "cnn": cnn, "transformer": transformer}
