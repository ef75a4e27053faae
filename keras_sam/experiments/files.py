"""Files of lines that a kill or a power cut may have damaged."""

import warnings
from pathlib import Path


class DamagedFileError(ValueError):
    """A file holds what the runner cannot have written."""


def whole_lines(file: Path) -> list[str]:
    """Return the lines of a file, none if there is no file.

    What is after the last line break was cut off when a run was killed, or are
    the NUL bytes that a power cut leaves. It is left out with a warning.
    """
    if not file.exists():
        return []
    content = file.read_bytes()
    size = whole_size(content)
    if size < len(content):
        warnings.warn(
            f"The last line of {file} was cut off and is left out.",
            stacklevel=2,
        )
    return content[:size].decode(errors="replace").split("\n")[:-1]


def whole_size(content: bytes) -> int:
    """Return how many bytes are before what was cut off."""
    return content.rfind(b"\n") + 1


def replace(file: Path, text: str) -> None:
    """Write a file so that a kill at any time leaves the old or the new one."""
    written = file.with_name(f"{file.name}.part")
    written.write_text(text)
    written.replace(file)
