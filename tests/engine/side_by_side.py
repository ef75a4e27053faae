"""Trains with each method on so many replicas or groups of devices.

Prints each step. Run by `test_law_of_parts.py` in a process for each number:
TensorFlow knows one in a process, and devices are made when it starts.
"""

import json
import os
import sys

if __name__ == "__main__":
    os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=3"

from tests import frameworks
from tests import small_network
from tests.methods.table import METHODS
from tests.methods.table import MOMENTUM

NUM_EXAMPLES = 18
BATCH_SIZE = 6  # For 1, 2 and 3 parts of equal size.


def main():
    scope = frameworks.side_by_side(int(sys.argv[1]))
    results = {}
    for name in METHODS:
        with scope():
            model = small_network.of_method(name, frameworks.GRAPH, MOMENTUM)
            recorder = small_network.fit(
                model, small_network.EPOCHS, NUM_EXAMPLES, BATCH_SIZE
            )
        results[name] = {
            "weights": [w.tolist() for w in recorder.weights],
            "logs": [
                {key: float(value) for key, value in logs.items()}
                for logs in recorder.logs
            ],
        }
    print(json.dumps(results))


if __name__ == "__main__":
    main()
