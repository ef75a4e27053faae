"""The experiments of the SAM paper, with the test errors that it prints.

[Foret et al., 2021](https://arxiv.org/abs/2010.01412). Where it is silent the
settings are those of the authors' code; what neither says (the epochs on
SVHN and Fashion-MNIST, the depth of PyramidNet, the optimizer of the label
noise experiments, the radii of fine-tuning) is a choice made here: 200 epochs,
depth 272, the optimizer of CIFAR-10, a radius of 0.05.
"""

from typing import Any

from keras_sam.experiments.config import Experiment

# Network, epochs, learning rate and weight decay: the paper's tables 6 and 7
# with the first README of the authors' code.
_RECIPES: dict[str, dict[str, Any]] = {
    "wrn-28-10-200": {
        "network": "wide_resnet",
        "epochs": 200,
        "learning_rate": 0.1,
        "weight_decay": 5e-4,
    },
    "wrn-28-10-1800": {
        "network": "wide_resnet",
        "epochs": 1800,
        "learning_rate": 0.05,
        "weight_decay": 1e-3,
    },
    "shake-shake": {
        "network": "shake_shake",
        "epochs": 1800,
        "learning_rate": 0.02,
        "weight_decay": 1e-3,
    },
    "pyramid-net": {
        "network": "pyramid_net",
        "epochs": 1800,
        "learning_rate": 0.05,
        "weight_decay": 5e-4,
    },
    "shake-drop": {
        "network": "shake_drop",
        "epochs": 1800,
        "learning_rate": 0.02,
        "weight_decay": 5e-4,
    },
}

# Table 1: error without and with SAM for basic, cutout and AutoAugment; rho.
_CIFAR = """
cifar10  wrn-28-10-200  3.5±0.1  2.7±0.1  2.6±0.1 2.3±0.1  2.3±0.1 2.1±<0.1 .05
cifar10  wrn-28-10-1800 3.5±0.1  2.4±0.1  2.7±0.1 2.1±0.1  2.2±<0.1 1.6±0.1 .05
cifar10  shake-shake    2.7±0.1  2.3±<0.1 2.3±0.1 2.0±<0.1 1.9±0.1 1.6±<0.1 .02
cifar10  pyramid-net    4.0±0.1  2.7±0.1  2.5±0.1 1.9±0.1  1.9±0.1  1.6±0.1 .05
cifar10  shake-drop     2.5±0.1  2.1±0.1  1.9±0.1 1.6±<0.1 1.6±<0.1 1.4±<0.1 .05
cifar100 wrn-28-10-200  18.8±0.2 16.5±0.2 16.9±0.1 14.9±0.2 15.8±0.2 13.6±0.2 .1
cifar100 wrn-28-10-1800 19.1±.1 16.3±.2 17.4±.1 14.0±.1 16.1±.2 12.8±.2 .1
cifar100 shake-shake    17.0±.1 15.1±.1 15.7±.2 14.2±.2 14.1±.2 12.8±.1 .05
cifar100 pyramid-net    19.7±.3 14.6±.4 16.4±.1 12.6±.2 14.6±.1 11.6±.1 .2
cifar100 shake-drop     14.5±.1 13.3±.1 11.8±.2 11.3±.1 10.6±.1 10.3±.1 .05
"""

# Table 5: error without and with SAM, rho.
_DIGITS_AND_CLOTHES = """
svhn_cropped  wrn-28-10   basic  1.58±0.03 1.42±0.02 0.01
svhn_cropped  wrn-28-10   svhn   1.14±0.04 0.99±0.01 0.01
svhn_cropped  shake-shake basic  1.58±0.05 1.44±0.02 0.01
svhn_cropped  shake-shake svhn   1.03±0.02 1.07±0.02 0.01
fashion_mnist wrn-28-10   basic  4.57±0.07 3.98±0.05 0.05
fashion_mnist wrn-28-10   cutout 3.86±0.14 3.61±0.06 0.05
fashion_mnist shake-shake basic  4.37±0.06 3.97±0.09 0.02
fashion_mnist shake-shake cutout 3.76±0.07 3.59±0.01 0.02
"""

# Table 2: top-1 (top-5) error without and with SAM.
_IMAGENET = """
ResNet50  100 22.9(6.62) 22.5(6.28)
ResNet50  200 22.3(6.37) 21.4(5.82)
ResNet50  400 22.3(6.40) 20.9(5.51)
ResNet101 100 21.2(5.66) 20.2(5.12)
ResNet101 200 20.9(5.66) 19.4(4.76)
ResNet101 400 22.3(6.41) 19.0(4.65)
ResNet152 100 20.4(5.39) 19.2(4.69)
ResNet152 200 20.3(5.39) 18.5(4.37)
ResNet152 400 20.9(5.84) 18.4(4.35)
"""

# Table 3: error without and with SAM of EfficientNet-B7, then of L2, for which
# `weights` has to be a file; the name in tensorflow-datasets, or `folder`.
_FINE_TUNING = """
aircraft  folder            8.15 6.80  5.80  4.82
flowers   oxford_flowers102 1.16 0.63  0.40  0.35
pets      oxford_iiit_pet   4.24 3.97  3.08  2.90
cars      cars196           5.94 5.18  4.93  4.04
cifar10   cifar10           0.95 0.88  0.34  0.30
cifar100  cifar100          7.68 7.44  4.07  3.92
birdsnap  folder           14.30 13.64 10.31 9.93
food101   food101           7.17 7.02  3.97  3.82
imagenet  imagenet2012     15.3  15.14 11.8  11.39
"""
_NUM_TRAIN = {
    "aircraft": 6667,
    "flowers": 2040,
    "pets": 3680,
    "cars": 8144,
    "cifar10": 50_000,
    "cifar100": 50_000,
    "birdsnap": 47_386,
    "food101": 75_750,
    "imagenet": 1_281_167,
}
_STEPS = 5000

# Table 4: error of SGD, mixup, bootstrap with mixup, SAM, bootstrap with SAM,
# and rho.
_LABEL_NOISE = """
20 15.2  7.0  6.7  4.9  4.6 0.1
40 31.2 10.0  8.0  6.6  5.8 0.1
60 51.8 16.2 12.4  9.5  8.2 0.1
80 73.8 29.8 28.0 22.1 20.1 0.05
"""


def _rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.strip().splitlines()]


def _pair(
    row: str, plain: str, sam: str, rho: float, **settings: Any
) -> list[Experiment]:
    """Return the plain optimizer, with its epochs and with twice, and SAM.

    The paper prints the better of the two without SAM.
    """
    shared = {"row": row, **settings}
    return [
        Experiment(variant="sgd", paper_error=plain, **shared),
        Experiment(variant="sgd-2x", paper_error=plain, budget=2, **shared),
        Experiment(variant="sam", paper_error=sam, rho=rho, **shared),
    ]


def _cifar() -> list[Experiment]:
    found = []
    for dataset, recipe, *errors, rho in _rows(_CIFAR):
        settings = _RECIPES[recipe]
        if (dataset, recipe) == ("cifar100", "shake-drop"):
            settings = {**settings, "learning_rate": 0.05}
        for k, augmentation in enumerate(("basic", "cutout", "auto_augment")):
            plain, sam = errors[2 * k : 2 * k + 2]
            found += _pair(
                f"{dataset}-{augmentation}-{recipe}",
                plain,
                sam,
                float(rho),
                table="1",
                dataset=dataset,
                augmentation=augmentation,
                **settings,
            )
    return found


def _digits_and_clothes() -> list[Experiment]:
    found = []
    for dataset, name, augmentation, plain, sam, rho in _rows(
        _DIGITS_AND_CLOTHES
    ):
        is_svhn = dataset == "svhn_cropped"
        found += _pair(
            f"{dataset}-{augmentation}-{name}",
            plain,
            sam,
            float(rho),
            table="5",
            dataset=dataset,
            augmentation=augmentation,
            train_split="train+extra" if is_svhn else "train",
            network=name.replace("-28-10", "").replace("-", "_")
            if name == "shake-shake"
            else "wide_resnet",
            learning_rate=0.01 if is_svhn else 0.1,
            weight_decay=5e-4,
        )
    return found


def _imagenet() -> list[Experiment]:
    found = []
    for network, epochs, plain, sam in _rows(_IMAGENET):
        found += _pair(
            f"imagenet-{network.lower()}-{epochs}",
            plain,
            sam,
            0.05,
            table="2",
            source="tfds_files",
            dataset="imagenet2012",
            test_split="validation",
            image_size=224,
            standardize="imagenet",
            augmentation="imagenet",
            network=network,
            epochs=int(epochs),
            batch_size=4096,
            num_microbatches=1,
            learning_rate=1.0,
            nesterov=False,
            weight_decay=1e-4,
            clipnorm=0.0,
            label_smoothing=0.1,
            workers=16,
        )
    return found


def _fine_tuning() -> list[Experiment]:
    found = []
    for task, dataset, *errors in _rows(_FINE_TUNING):
        source = "folder" if dataset == "folder" else "tfds_files"
        for name, weights, size, batch_size, rate, (plain, sam) in (
            ("b7", "imagenet", 600, 1024, 0.016, errors[:2]),
            ("l2", "efficientnet_l2.keras", 475, 512, 0.008, errors[2:]),
        ):
            steps = _STEPS * 1024 / batch_size
            epochs = round(steps * batch_size / _NUM_TRAIN[task])
            found += _pair(
                f"finetune-{task}-{name}",
                plain,
                sam,
                0.05,
                table="3",
                source=source,
                dataset=dataset,
                test_split="validation" if task == "imagenet" else "test",
                image_size=size,
                standardize="none",
                augmentation="auto_augment" if "cifar" in task else "none",
                network="EfficientNetB7",
                weights=weights,
                epochs=10 if task == "imagenet" else max(1, epochs),
                batch_size=batch_size,
                learning_rate=0.1 if task == "imagenet" else rate,
                weight_decay=1e-5,
                clipnorm=0.0,
                workers=16,
            )
    return found


def _label_noise() -> list[Experiment]:
    found = []
    for percent, plain, mixup, boot_mixup, sam, boot_sam, rho in [
        ["0", "", "", "", "", "", "0.1"],
        *_rows(_LABEL_NOISE),
    ]:
        shared: dict[str, Any] = {
            "row": f"label-noise-{percent}",
            "table": "4",
            "label_noise": int(percent) / 100,
            "network": "resnet",
        }
        radius = float(rho)
        found += _pair(shared.pop("row"), plain, sam, radius, **shared)
        shared["row"] = f"label-noise-{percent}"
        found += [
            Experiment(variant=variant, paper_error=error, **shared, **own)
            for variant, error, own in (
                ("mixup", mixup, {"mixup": 1.0}),
                ("bootstrap", "", {"bootstrap": True}),
                (
                    "bootstrap-mixup",
                    boot_mixup,
                    {"bootstrap": True, "mixup": 1.0},
                ),
                ("bootstrap-sam", boot_sam, {"bootstrap": True, "rho": radius}),
            )
        ]
    return found


def _m_sharpness() -> list[Experiment]:
    """Return the paper's figure 4 on one device: parts of a batch, radii."""
    return [
        Experiment(
            row="m-sharpness",
            variant=f"parts-{parts}-rho-{rho}",
            table="figure 4",
            network="resnet",
            depth=20,
            rho=rho,
            num_microbatches=parts,
        )
        for parts in (1, 2, 4, 8)
        for rho in (0.02, 0.05, 0.1, 0.15, 0.3)
    ] + [
        Experiment(
            row="m-sharpness",
            variant="sgd",
            table="figure 4",
            network="resnet",
            depth=20,
        )
    ]


EXPERIMENTS: dict[str, Experiment] = {
    experiment.name: experiment
    for make in (
        _cifar,
        _imagenet,
        _fine_tuning,
        _label_noise,
        _digits_and_clothes,
        _m_sharpness,
    )
    for experiment in make()
}
"""By name, in the order of the paper."""
