"""The files of all seeds of all methods, as one table."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd


def read_seeds(paths: Iterable[Path]) -> pd.DataFrame:
    """Return the concatenated rows of CSV files ``…/{method}/seed{seed}/NAME.csv``, with columns `method` and `seed`.

    Both come from the path; the order is that of `paths`.
    """
    return pd.concat(
        [
            pd.read_csv(path).assign(method=path.parts[-3], seed=int(path.parts[-2].removeprefix("seed")))
            for path in paths
        ],
        ignore_index=True,
    )


def read_methods(paths: Iterable[Path]) -> dict[str, pd.DataFrame]:
    """Return the rows of `read_seeds` by method; empty if there are no files."""
    paths = list(paths)
    if not paths:
        return {}
    return {str(name): rows for name, rows in read_seeds(paths).groupby("method", sort=False)}
