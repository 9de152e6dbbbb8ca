# Shared by all files with rules: the validated configuration, the folder of the run, the list of final results, and outputs that
# several rules have in common. After a successful run, writes results/{run}/provenance.json and the cost of the jobs.
import sys
from pathlib import Path

# jobs and this file use the package next to the Snakefile, even if that is a module of another workflow
ROOT = Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).parents[1]
sys.path.insert(0, str(ROOT))

from snakemake.exceptions import WorkflowError

from lgg.errors import LggError
from lgg.pipeline import ending
from lgg.pipeline import machine
from lgg.pipeline import metadata
from lgg.pipeline import provenance
from lgg.pipeline import recipes
from lgg.pipeline.config import TEACHER, read_paper
from lgg.pipeline.config.networks import DOWNLOADS
from lgg.pipeline.interrupt import heed_signals
from lgg.pipeline.rules import Training, asks, each, files, one_of, stage, with_options
from lgg.pipeline.workflow import gpus_of_jobs, start, starts_jobs

try:
    settings = start(config, ROOT, workflow.config_settings)
    PAPER = read_paper(ROOT / "config" / "paper.yaml", settings)
except LggError as error:
    raise WorkflowError(str(error))
heed_signals()

# A job runs Python without a shell around it: a signal to all its processes, such as SLURM's before a time limit, would end
# the shell at once, and the job would count as finished before its checkpoint is written. Until Python is running, the
# warning before a time limit is ignored.
shell.prefix("trap '' USR1 USR2; exec ")

RESULTS = f"results/{settings.run}"
if starts_jobs(workflow):
    for line in metadata.give_back(Path(RESULTS)):
        print(line, file=sys.stderr)
OVERVIEW = Path(RESULTS, "overview.rst")
# the report's captions read this: all keys, even if this is a module that was given only those that differ
config = {
    **settings.model_dump(mode="json"),
    "overview": str(OVERVIEW) if OVERVIEW.is_file() else None,
    "beside_the_paper": settings.data.beside_the_paper,
}
TRAIN_IMAGES = f"{RESULTS}/data/train.safetensors"
TEST_IMAGES = f"{RESULTS}/data/test.safetensors"
ENVIRONMENT = "../../envs/environment.yaml"

# the number of GPUs that this run may use at once, from --resources or the profile
LIMIT = workflow.global_resources["gpu"].value if "gpu" in workflow.global_resources else None
try:
    GPUS, ALL_GPUS = gpus_of_jobs(settings, LIMIT)
except LggError as error:
    raise WorkflowError(str(error))
TRAIN = settings.resources.train
EVALUATE = settings.resources.evaluate
LIGHT = settings.resources.light

# rows whose networks are tried on a few images before they are trained, and published weights (networks.smk)
CHECKED = recipes.checked(settings)
PUBLISHED = recipes.published(settings)

# rule files add their final tables and figures, and the trainings that training.smk makes rules of
targets = []
TRAININGS = []
TABLE_FORMS = ("csv", "md", "tex", "html")

# the report's menu, in the paper's order
SECTION = {
    "geometry": "1. Graphs (Section 3.3)",
    "distillation": "2. Distillation (Section 4.1)",
    "embedding": "3. Embeddings (Section 4.2)",
    "robustness": "4. Robustness (Section 4.3)",
    "timing": "5. Time (Appendix D)",
    "supplements": "6. Supplements",
}


def in_report(path, section, what):
    """Return an output that the report shows in a section, with the caption of the same name from workflow/report/."""
    return report(path, caption=f"../report/{Path(path).stem}.rst", category=SECTION[section], labels=label(what))


def label(what):
    """Return what the report lists instead of a file name: one column, since two columns of two rows become a switch."""
    return {"result": what}


def figure(name, section, what, prefix=""):
    """Return the outputs of a figure, their names after `prefix`; the report shows the PNG in a section as `what`."""
    png = in_report(f"{RESULTS}/figures/{name}.png", section, what)
    return {f"{prefix}pdf": f"{RESULTS}/figures/{name}.pdf", f"{prefix}png": png}


def corruption_figures(name, shown, which):
    """Return the outputs of the two figures of errors under corruptions that go with a table."""
    heatmap, severity = f"{shown}, every corruption: error of {which}", f"{shown}, severity: error of {which}"
    return {
        **figure(f"{name}_corruptions", "supplements", f"{heatmap}, a heat map", "heatmap_"),
        **figure(f"{name}_severity", "supplements", f"{severity} against severity", "severity_"),
    }


def table(name, section, what, prefix=""):
    """Return the outputs of a table in all its forms, their names after `prefix`; the report shows the HTML."""
    paths = {form: f"{RESULTS}/tables/{name}.{form}" for form in TABLE_FORMS}
    paths["html"] = in_report(paths["html"], section, what)
    return {f"{prefix}{form}": path for form, path in paths.items()}


def network(folder):
    """Return the outputs of a training run."""
    return {
        "model": f"{folder}/model.safetensors",
        "history": f"{folder}/history.csv",
        "metrics": f"{folder}/metrics.json",
    }


def loaded(folder):
    """Return the outputs of a network that was trained elsewhere."""
    return {"model": f"{folder}/model.safetensors", "metrics": f"{folder}/metrics.json"}


def awaited(row, network, methods=()):
    """Return what a training waits for besides images: the check of its row, and published weights that it starts from.

    `row` is the name of the row, with the wildcard {method} where there is one for each of `methods`.
    """
    names = [row.replace("{method}", method) for method in methods] or [row]
    check = {"checked": f"{RESULTS}/data/networks/{row}.json"} if any(name in CHECKED for name in names) else {}
    return check | ({"start": network.downloaded} if network.downloaded else {})


def figures(*names):
    return [f"{RESULTS}/figures/{name}.{form}" for name in names for form in ("pdf", "png")]


def tables(*names):
    return [f"{RESULTS}/tables/{name}.{form}" for name in names for form in TABLE_FORMS]


onstart:
    metadata.forget(Path(RESULTS))


onsuccess:
    provenance.write(Path(RESULTS), settings, ROOT, [TRAIN_IMAGES, TEST_IMAGES])
    # imported here, so that a dry run needs neither pandas nor Matplotlib
    from lgg.reporting import job_times, overview

    # not a rule: it would depend on the logs, and deleting a log would retrain its network
    job_times.write(Path(RESULTS))
    overview.write(Path(RESULTS))
    metadata.keep(Path(RESULTS))
    print(ending.message(workflow, RESULTS, targets))


onerror:
    metadata.keep(Path(RESULTS))
