"""The paper's claims: the difference that each is about, over seeds, with the paper's."""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

from lgg.reporting.corruption_error import relative_mce
from lgg.reporting.measures import (
    AGREEMENT,
    CLEAN_ERROR,
    DROPOUT,
    ERROR,
    FGSM_NORMALIZED,
    GAIN,
    GAUSSIAN_NOISE,
    PGD,
    QUANTIZED_WEIGHTS,
    RELATIVE_MCE,
    Measure,
)
from lgg.reporting.statistics import Summary, paired_difference, seeds_to_decide
from publishing.published_run import Published, PublishedRun, Row
from publishing.text import NOT_YET, markdown, number, with_interval


class Claim(NamedTuple):
    """A claim in words, the paper's difference (its sign is the claim; infinite where the paper gives no more) and ours."""

    text: str
    paper: float
    here: Summary


class Students(NamedTuple):
    """A claim on two methods of Table 1."""

    text: str
    first: str
    second: str
    measure: Measure


class Compared(NamedTuple):
    """A claim on a row of a table and its baseline."""

    table: str
    text: str
    method: str
    measure: Measure


STUDENTS = (
    Students("GKD's students err less than RKD-D's: error", "gkd", "rkd_d", ERROR),
    Students("GKD's students err less than the baseline's: error", "gkd", "baseline", ERROR),
    Students("RKD-D's students err less than the baseline's: error", "rkd_d", "baseline", ERROR),
    Students(
        "GKD's students agree with their teacher on more images than RKD-D's: agreement", "gkd", "rkd_d", AGREEMENT
    ),
    Students("GKD errs less with edges between classes alone than with all: error", "gkd_inter", "gkd", ERROR),
)
COMPARED = (
    Compared(
        "table2",
        "Label variation makes embeddings a little worse on clean images: clean error",
        "label_variation",
        CLEAN_ERROR,
    ),
    Compared("table2", "… and better under corruptions: relative MCE", "label_variation", RELATIVE_MCE),
    Compared("table3", "The regularizer lowers the FGSM error: FGSM error", "regularizer", FGSM_NORMALIZED),
    Compared("table3", "Parseval lowers the FGSM error: FGSM error", "parseval", FGSM_NORMALIZED),
    Compared("table3", "The regularizer costs clean accuracy: clean error", "regularizer", CLEAN_ERROR),
    Compared("table3", "Parseval improves clean accuracy: clean error", "parseval", CLEAN_ERROR),
    Compared("table3", "The regularizer is better under corruptions: relative MCE", "regularizer", RELATIVE_MCE),
    Compared("table3", "Parseval is worse under corruptions: relative MCE", "parseval", RELATIVE_MCE),
    Compared(
        "robustness",
        "Published networks: the regularizer helps under dropout at test time: accuracy",
        "regularizer",
        DROPOUT,
    ),
    Compared("robustness", "… with weights cut to 5 bits: accuracy", "regularizer", QUANTIZED_WEIGHTS),
    Compared("robustness", "… under Gaussian noise: accuracy", "regularizer", GAUSSIAN_NOISE),
    Compared("robustness", "… under PGD: accuracy", "regularizer", PGD),
    Compared("robustness", "Parseval helps with weights cut to 5 bits: accuracy", "parseval", QUANTIZED_WEIGHTS),
)


def claims(published: Published) -> str:
    """Return each of the paper's claims, our difference, and whether the claim holds here."""
    rows = [
        (
            claim.text,
            number(claim.paper),
            with_interval(claim.here),
            str(claim.here.n),
            verdict(claim.here, claim.paper) + deciding(claim.here),
        )
        for claim in list_claims(published.main)
    ]
    header = ("the paper's claim, and the difference in question", "paper", "here [95 % interval]", "seeds", "holds?")
    return markdown(header, rows)


def claims_by_run(published: Published) -> str:
    """Return our difference for each claim in every published run, with its seeds and a short verdict."""
    found = {
        title: {claim.text: claim for claim in list_claims(run)}
        for title, run in published.titled.items()
        if run.exists
    }
    found = {title: claims for title, claims in found.items() if claims}
    texts = dict.fromkeys(text for claims in found.values() for text in claims)
    rows = [(text, *(_shortly(claims.get(text)) for claims in found.values())) for text in texts]
    return markdown(("the paper's claim, and the difference in question", *found), rows) if rows else NOT_YET


def _shortly(claim: Claim | None) -> str:
    if claim is None:
        return "–"
    short = verdict(claim.here, claim.paper).partition(",")[0].replace("one seed", "alone")
    return f"{short} ({with_interval(claim.here)}; {claim.here.n})"


def list_claims(run: PublishedRun) -> list[Claim]:
    """Return the claims on tables that are published."""
    return [*_on_students(run), *_on_baselines(run), *_regularizer_against_parseval(run)]


def verdict(found: Summary, paper: float) -> str:
    """Return whether our difference has the paper's sign, and whether chance over seeds may explain it."""
    if not math.isfinite(found.mean):
        return "undefined here"
    same = math.copysign(1.0, found.mean) == math.copysign(1.0, paper)
    if math.isnan(found.ci95_low):
        return f"one seed: the {'same' if same else 'other'} sign"
    if found.ci95_low <= 0.0 <= found.ci95_high:
        return f"open: the {'same' if same else 'other'} sign, within chance"
    return "yes" if same else "no: the contrary"


def deciding(found: Summary) -> str:
    """Return how many seeds would probably decide a claim that is open, if the difference and its spread are as found."""
    if not (found.ci95_low <= 0.0 <= found.ci95_high):
        return ""
    n = seeds_to_decide(found.mean, found.std)
    return f"; {n} seeds would decide it" if n else "; a thousand seeds would not decide it"


def _on_students(run: PublishedRun) -> Iterator[Claim]:
    if not run.has("table1"):
        return
    table = run.table("table1")
    for text, first, second, measure in STUDENTS:
        if not {first, second} <= table.keys():
            continue
        difference = _of_the_paper(table, first, second, measure) if measure is ERROR else math.inf
        # the paper's text gives the sign alone
        paper = -math.inf if math.isnan(difference) else difference
        yield Claim(text, paper, paired_difference(run.student(first, measure.name), run.student(second, measure.name)))
    if {"baseline", "rkd_d", "gkd"} <= table.keys():
        yield _doubling(run)


def _doubling(run: PublishedRun) -> Claim:
    """Return the claim that GKD gains twice what RKD-D gains, as a difference, whose interval is that of a mean."""
    baseline = run.student("baseline", ERROR.name)
    gkd, rkd = (less(baseline, run.student(method, ERROR.name)) for method in ("gkd", "rkd_d"))
    paper = {name: row[GAIN.paper_column] for name, row in run.table("table1").items()}
    text = "GKD gains twice what RKD-D gains: the gain less twice the other"
    doubled = {seed: 2 * gain for seed, gain in rkd.items()}
    return Claim(text, paper["gkd"] - 2 * paper["rkd_d"], paired_difference(gkd, doubled))


def _on_baselines(run: PublishedRun) -> Iterator[Claim]:
    for name, text, method, measure in COMPARED:
        if not run.has(name):
            continue
        rows = run.table(name)
        if method not in rows:
            continue
        row = rows[method]
        mean, std, low, high = (
            row[f"{measure.name}_difference_{part}"] for part in ("mean", "std", "ci95_low", "ci95_high")
        )
        here = Summary(
            int(row[f"{measure.name}_difference_seeds"]), mean, std, low, high, row[f"{measure.name}_p_value"]
        )
        yield Claim(text, _of_the_paper(rows, method, row["baseline"], measure), here)


def _regularizer_against_parseval(run: PublishedRun) -> Iterator[Claim]:
    if not run.has("table3"):
        return
    table = run.table("table3")
    if not {"regularizer", "parseval", "baseline"} <= table.keys():
        return
    values: dict[Measure, tuple[str, Callable[[str], dict[int, float]]]] = {
        FGSM_NORMALIZED: (
            "The regularizer beats Parseval: FGSM error",
            lambda method: run.attacked(method, FGSM_NORMALIZED),
        ),
        RELATIVE_MCE: (
            "… and under corruptions: relative MCE",
            lambda method: relative_mce(run.corrupted(method), run.corrupted("baseline")),
        ),
    }
    for measure, (text, of) in values.items():
        paper = _of_the_paper(table, "regularizer", "parseval", measure)
        yield Claim(text, paper, paired_difference(of("regularizer"), of("parseval")))


def _of_the_paper(table: dict[str, Row], first: str, second: str, measure: Measure) -> float:
    """Return the paper's figure of the first method less that of the second."""
    return float(table[first][measure.paper_column] - table[second][measure.paper_column])


def less(first: dict[int, float], second: dict[int, float]) -> dict[int, float]:
    """Return first − second for each seed."""
    return {seed: value - second[seed] for seed, value in first.items()}
