"""Kill a run of an experiment at 30 random times, and resume it.

    python -m tests.experiments.kills FOLDER

Prints the metrics of a run without a kill, those of the killed run, and the
number of kills. Each attempt is a child of this process, which has imported
everything and computed nothing, so that an attempt takes little more than its
training. If a run ends before the last kill, its metrics are compared, and
another run starts in another folder.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from keras_sam.experiments import EXPERIMENTS
from keras_sam.experiments import logs
from keras_sam.experiments import records
from keras_sam.experiments import run
from keras_sam.experiments import sources

NUM_KILLS = 30
MOST_EPOCHS = 6
LONGEST = 0.1  # Seconds, about as long as an epoch and its checkpoint take.
EXPERIMENT = (
    EXPERIMENTS["label-noise-40/sam"]
    .smoke()
    .with_settings([
        *("source=digits", "augmentation=small_crop", "watched=8"),
        *("network=mlp", "depth=1", "width=16", "batch_size=4", "epochs=40"),
    ])
)
MEASURED = (
    *("seed", "error", "top_5_error", "wrong_labels", "loss", "train_error"),
    *("sharpness", "right_labels_learned", "wrong_labels_learned"),
)


def attempt(folder, is_killed):
    """Run the experiment in a child; return whether it has ended by itself.

    A child is killed after a random number of its epochs, at most
    `MOST_EPOCHS`, and a random time.
    """
    events, reports = os.pipe()
    child = os.fork()
    if not child:
        report(reports)
        run(EXPERIMENT, folder, verbose=0)
        os._exit(0)
    os.close(reports)
    if is_killed:
        for _ in range(random.randint(1, 1 + MOST_EPOCHS)):
            os.read(events, 1)
        time.sleep(random.uniform(0, LONGEST))
        os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.close(events)
    assert status in (0, -signal.SIGKILL), status
    return status == 0


def report(pipe):
    """Write to a pipe whenever a run restores or starts a checkpoint."""

    def reporting(function):
        def wrapped(*arguments, **options):
            os.write(pipe, b"!")
            return function(*arguments, **options)

        return wrapped

    logs.restore = reporting(logs.restore)
    logs.Checkpoint.on_epoch_end = reporting(logs.Checkpoint.on_epoch_end)


def measured(folder):
    """Return the metrics of the only record of a folder, without times."""
    [record] = records.read(folder / "records.jsonl")
    return {name: record[name] for name in MEASURED}


def main():
    """Print three lines of JSON."""
    folder = Path(sys.argv[1])
    sources.load(EXPERIMENT)  # Imports what each child would import.
    assert attempt(folder / "whole", is_killed=False)
    whole = measured(folder / "whole")
    kills = rounds = 0
    while kills < NUM_KILLS:
        if attempt(folder / str(rounds), is_killed=True):
            assert measured(folder / str(rounds)) == whole
            rounds += 1
        else:
            kills += 1
    assert attempt(folder / str(rounds), is_killed=False)
    for line in (whole, measured(folder / str(rounds)), {"kills": kills}):
        print(json.dumps(line))


if __name__ == "__main__":
    main()
