"""Tables, drawn by rich."""

import io
from collections.abc import Iterable
from collections.abc import Sequence


def render(
    header: Sequence[str], rows: Iterable[Sequence[str]], width: int = 10_000
) -> str:
    """Return a table in Markdown; long cells are wrapped.

    Raises:
        ImportError: If rich is not installed.
    """
    try:
        from rich import box
        from rich.console import Console
        from rich.table import Table
    except ImportError as error:
        raise ImportError(
            "Tables are drawn by rich: `pip install keras_sam[examples]`."
        ) from error
    table = Table(*header, box=box.MARKDOWN)
    for row in rows:
        table.add_row(*row)
    output = io.StringIO()
    console = Console(file=output, width=width, markup=False, emoji=False)
    console.print(table)
    return output.getvalue().strip()
