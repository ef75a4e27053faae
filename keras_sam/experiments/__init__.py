"""The SAM paper's experiments: `python -m keras_sam.experiments`.

`list` prints the names of the experiments. The same runner takes others:

```python
experiment = Experiment(
    task="digits",
    variant="asam",
    sam={"method": "asam", "rho": 0.5},  # The arguments of `SAMModel`.
    source="digits",
    augmentation="none",
    network="mlp",
    epochs=40,
)
records = run(experiment, folder=Path("runs"))
```
"""

from keras_sam.experiments.config import Experiment
from keras_sam.experiments.paper import EXPERIMENTS
from keras_sam.experiments.run import run

__all__ = [
    "EXPERIMENTS",
    "Experiment",
    "run",
]
