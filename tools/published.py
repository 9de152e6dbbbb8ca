"""Keeps the published results: what of a finished run is committed, and the numbers that the pages take from it.

    python tools/published.py results/cifar10-cpu              copies what is published of it to results/published/cifar10-cpu
    python tools/published.py results/full-width --without-models    the same of a run that no seed is added to
    python tools/published.py results/cifar10-cpu --take-up    the other way: Snakemake takes its seeds for finished then
    python tools/published.py                                  writes the pages' numbers anew from results/published

A run may lack sections of its configuration (`--config embedding=null robustness=null`): the pages say so, and leave them out.
A page's numbers stand between `<!-- published: NAME -->` and `<!-- end -->`; each NAME is a function here. Run it from the
repository's root.
"""

import argparse
import json
import math
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pandas as pd
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from lgg.data.storage import read_header  # noqa: E402
from lgg.pipeline.config import Config, load  # noqa: E402
from lgg.reporting.corruption_error import relative_mce  # noqa: E402
from lgg.reporting.overview import seeds_in_words  # noqa: E402
from lgg.reporting.seeds import read_seeds  # noqa: E402
from lgg.reporting.statistics import Summary, paired_difference  # noqa: E402

PUBLISHED = ROOT / "results/published"
RUN = PUBLISHED / "cifar10-cpu"
LINK = "../results/published/cifar10-cpu"  # as the pages in docs/ see it
PAGES = (ROOT / "README.md", ROOT / "docs/results.md", ROOT / "results/published/README.md")
BLOCK = re.compile(r"(<!-- published: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

# all that is small, and nothing that a further seed needs is missing
KEPT = (
    "provenance.json",
    "tables/*",
    "figures/*",
    "geometry/**/*.json",
    "**/history.csv",
    "**/metrics.json",
    "**/label_variation.csv",
    "**/evaluation.csv",
    "**/corruptions.csv",
    "distillation/teacher/predictions.safetensors",
    "timing/*",
    "logs/**/*.log",
    "benchmarks/**/*.tsv",
)
SECTIONS = ("geometry", "distillation", "embedding", "robustness", "timing")
MOST_MODELS = 10_000_000  # bytes


# --- publishing -------------------------------------------------------------------------------------------------------


def models_of(run: Path, settings: Config) -> list[Path]:
    """Return the weights that are published: the teacher's, the first seed's students', and what attacks are crafted on.

    So are those of networks that nothing has evaluated yet: without them a further run would train them again.
    """
    models = [
        path for path in run.glob("*/*/seed*/model.safetensors") if not path.with_name("evaluation.csv").is_file()
    ]
    if distillation := settings.distillation:
        first = f"seed{settings.seeds_of('distillation')[0]}"
        networks = [f"{name}/{first}" for name in distillation.active_methods]
        networks += ["teacher"] if distillation.teacher else []
        models += [run / f"distillation/{name}/model.safetensors" for name in networks]
    if robustness := settings.robustness:
        source = f"{robustness.baseline}/seed{robustness.tests.transfer_seed}"
        models += [run / f"robustness/{source}/model.safetensors"]
    if missing := [path for path in models if not path.is_file()]:
        sys.exit(f"{missing[0]} is not there: publish a run of which everything was made")
    if (size := sum(path.stat().st_size for path in set(models))) > MOST_MODELS:
        sys.exit(f"{run}: the models to publish have {size:,} bytes together, more than {MOST_MODELS:,}")
    return models


def publish(run: Path, with_models: bool = True) -> None:
    """Put what is kept of `run` into the place of what was published of it before."""
    provenance = run / "provenance.json"
    if not provenance.is_file():
        sys.exit(f"{provenance} is not there: publish a run that Snakemake has ended well")
    configuration = json.loads(provenance.read_text("utf-8"))["configuration"]
    target = PUBLISHED / run.name
    with tempfile.TemporaryDirectory(dir=PUBLISHED.parent) as folder:
        new = Path(folder, run.name)
        models = models_of(run, load(configuration)) if with_models else []
        for path in {*models, *(path for pattern in KEPT for path in run.glob(pattern))}:
            copy = new / path.relative_to(run)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        (new / "configuration.yaml").write_text(
            yaml.safe_dump(configuration, sort_keys=False, allow_unicode=True), "utf-8"
        )
        if target.exists():
            target.rename(Path(folder, "old"))
        target.parent.mkdir(exist_ok=True)
        new.rename(target)
    print(f"{target}: {sum(path.stat().st_size for path in target.rglob('*') if path.is_file()):,} bytes")


def take_up(run: Path) -> None:
    """Put what is published of `run` into its place, all of one time, so that Snakemake takes its seeds for finished."""
    source = PUBLISHED / run.name
    if not (source / "provenance.json").is_file():
        sys.exit(f"{source}: nothing is published of this run")
    if found := [name for name in SECTIONS if (run / name).exists()]:
        sys.exit(f"{run}: {', '.join(found)} is there already: go on with it, or move it away")
    for split, told in json.loads((source / "provenance.json").read_text("utf-8"))["data"].items():
        images = run / f"data/{split}.safetensors"
        if not images.is_file():
            sys.exit(
                f"{images} is not there: run the rule prepare_data first, whose images would be newer than the results"
            )
        if read_header(images)["sha256"] != told["sha256"]:
            sys.exit(f"{images}: not the images of the published results, whose SHA-256 is {told['sha256']}")
    for path in source.rglob("*"):
        # tables and figures are made again, also of more seeds; Figure A1's embeddings of all images are not published
        if path.is_file() and (path.parent.name not in ("tables", "figures") or path.stem == "figureA1"):
            copy = run / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
    now = time.time()
    for path in run.rglob("*"):
        os.utime(path, (now, now))
    print(f"{run}: taken up from {source}; of more seeds just the new ones are trained")


# --- reading ----------------------------------------------------------------------------------------------------------


def is_there(name: str) -> bool:
    return (RUN / f"tables/{name}.csv").is_file()


def read_table(name: str, run: str = "") -> pd.DataFrame:
    """Return a table of the main run, or of another one that is published."""
    return pd.read_csv((PUBLISHED / run if run else RUN) / f"tables/{name}.csv").set_index("name")


def provenance() -> dict:
    return json.loads((RUN / "provenance.json").read_text("utf-8"))


def by_seed(method: str, column: str) -> dict[int, float]:
    """Return a value of each seed's student of `method`."""
    found = read_seeds(RUN.glob(f"distillation/{method}/seed*/evaluation.csv"))
    return found.set_index("seed")[column].to_dict()


def attacked(method: str, test: str) -> dict[int, float]:
    """Return the error of each seed's network of Table 3 in a test, of FGSM at the table's ratio."""
    found = read_seeds(RUN.glob(f"robustness/{method}/seed*/evaluation.csv"))
    found = found[found["test"] == test]
    if test in ("fgsm_pixels", "fgsm_normalized"):
        found = found[found["level"] == provenance()["configuration"]["robustness"]["tests"]["fgsm_snr"]]
    return found.set_index("seed")["value"].to_dict()


def corrupted(method: str) -> pd.DataFrame:
    """Return the errors of the networks of Table 3 under corruptions, all seeds of `method`."""
    return read_seeds(RUN.glob(f"robustness/{method}/seed*/corruptions.csv"))


def less(first: dict[int, float], second: dict[int, float]) -> dict[int, float]:
    """Return first − second for each seed."""
    return {seed: value - second[seed] for seed, value in first.items()}


def number(value: float, digits: int = 2) -> str:
    return f"{value:.{digits}f}".replace("-", "−") if math.isfinite(value) else "–"


def signed(value: float, digits: int = 2) -> str:
    return "–" if math.isnan(value) else f"{value:+.{digits}f}".replace("-", "−")


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


# --- blocks -----------------------------------------------------------------------------------------------------------


def summary() -> str:
    """What a reader looks for first: the paper's three tables, ours and the paper's figures side by side."""
    rows = []
    for name, column, title, methods in SUMMARY:
        if not is_there(name):
            continue
        found = read_table(name)
        for method in methods:
            row = found.loc[method]
            n = int(row["seeds"])
            rows.append((title, row["label"], mean_of(row, column), number(row[f"paper_{column}"]), str(n)))
    return markdown(("what", "method", "here", "paper", "seeds"), rows) + not_run_yet()


def not_run_yet() -> str:
    """Say which sections of the configuration were not run yet."""
    names = [name for name in SECTIONS if provenance()["configuration"][name] is None]
    return f"\nNot run yet: the sections {', '.join(names)}.\n" if names else ""


SUMMARY = (
    ("table1", "error", "Table 1: error of the student (%)", ("baseline", "rkd_d", "gkd")),
    ("table2", "clean_error", "Table 2: clean error (%)", ("cross_entropy", "label_variation")),
    ("table2", "relative_mce", "Table 2: relative MCE", ("cross_entropy", "label_variation")),
    ("table3", "clean_error", "Table 3: clean error (%)", ("baseline", "parseval", "regularizer", "both")),
    ("table3", "fgsm_normalized", "Table 3: FGSM error at 33 dB (%)", ("baseline", "parseval", "regularizer", "both")),
    ("table3", "relative_mce", "Table 3: relative MCE", ("baseline", "parseval", "regularizer", "both")),
)


def claims() -> str:
    """Each of the paper's claims: the difference that it is about, over seeds, and what that says."""
    rows = [
        (text, number(paper), f"{signed(found.mean)}{interval(found)}", str(found.n), verdict(found, paper))
        for text, paper, found in list_claims()
    ]
    header = ("the paper's claim, and the difference in question", "paper", "here [95 % interval]", "seeds", "holds?")
    return markdown(header, rows)


def list_claims() -> list[tuple[str, float, Summary]]:
    """Return each claim with the paper's difference and ours; the paper's has the sign that the claim says."""
    found = []
    if is_there("table1"):
        errors = read_table("table1")["paper_error"]
        for text, first, second, column in STUDENTS:
            # where the paper's text gives the sign alone
            difference = errors[first] - errors[second] if column == "error" else math.inf
            difference = -math.inf if math.isnan(difference) else difference
            found.append((text, difference, paired_difference(by_seed(first, column), by_seed(second, column))))
        found.append(doubling())
    for name, text, method, column in COMPARED:
        if not is_there(name):
            continue
        rows = read_table(name)
        row = rows.loc[method]
        values = (row[f"{column}_difference_{part}"] for part in ("seeds", "mean", "std", "ci95_low", "ci95_high"))
        n, *values = values
        difference = row[f"paper_{column}"] - rows.loc[row["baseline"], f"paper_{column}"]
        found.append((text, difference, Summary(int(n), *values, row[f"{column}_p_value"])))
    if is_there("table3"):
        errors = read_table("table3")
        for text, column, one, other in REGULARISER_AGAINST_PARSEVAL:
            difference = errors.loc["regularizer", f"paper_{column}"] - errors.loc["parseval", f"paper_{column}"]
            found.append((text, difference, paired_difference(one(), other())))
    return found


def doubling() -> tuple[str, float, Summary]:
    """Return the claim that GKD gains twice what RKD-D gains, as a difference, whose interval is that of a mean."""
    gains = [less(by_seed("baseline", "error"), by_seed(method, "error")) for method in ("gkd", "rkd_d")]
    times = sum(gains[0].values()) / sum(gains[1].values())
    paper = read_table("table1")["paper_gain"]
    text = f"GKD gains twice what RKD-D gains (here {times:.2f} times): the gain less twice the other"
    doubled = {seed: 2 * gain for seed, gain in gains[1].items()}
    return text, paper["gkd"] - 2 * paper["rkd_d"], paired_difference(gains[0], doubled)


REGULARISER_AGAINST_PARSEVAL = (
    (
        "The regulariser beats Parseval: FGSM error",
        "fgsm_normalized",
        lambda: attacked("regularizer", "fgsm_normalized"),
        lambda: attacked("parseval", "fgsm_normalized"),
    ),
    (
        "… and under corruptions: relative MCE",
        "relative_mce",
        lambda: relative_mce(corrupted("regularizer"), corrupted("baseline")),
        lambda: relative_mce(corrupted("parseval"), corrupted("baseline")),
    ),
)
STUDENTS = (
    ("GKD's students err less than RKD-D's: error", "gkd", "rkd_d", "error"),
    ("GKD's students err less than the baseline's: error", "gkd", "baseline", "error"),
    ("RKD-D's students err less than the baseline's: error", "rkd_d", "baseline", "error"),
    ("GKD's students agree with their teacher on more images than RKD-D's: agreement", "gkd", "rkd_d", "agreement"),
    ("GKD errs less with edges between classes alone than with all: error", "gkd_inter", "gkd", "error"),
)
COMPARED = (
    (
        "table2",
        "Label variation makes embeddings a little worse on clean images: clean error",
        "label_variation",
        "clean_error",
    ),
    ("table2", "… and better under corruptions: relative MCE", "label_variation", "relative_mce"),
    ("table3", "The regulariser lowers the FGSM error: FGSM error", "regularizer", "fgsm_normalized"),
    ("table3", "Parseval lowers the FGSM error: FGSM error", "parseval", "fgsm_normalized"),
    ("table3", "The regulariser costs clean accuracy: clean error", "regularizer", "clean_error"),
    ("table3", "Parseval improves clean accuracy: clean error", "parseval", "clean_error"),
    ("table3", "The regulariser is better under corruptions: relative MCE", "regularizer", "relative_mce"),
    ("table3", "Parseval is worse under corruptions: relative MCE", "parseval", "relative_mce"),
    (
        "robustness",
        "Published networks: the regulariser helps under dropout at test time: accuracy",
        "regularizer",
        "dropout",
    ),
    ("robustness", "… with weights cut to 5 bits: accuracy", "regularizer", "quantized_weights"),
    ("robustness", "… under Gaussian noise: accuracy", "regularizer", "gaussian_noise"),
    ("robustness", "… under PGD: accuracy", "regularizer", "pgd"),
    ("robustness", "Parseval helps with weights cut to 5 bits: accuracy", "parseval", "quantized_weights"),
)


def interval(found: Summary) -> str:
    return "" if math.isnan(found.ci95_low) else f" [{signed(found.ci95_low)}, {signed(found.ci95_high)}]"


def verdict(found: Summary, paper: float) -> str:
    """Say whether our difference has the paper's sign, and whether chance over seeds may be behind it."""
    if not math.isfinite(found.mean):
        return "undefined here"
    same = math.copysign(1.0, found.mean) == math.copysign(1.0, paper)
    if math.isnan(found.ci95_low):
        return f"one seed: the {'same' if same else 'other'} sign"
    if found.ci95_low <= 0.0 <= found.ci95_high:
        return f"open: the {'same' if same else 'other'} sign, within chance"
    return "yes" if same else "no: the contrary"


def depth() -> str:
    """Label variation at the depths of Figure 2, over its draws."""
    if not (RUN / "geometry/geometry.json").is_file():
        return NOT_YET
    found = json.loads((RUN / "geometry/geometry.json").read_text("utf-8"))["label_variation"]
    frame = pd.DataFrame(found)
    rows = [(name, number(frame[name].mean(), 3), number(frame[name].std(), 3)) for name in frame]
    first, last = frame.columns[0], frame.columns[-1]
    fell = int((frame[last] < frame[first]).sum())
    return (
        markdown(("depth", "label variation, share of all weights: mean", "standard deviation over draws"), rows)
        + f"\nSmaller at {last} than at {first} in {fell} of {len(frame)} draws of images. {first_draw()}\n"
    )


def first_draw() -> str:
    """Say of the draw that Figure 2 shows what it is at each depth, and its place among all draws."""
    told = json.loads((RUN / "geometry/geometry.json").read_text("utf-8"))
    shown = [f"{name} {number(depth['label_variation'])}" for name, depth in told["shown"]["depths"].items()]
    last = pd.Series(list(told["label_variation"].values())[-1])
    place = int((last > last[0]).sum()) + 1
    ordinal = "the largest" if place == 1 else f"number {place} from the top"
    return f"The first draw, which Figure 2 shows, has {', '.join(shown)}; at the end that is {ordinal} of all draws."


def agreement() -> str:
    """Say how Hinton's students compare with GKD's, which is no claim of the paper."""
    parts = [
        f"{column} {signed(found.mean)}{interval(found)}"
        for column in ("agreement", "error")
        if (found := paired_difference(by_seed("hinton", column), by_seed("gkd", column)))
    ]
    return f"Hinton's students less GKD's, in points: {', '.join(parts)}.\n"


def by_corruption() -> str:
    """The regulariser's error less the baseline's under each corruption, and how often embeddings err more."""
    if not is_there("table3"):
        return NOT_YET
    means = {
        name: corrupted(name).groupby(["corruption", "seed"], sort=False)["error"].mean()
        for name in ("regularizer", "baseline")
    }
    clean = {name: found["none"].to_dict() for name, found in means.items()}
    rows = []
    for name in dict.fromkeys(means["baseline"].index.get_level_values(0).drop("none")):
        error = {method: found[name].to_dict() for method, found in means.items()}
        rise = {method: less(error[method], clean[method]) for method in error}
        compared = [paired_difference(one["regularizer"], one["baseline"]) for one in (error, rise)]
        rows.append((name.replace("_", " "), *(f"{signed(found.mean)}{interval(found)}" for found in compared)))
    header = ("corruption", "error (points)", "its rise over the clean error (points)")
    return markdown(header, rows) + embeddings_under_corruption()


def embeddings_under_corruption() -> str:
    """Say under how many corruptions label variation's embeddings err more often than cross-entropy's."""
    if not is_there("table2"):
        return ""
    found = read_seeds(RUN.glob("embedding/*/seed*/corruptions.csv")).query("severity > 0")
    pairs = (("label_variation", "nearest_neighbours"), ("cross_entropy", "own"))
    ours, theirs = (
        found.query("method == @method and classifier == @classifier").groupby("corruption")["error"].mean()
        for method, classifier in pairs
    )
    more = int((ours > theirs).sum())
    return (
        f"\nEmbeddings by label variation err more often than cross-entropy's under {more} of the {len(ours)} corruptions, "
        "means over severities and seeds.\n"
    )


def masking() -> str:
    """Attacks with a network's own gradient beside the same attacks crafted on another network."""
    if not is_there("table3"):
        return NOT_YET
    rows = []
    for name, row in read_table("table3").iterrows():
        for title, own, transferred in ATTACKS:
            found = attacked(str(name), own), attacked(str(name), transferred)
            means = (number(pd.Series(errors).mean()) for errors in found)
            difference = paired_difference(*found)
            rows.append((row["label"], title, *means, f"{signed(difference.mean)}{interval(difference)}"))
    header = ("method", "attack", "error by its own gradient (%)", "by another network's (%)", "difference")
    return markdown(header, rows)


ATTACKS = (("FGSM on pixels, 33 dB", "fgsm_pixels", "transfer_fgsm"), ("PGD, 20 steps", "pgd", "transfer_pgd"))


def plane() -> str:
    """Say where the loss of the embeddings in the plane began and ended, beside that of outputs without a class."""
    history = RUN / "embedding/figureA1/label_variation/history.csv"
    if not history.is_file():
        return NOT_YET
    loss = pd.read_csv(history)["embedding"]
    scale = provenance()["configuration"]["embedding"]["methods"]["label_variation"]["rbf_scale"]
    # points on a circle at an angle t are 2 sin(t/2) apart
    angles = [math.pi * (step + 0.5) / 10_000 for step in range(10_000)]
    even = sum(math.exp(-2 * scale * math.sin(angle / 2)) for angle in angles) / len(angles)
    return (
        f"Loss in the plane: {number(loss.iloc[0], 3)} in the first epoch, {number(loss.iloc[-1], 3)} in the last; outputs "
        f"spread evenly over the circle, whatever their class, have {number(even, 3)}.\n"
    )


def mean_of(row: pd.Series, column: str) -> str:
    """Return a mean over seeds, with its standard deviation where there are several."""
    std = row[f"{column}_std"]
    return number(row[f"{column}_mean"]) + (f" ± {number(std)}" if math.isfinite(std) else "")


def width() -> str:
    """Table 3 with networks of a quarter of the paper's width, of its width, and the paper's own."""
    if not (is_there("table3") and (PUBLISHED / WIDE / "tables/table3.csv").is_file()):
        return NOT_YET
    narrow, wide = read_table("table3"), read_table("table3", WIDE)
    images = [f"{table['relative_mce_images'].iloc[0]:,}" for table in (narrow, wide)]
    columns = {
        "clean_error": "clean error (%)",
        "fgsm_normalized": "FGSM error at 33 dB (%)",
        "relative_mce": f"relative MCE ({images[0]} images; full width {images[1]})",
    }
    rows = [
        (title, row["label"], mean_of(narrow.loc[name], column), mean_of(row, column), number(row[f"paper_{column}"]))
        for column, title in columns.items()
        for name, row in wide.iterrows()
    ]
    seeds = [f"{n} seed{'s' if n > 1 else ''}" for n in (int(table["seeds"].iloc[0]) for table in (narrow, wide))]
    header = ("what", "method", f"¼ of the width, {seeds[0]}", f"full width, {seeds[1]}", "paper, 10 seeds")
    return markdown(header, rows)


def length() -> str:
    """Table 2 after more epochs and with networks of the paper's width."""
    runs = {RUN.name: "¼ of the width", LONGER: "¼ of the width", WIDE: "full width"}
    if not all((PUBLISHED / name / "tables/table2.csv").is_file() for name in runs):
        return NOT_YET
    rows = []
    for name, title in runs.items():
        table = read_table("table2", name)
        ours, theirs = (table.loc[method] for method in ("label_variation", "cross_entropy"))
        phases = yaml.safe_load((PUBLISHED / name / "configuration.yaml").read_text("utf-8"))
        epochs = sum(phase["epochs"] for phase in phases["embedding"]["training"]["schedule"])
        errors = mean_of(theirs, "clean_error"), mean_of(ours, "clean_error")
        difference = signed(ours["clean_error_difference_mean"])
        relative = f"{mean_of(ours, 'relative_mce')} ({ours['relative_mce_images']:,} images)"
        rows.append((f"{title}, {epochs:g} epochs", *errors, difference, relative, f"{ours['seeds']:g}"))
    errors = number(theirs["paper_clean_error"]), number(ours["paper_clean_error"])
    difference = signed(ours["paper_clean_error"] - theirs["paper_clean_error"])
    rows.append(("the paper: full width, 200 epochs", *errors, difference, number(ours["paper_relative_mce"]), "–"))
    header = ("networks", "cross-entropy: clean error (%)", "label variation: clean error (%)", "difference")
    return markdown((*header, "label variation: relative MCE", "seeds"), rows)


WIDE, LONGER = "full-width", "cifar10-cpu-longer"

TABLES = {
    "table1": "Table 1",
    "table2": "Table 2",
    "table3": "Table 3",
    "robustness": "second robustness table",
    "tableA1": "Table A1",
    "table2_supplement": "supplement to Table 2",
    "table3_supplement": "supplement to Table 3",
}
FIGURES = {
    "figure2": "Graphs of 20 images at three depths: edges between classes become fewer",
    "figureA1": "Embeddings in the plane while networks learn: label variation on a circle, cross-entropy in rays",
    "layer_variation": "Label variation of every layer while networks learn, with the regulariser and without",
    "snr_curves": "Accuracy under FGSM against the signal-to-noise ratio",
    "table1": "Error of students against their agreement with the teacher",
}


def tables() -> str:
    return "".join(f"- [{title}]({LINK}/tables/{name}.md)\n" for name, title in TABLES.items() if is_there(name))


def figures() -> str:
    found = {name: title for name, title in FIGURES.items() if (RUN / f"figures/{name}.png").is_file()}
    return "\n".join(f"![{title}]({LINK}/figures/{name}.png)\n" for name, title in found.items())


def about() -> str:
    """What was run, when, on what."""
    told, settings = provenance(), provenance()["configuration"]
    machine, versions = told["machine"], told["versions"]
    lines = [
        f"- Seeds: {seeds_in_words(settings)}; one teacher.",
        f"- Machine: {machine['cores']} cores of an {machine['processor']}.",
        *trained_on(),
        f"- Versions: PyTorch {versions['torch']}, torchvision {versions['torchvision']}, Python {versions['python']}.",
        f"- Code: commit `{told['git']['commit'][:12]}`; ended {told['written'][:10]}.",
    ]
    for split, data in told["data"].items():
        notes = "; ".join(note for note in data["notes"] if "exact" in note)
        lines.append(
            f"- Images, {split}: {data['shape'][0]:,}, SHA-256 `{data['sha256'][:16]}…`{'; ' + notes if notes else ''}."
        )
    return "\n".join(lines) + "\n" + not_run_yet()


def trained_on() -> list[str]:
    """Return a line for each device, precision and version of PyTorch that networks were trained with."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for path in sorted(RUN.rglob("metrics.json")):
        told = json.loads(path.read_text("utf-8"))
        name = path.parent.relative_to(RUN).as_posix()
        found.setdefault((told["device"], told["precision"], told["torch"]), []).append(name)
    return [
        f"- Trained on {device} in {precision} by PyTorch {version}: {len(names)} networks, {groups(names)}."
        for (device, precision, version), names in found.items()
    ]


def groups(names: Sequence[str]) -> str:
    """Return a list of networks, SECTION/METHOD/seedN, as sections with their seeds."""
    sections: dict[str, set[int]] = {}
    for name in names:
        section, *rest = name.split("/")
        seeds = sections.setdefault(section, set())
        seeds.update(int(part.removeprefix("seed")) for part in rest if part.startswith("seed"))
    return "; ".join(
        f"{section} {'seeds ' + ', '.join(map(str, sorted(seeds))) if seeds else ''}".strip()
        for section, seeds in sections.items()
    )


#: where the metrics of what a rule trains lie
TRAINED = {
    "train_teacher": "distillation/teacher",
    "train_student": "distillation",
    "distill_student": "distillation",
    "train_embedding": "embedding",
    "train_plane_embedding": "embedding/figureA1",
    "train_reference_network": "geometry/reference_network",
    "train_robust_network": "robustness",
}


def device_of(rule: str, job: str) -> str:
    """Return what a job of `rule` worked on: a training's metrics say so, everything else ran on the CPU."""
    metrics = RUN / TRAINED.get(rule, "") / job.replace("_seed", "/seed") / "metrics.json"
    return json.loads(metrics.read_text("utf-8"))["device"].split(" (")[0] if metrics.is_file() else "CPU"


def stages() -> str:
    """How long the jobs of each rule took, on each device."""
    jobs = pd.read_csv(RUN / "tables/job_times.csv").fillna({"job": ""})
    jobs["device"] = [device_of(rule, job) for rule, job in zip(jobs["rule"], jobs["job"], strict=True)]
    return "\n".join([*(_stages_on(device, found) for device, found in jobs.groupby("device")), *_defences_here()])


def _defences_here() -> list[str]:
    """Say how long defences would train on the machine of Table A1, where they were trained elsewhere."""
    if not is_there("tableA1"):
        return []
    rows = read_table("tableA1")
    names = [f"robustness.{name}" for name in ("baseline", "parseval", "regularizer", "both")]
    times = [
        f"{row['label']} {number(row['total_seconds'] / 60, 0)} minutes"
        for _, row in rows.loc[rows.index.intersection(names, sort=False)].iterrows()
    ]
    return [
        f"By the epochs that Table A1 times, Table 3's trainings take on the two cores alone: {', '.join(times)}. "
        "Adversarial training takes more steps in that table.\n"
    ]


def _stages_on(device: str, jobs: pd.DataFrame) -> str:
    minutes = jobs["seconds"] / 60
    rules = minutes.groupby(jobs["rule"], sort=False).agg(["count", "median", "sum"])
    rules = rules.sort_values("sum", ascending=False)
    long = rules[rules["sum"] >= 1]
    rows = [
        (str(rule), str(int(row["count"])), number(row["median"], 1), number(row["sum"], 0))
        for rule, row in long.iterrows()
    ]
    if len(short := rules.drop(long.index)):
        rows.append(("all others", str(int(short["count"].sum())), "", number(short["sum"].sum(), 0)))
    header = (f"rule, on {device}", "jobs", "median job (minutes)", "together (minutes)")
    return markdown(header, rows) + f"\nTogether {minutes.sum() / 60:.1f} hours of jobs.\n"


def validation() -> str:
    """What settings were chosen by: errors on validation images."""
    found = pd.read_csv(PUBLISHED / "validation.csv")
    rows = [
        (row["what"], row["method"], row["setting"], number(row["error"]), row["measure"])
        for _, row in found.iterrows()
    ]
    return markdown(("training", "method", "learning rate or loss", "value", "what the value is"), rows)


def estimate() -> str:
    """What the trainings of the paper's configuration would take, by section."""
    found = pd.read_csv(PUBLISHED / "operations.csv")
    found["section"] = found["training"].str.split(".").str[0]
    found["steps"] = found["networks"] * found["steps_each"]
    sums = found.groupby("section", sort=False)[["networks", "steps", "petaflop", *HOURS]].sum()
    sums.loc["together"] = sums.sum()
    rows = [
        (
            name,
            f"{row['networks']:.0f}",
            f"{row['steps'] / 1e6:.2f}",
            f"{row['petaflop']:,.0f}",
            *(f"{row[hours]:.1f}" for hours in HOURS),
        )
        for name, row in sums.iterrows()
    ]
    rate, device = found["teraflops_paper"].iloc[0], found["device_measured"].iloc[0]
    header = (
        "trainings",
        "networks",
        "steps (millions)",
        "PFLOP",
        *(f"hours, {gpus} at {rate:.1f} TFLOP/s" for gpus in ("one GPU", "four GPUs")),
        *(f"hours, {gpus} {device}, measured steps" for gpus in ("one", "four")),
    )
    return markdown(header, rows)


HOURS = ("hours_paper_1", "hours_paper_4", "hours_measured_1", "hours_measured_4")

NOT_YET = "*Not published yet.*\n"
WITHOUT_RUN = ("validation", "estimate")
BLOCKS: dict[str, Callable[[], str]] = {
    function.__name__: function
    for function in (
        summary, tables, claims, depth, figures, about, stages, width, length, validation, estimate,
        agreement, by_corruption, masking, plane,
    )
}  # fmt: skip


def written(text: str) -> str:
    """Return a page with its blocks written from the published results."""
    return BLOCK.sub(lambda block: f"{block[1]}\n{block_of(block[2])}\n{block[3]}", text)


def block_of(name: str) -> str:
    if not (RUN / "provenance.json").exists() and name not in WITHOUT_RUN:
        return NOT_YET
    return BLOCKS[name]()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", type=Path)
    parser.add_argument("--without-models", action="store_true")
    parser.add_argument("--take-up", action="store_true")
    arguments = parser.parse_args()
    if arguments.take_up:
        if arguments.run is None:
            parser.error("say which run: results/RUN")
        take_up(arguments.run.resolve())
        return
    if arguments.run is not None:
        publish(arguments.run.resolve(), with_models=not arguments.without_models)
    for page in PAGES:
        page.write_text(written(page.read_text("utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
