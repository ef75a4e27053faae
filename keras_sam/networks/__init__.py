"""The networks of the papers that keras.applications lacks.

Each function returns an untrained functional `keras.Model` that gives logits.
`SAMModel.from_model` makes it one that trains with sharpness.
"""

from keras_sam.networks.pyramid_net import PyramidNet
from keras_sam.networks.resnet import CIFARResNet
from keras_sam.networks.shake_shake import ShakeShake
from keras_sam.networks.shaking import ShakeDrop
from keras_sam.networks.shaking import ShakeGate
from keras_sam.networks.wide_resnet import WideResNet

__all__ = [
    "CIFARResNet",
    "PyramidNet",
    "ShakeDrop",
    "ShakeGate",
    "ShakeShake",
    "WideResNet",
]
