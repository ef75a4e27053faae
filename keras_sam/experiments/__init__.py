"""The SAM paper's experiments: `python -m keras_sam.experiments`.

The names of the experiments are those that `list` prints.
"""

from keras_sam.experiments.config import Experiment
from keras_sam.experiments.paper import EXPERIMENTS
from keras_sam.experiments.run import run
