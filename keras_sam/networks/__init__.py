"""Networks of the papers that are not in `keras.applications`.

Each function returns an untrained functional `keras.Model` from images to
logits, to be trained as it is or by `SAMModel.from_model`.
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
