"""Runs Keras' own tests with sharpness-aware steps, and compares.

```sh
python -m tests.keras_suite                     # all that is listed in `files`
python -m tests.keras_suite trainers models     # only these
python -m tests.keras_suite --mode class models # only so
```

It ends with an error if a test fails that passes with Keras as it is, and that
is not listed in `refusals`. `KERAS_BACKEND` says which backend.
"""

import argparse
import sys

from tests.keras_suite import comparison
from tests.keras_suite import files


def _main():
    parser = argparse.ArgumentParser(prog="python -m tests.keras_suite")
    parser.add_argument("groups", nargs="*", help=", ".join(files.GROUPS))
    parser.add_argument("--mode", action="append", choices=comparison.MODES)
    parser.add_argument("-n", default="2", help="processes; defaults to 2")
    arguments = parser.parse_args()
    new = []
    for group in arguments.groups or files.GROUPS:
        for mode in arguments.mode or comparison.MODES:
            result = comparison.compare(group, mode, "-n", arguments.n)
            print(f"{group:24} {mode:8} {result}", flush=True)
            new += result.new
    sys.exit("\n".join(["These fail:", *new]) if new else 0)


if __name__ == "__main__":
    _main()
