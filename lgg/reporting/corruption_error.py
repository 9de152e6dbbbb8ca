"""Mean corruption error, relative to a baseline or plain (Hendrycks and Dietterich 2019, Section 4.3; Tables 2 and 3).

Errors are tables with one row per network and set of images: `seed`, `corruption`, `severity`, and `error` in percent. Each
seed has one row with corruption "none" and severity 0, the error on the same images without corruption.
"""

import math

import pandas as pd

COLUMNS = ["seed", "corruption", "severity", "error"]
CLEAN = ("none", 0)
# in percent: far above the rounding of sums of errors, far below the error of a single image
ROUNDING = 1e-9


def relative_mce(errors: pd.DataFrame, baseline: pd.DataFrame) -> dict[int, float]:
    """Return the relative MCE of each seed of `errors`, in percent of the baseline's.

    It is 100 · mean over corruptions c of Σ_s (E_s,c − E_clean) / Σ_s (E⁰_s,c − E⁰_clean) over severities s, with the
    baseline's errors E⁰ averaged over its seeds. The denominators are the same for all seeds of `errors`, so the value is
    linear in E: the mean of the returned values equals the measure of errors averaged over seeds, which is the published
    definition. The mean for the baseline itself is exactly 100.

    All values are NaN if the baseline's error does not rise under some corruption (see `undefined_corruptions`).

    Raises ValueError if a table lacks a column, has duplicate rows, or lacks a clean error or a set of images for some
    seed, or if the two tables differ in corruptions or severities.
    """
    ours, reference = _alike(errors, baseline)
    return _ratio(_rises(ours), _rises(reference))


def plain_mce(errors: pd.DataFrame, baseline: pd.DataFrame) -> dict[int, float]:
    """Return the MCE of each seed of `errors`, in percent of the baseline's, without subtracting the clean error.

    It is 100 · mean over corruptions c of Σ_s E_s,c / Σ_s E⁰_s,c, with the baseline's errors averaged over its seeds; for
    means over seeds the same holds as for `relative_mce`. All values are NaN if the baseline makes no error under some
    corruption, which is then one of its `undefined_corruptions`. Raises ValueError as `relative_mce` does.
    """
    ours, reference = _alike(errors, baseline)
    return _ratio(_sums(ours), _sums(reference))


def mean_corruption_error(errors: pd.DataFrame) -> dict[int, float]:
    """Return the error of each seed in percent, mean over severities and then over corruptions, without the clean error.

    Raises ValueError as `relative_mce` does.
    """
    corrupted = _by_seed(errors, "errors").drop(columns=[CLEAN])
    return _as_dict(corrupted.T.groupby(level="corruption").mean().mean())


def undefined_corruptions(baseline: pd.DataFrame) -> list[str]:
    """Return the corruptions under which the baseline's error, mean over seeds, does not rise, so relative MCE is undefined.

    Raises ValueError as `relative_mce` does.
    """
    rises = _rises(_by_seed(baseline, "baseline")).mean(axis=1)
    return [str(corruption) for corruption in rises.index[rises <= ROUNDING]]


def faint_corruptions(baseline: pd.DataFrame, images: int) -> list[str]:
    """Return the corruptions under which the baseline's error rises by less than one image of a set.

    The rise is the mean over severities and seeds; `images` is the number of images in a set. Relative MCE divides by it,
    so its ratio under such a corruption is due to chance. Raises ValueError as `relative_mce` does.
    """
    wide = _by_seed(baseline, "baseline")
    severities = wide.drop(columns=[CLEAN]).T.groupby(level="corruption").size()
    rises = _rises(wide).mean(axis=1) / severities
    return [str(corruption) for corruption in rises.index[(rises > ROUNDING) & (rises < 100.0 / images - ROUNDING)]]


def _alike(errors: pd.DataFrame, baseline: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return both tables by seed; ValueError if one has a corruption or severity that the other lacks."""
    ours, reference = _by_seed(errors, "errors"), _by_seed(baseline, "baseline")
    for one, other, where in ((ours, reference, "the baseline"), (reference, ours, "the errors")):
        absent = [column for column in one.columns if column not in other.columns]
        if absent:
            raise ValueError(f"corruption {absent[0][0]}, severity {absent[0][1]} is missing from {where}")
    return ours, reference


def _by_seed(errors: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return the errors with one row per seed and one column per (corruption, severity); ValueError if any is missing."""
    absent = [column for column in COLUMNS if column not in errors]
    if absent:
        raise ValueError(f"{name}: missing column {', '.join(absent)}")
    keys = COLUMNS[:3]
    repeated = errors[errors.duplicated(keys)]
    if len(repeated):
        raise ValueError(f"{name}: duplicate row for {_described(repeated.iloc[0])}")
    clean = (errors["corruption"] == CLEAN[0]) & (errors["severity"] == CLEAN[1])
    half_clean = errors[((errors["corruption"] == CLEAN[0]) | (errors["severity"] == CLEAN[1])) & ~clean]
    if len(half_clean):
        raise ValueError(
            f'{name}: {_described(half_clean.iloc[0])} is neither clean (corruption "none", severity 0) nor corrupted'
        )
    if clean.all():
        raise ValueError(f"{name}: there are no errors on corrupted images")
    without = sorted(set(errors["seed"]) - set(errors["seed"][clean]))
    if without:
        raise ValueError(f'{name}: seed {without[0]} has no clean error (corruption "none", severity 0)')
    wide = errors.pivot(index="seed", columns=["corruption", "severity"], values="error").sort_index(axis=1)
    for column in wide.columns:
        gaps = wide.index[wide[column].isna()]
        if len(gaps):
            raise ValueError(
                f"{name}: seed {gaps[0]}, corruption {column[0]}, severity {column[1]} is missing or not a number"
            )
    return wide


def _described(row: "pd.Series[float]") -> str:
    return f"seed {row['seed']}, corruption {row['corruption']}, severity {row['severity']}"


def _sums(wide: pd.DataFrame) -> pd.DataFrame:
    """Return the sums of errors over severities, one row per corruption and one column per seed."""
    return wide.drop(columns=[CLEAN]).T.groupby(level="corruption").sum()


def _rises(wide: pd.DataFrame) -> pd.DataFrame:
    """Return the sums over severities of the error's rise above the clean error, in the format of `_sums`."""
    return _sums(wide.sub(wide[CLEAN], axis=0))


def _ratio(sums: pd.DataFrame, baseline: pd.DataFrame) -> dict[int, float]:
    """Return 100 · mean over corruptions of `sums` ÷ the baseline's mean over seeds, for each seed; NaN if undefined."""
    divisors = baseline.mean(axis=1)
    if (divisors <= ROUNDING).any():
        return dict.fromkeys(map(int, sums.columns), math.nan)
    return _as_dict(100.0 * sums.div(divisors, axis=0).mean())


def _as_dict(values: "pd.Series[float]") -> dict[int, float]:
    return dict(zip(map(int, values.index), map(float, values), strict=True))
