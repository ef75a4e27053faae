"""The tables and ratios that all benchmarks print."""

import numpy as np


def print_table(header, rows):
    """Print a Markdown table, each row as soon as it is measured."""
    print("\n| " + " | ".join(header) + " |")
    print("|" + " --- |" * len(header))
    for row in rows:
        print("| " + " | ".join(row) + " |", flush=True)


def quartiles(ratios):
    """Return the median of the ratios of all rounds, with its quartiles."""
    low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"
