"""Starts the workers of a job on this machine and waits for them."""

import json
import socket
import subprocess
import sys
import tempfile

from tests.running import ROOT
from tests.running import TIMEOUT
from tests.running import environment


class Job:
    """One process for each worker, each with the `TF_CONFIG` of its place.

    As a context it ends with no process left.

    Args:
        arguments: What follows `python` in the command.
        num_workers: Integer.
    """

    def __init__(self, arguments, num_workers=2):
        cluster = {"worker": [f"localhost:{p}" for p in _ports(num_workers)]}
        self.outputs = [tempfile.TemporaryFile("w+") for _ in cluster["worker"]]
        self.processes = [
            subprocess.Popen(
                [sys.executable, *arguments],
                cwd=ROOT,
                env=environment(
                    TF_CONFIG=json.dumps({
                        "cluster": cluster,
                        "task": {"type": "worker", "index": index},
                    })
                ),
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for index, output in enumerate(self.outputs)
        ]

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        for process, output in zip(self.processes, self.outputs):
            process.kill()
            process.wait()
            output.close()

    def wait(self):
        """Return what each worker printed, once all have ended well."""
        for process in self.processes:
            process.wait(TIMEOUT)
        printed = [_text(output) for output in self.outputs]
        codes = [process.returncode for process in self.processes]
        assert codes == [0] * len(codes), "\n".join(t[-3000:] for t in printed)
        return printed

    def is_running(self):
        """Return whether no worker has ended."""
        return all(process.poll() is None for process in self.processes)


def _ports(count):
    """Return ports that are free, all different."""
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.bind(("localhost", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def _text(file):
    file.seek(0)
    return file.read()
