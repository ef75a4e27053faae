r"""A custom training loop: two networks, two optimizers, one perturbation.

    python examples/custom_loop.py

`sharpness_aware_gradients` is the engine of `SAMModel` for training that `fit`
does not cover. Here two small networks are trained together to embed the two
halves of a handwritten digit (scikit-learn) close to each other, and halves of
different digits far apart: a contrastive loss over the whole batch, with an
optimizer for each network. Both networks are perturbed together, in one
neighbourhood.

Afterwards, for each left half of 450 test digits, the right halves are ranked.
Expected: the correct half is first in about one case in five, and among the
first ten in about three of four; chance is 1 in 450. Takes about ten seconds on
two CPU cores.
"""

import argparse
import os

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from keras import ops
from rich.progress import track
from sklearn.datasets import load_digits

import keras_sam


def encoder() -> keras.Model:
    """Return a network from half an image to a vector of length one."""
    return keras.Sequential([
        keras.Input((32,)),
        layers.Dense(128, activation="relu"),
        layers.Dropout(0.1),
        layers.Dense(32),
        layers.UnitNormalization(),
    ])


def contrastive_loss(left: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    """Return the cross-entropy of retrieving the other half in the batch."""
    logits = ops.matmul(left, ops.transpose(right)) / 0.1
    losses = keras.losses.sparse_categorical_crossentropy(
        ops.arange(ops.shape(logits)[0]), logits, from_logits=True
    )
    return ops.mean(losses)


def main() -> None:
    """Train both networks and rank the other halves."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--rho", type=float, default=0.05)
    parser.add_argument("--smoke", action="store_true", help="one epoch")
    arguments = parser.parse_args()
    epochs = 1 if arguments.smoke else arguments.epochs

    keras.utils.set_random_seed(0)
    images = (load_digits().data / 16).astype("float32")
    images = np.random.default_rng(0).permutation(images)
    halves = images[:, :32], images[:, 32:]
    batches = (
        tf.data.Dataset
        .from_tensor_slices(tuple(h[450:] for h in halves))
        .shuffle(2000, seed=0)
        .batch(128, drop_remainder=True)
    )
    networks = encoder(), encoder()
    optimizers = [keras.optimizers.Adam(1e-3) for _ in networks]
    variables = [v for n in networks for v in n.trainable_variables]
    for optimizer, network in zip(optimizers, networks, strict=True):
        optimizer.build(network.trainable_variables)

    @tf.function
    def step(left: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
        def loss() -> tf.Tensor:
            return contrastive_loss(
                networks[0](left, training=True),
                networks[1](right, training=True),
            )

        result = keras_sam.sharpness_aware_gradients(
            loss, variables, rho=arguments.rho
        )
        gradients = iter(result.gradients)
        for optimizer, network in zip(optimizers, networks, strict=True):
            own = network.trainable_variables
            optimizer.apply([next(gradients) for _ in own], own)
        return result.loss, result.rise

    for _ in track(range(epochs), description="Training"):
        for left, right in batches:
            loss, rise = step(left, right)
    print(f"last batch: loss {float(loss):.3f}, sharpness {float(rise):.3f}")

    left, right = (n(h[:450]) for n, h in zip(networks, halves, strict=True))
    similarity = ops.convert_to_numpy(ops.matmul(left, ops.transpose(right)))
    rank = (similarity > np.diag(similarity)[:, None]).sum(axis=1)
    print(
        f"right half first {np.mean(rank == 0):.0%}, "
        f"among the first ten {np.mean(rank < 10):.0%}"
    )


if __name__ == "__main__":
    main()
