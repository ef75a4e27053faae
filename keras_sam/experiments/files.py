"""Files of lines that a kill or a power cut may have damaged."""

import warnings
from pathlib import Path


class DamagedFileError(ValueError):
    """A file has content that the runner does not write."""


def whole_lines(file: Path) -> list[str]:
    """Return the lines of a file, none if there is no file.

    Bytes after the last line break are a line that a kill has truncated, or
    the NUL bytes of a power cut. They are ignored with a warning.
    """
    if not file.exists():
        return []
    content = file.read_bytes()
    size = whole_size(content)
    if size < len(content):
        warnings.warn(
            f"The last line of {file} was cut off and is ignored.",
            stacklevel=2,
        )
    return content[:size].decode(errors="replace").split("\n")[:-1]


def whole_size(content: bytes) -> int:
    """Return the number of bytes in whole lines."""
    return content.rfind(b"\n") + 1


def replace(file: Path, text: str) -> None:
    """Write a file so that a kill at any time leaves the old or the new one."""
    # A rename within a file system is atomic, a write is not.
    written = file.with_name(f"{file.name}.part")
    written.write_text(text)
    written.replace(file)
