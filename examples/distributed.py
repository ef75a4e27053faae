r"""Train on one device, several devices, several machines, or a TPU.

    python examples/distributed.py
    python examples/distributed.py --strategy cpus --data digits
    python examples/distributed.py --strategy gpus
    python examples/distributed.py --strategy tpu
    TF_CONFIG=... python examples/distributed.py --strategy workers

Trains a small convolutional network on CIFAR-10 from tensorflow-datasets, or
from a folder of strips (`--images`, see `keras_sam.data.from_strips`), or on
the digits of scikit-learn, which need no download. Each replica has its share
of the batch and perturbs by its own gradient; the gradients at the perturbed
weights are averaged. More replicas therefore mean smaller m, which is better
according to the paper. Only the strategy differs between machines.

- `one`: the first device.
- `cpus`: two logical devices on one CPU. It is not faster than one device, but
  shows distributed training on any machine.
- `gpus`: all GPUs of this machine.
- `workers`: one process for each worker, each with its `TF_CONFIG`; see
  `multi_worker.py` for training that resumes after a kill.
- `tpu`: all cores of a TPU. Batches have one size, as TPUs require.
- `auto`, the default: `workers` with `TF_CONFIG`, else `tpu` if the environment
  names one, else `gpus` if there are several, else `one`.

Prints the number of replicas and the clean test accuracy: on the digits about
98 %, in half a minute on two CPU cores; an epoch of CIFAR-10 takes one to three
minutes there. `tpu`, and `gpus` with several GPUs, were never run. `--smoke`
trains on a few digits.
"""

import argparse
import os

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

import keras_sam

RHO = 0.05
STRATEGIES = ("auto", "one", "cpus", "gpus", "workers", "tpu")


def main():
    """Train and print the accuracy."""
    options = parse_options()
    keras.utils.set_random_seed(0)
    name = options.strategy if options.strategy != "auto" else default()
    strategy = make_strategy(name)  # Before anything else of TensorFlow.
    train, test, num_classes = load_data(options)
    with strategy.scope():
        model = build_model(train[0].shape[1:], num_classes)
    model.fit(
        batches(train, options.batch_size, shuffle=True),
        steps_per_epoch=len(train[1]) // options.batch_size,
        epochs=options.epochs,
        verbose=2,
    )
    _, accuracy = model.evaluate(batches(test, options.batch_size), verbose=0)
    print(f"strategy {name}, replicas {strategy.num_replicas_in_sync}")
    print(f"clean test accuracy {100 * accuracy:.1f} %")


def default():
    """Return the name of the strategy for this machine."""
    if "TF_CONFIG" in os.environ:
        return "workers"
    if any(name in os.environ for name in ("TPU_NAME", "COLAB_TPU_ADDR")):
        return "tpu"
    several = len(tf.config.list_physical_devices("GPU")) > 1
    return "gpus" if several else "one"


def make_strategy(name):
    """Return a strategy of TensorFlow."""
    if name == "workers":
        return tf.distribute.MultiWorkerMirroredStrategy()
    if name == "tpu":
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver()
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    if name == "gpus":
        return tf.distribute.MirroredStrategy()
    if name == "cpus":
        tf.config.set_logical_device_configuration(
            tf.config.list_physical_devices("CPU")[0],
            [tf.config.LogicalDeviceConfiguration()] * 2,
        )
        return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    return tf.distribute.get_strategy()


def load_data(options):
    """Return standardized training and test images, and the class count."""
    if options.data == "digits":
        data = keras_sam.data.digits()
    elif options.images:
        data = keras_sam.data.from_strips(options.images)
    else:
        data = keras_sam.data.from_tfds("cifar10")
    if options.smoke:
        data = data.subset(128, 64)
    statistics = keras_sam.data.channel_statistics(data.train[0])
    train, test = (
        (keras_sam.data.standardized(x, statistics), y.astype(np.int32))
        for x, y in (data.train, data.test)
    )
    return train, test, data.num_classes


def batches(data, batch_size, shuffle=False):
    """Return a dataset of batches of one size, without the last smaller one."""
    dataset = tf.data.Dataset.from_tensor_slices(data)
    if shuffle:
        dataset = dataset.shuffle(len(data[1]), seed=0).repeat()
    return dataset.batch(batch_size, drop_remainder=True)


def build_model(shape, num_classes):
    """Return a compiled convolutional network."""
    inputs = x = keras.Input(shape)
    for filters in (32, 64):
        x = keras.layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        x = keras.layers.BatchNormalization()(x)
        x = keras.layers.MaxPooling2D()(keras.layers.ReLU()(x))
    x = keras.layers.GlobalAveragePooling2D()(x)
    outputs = keras.layers.Dense(num_classes)(x)
    model = keras_sam.SAMModel(inputs, outputs, rho=RHO)
    model.compile(
        keras.optimizers.SGD(0.1, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def parse_options():
    """Return the options on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--strategy", choices=STRATEGIES, default="auto")
    parser.add_argument(
        "--data", choices=("cifar10", "digits"), default="cifar10"
    )
    parser.add_argument("--images", help="folder of CIFAR-10 strips")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--smoke", action="store_true", help="a short run")
    options = parser.parse_args()
    if options.smoke:
        options.data, options.epochs, options.batch_size = "digits", 1, 32
    return options


if __name__ == "__main__":
    main()
