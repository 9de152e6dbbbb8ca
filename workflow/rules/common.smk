# Shared by all files of rules: the validated configuration, the folder of the run, the list of final results, and what
# jobs ask for. Writes results/{run}/provenance.json and what jobs cost when a run has ended well.
# Rules with `localrule` run where Snakemake runs, also with a cluster: each takes seconds, as long as a job takes to start.
import sys
from pathlib import Path

# jobs and this file use the package beside the Snakefile, also where that is a module of another's
ROOT = Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).parents[1]
sys.path.insert(0, str(ROOT))

from snakemake.exceptions import WorkflowError

from lgg.pipeline import machine
from lgg.pipeline import metadata as made
from lgg.pipeline import provenance
from lgg.pipeline import recipes
from lgg.errors import LggError
from lgg.pipeline.config import read_paper
from lgg.pipeline.workflow import ending, gpus_of_jobs, growing, heed_signals, in_groups, one_of, start, starts_jobs

try:
    settings = start(config, ROOT, workflow.config_settings)
    PAPER = read_paper(ROOT / "config" / "paper.yaml", settings)
except LggError as error:
    raise WorkflowError(str(error))
heed_signals()

# A job is its Python and no shell around it: of a signal to all its processes, such as SLURM's before a time limit, the
# shell would die at once, and the job would count as ended before its checkpoint is written. Until it is that Python, a
# warning before a time limit does nothing to it.
shell.prefix("trap '' USR1 USR2; exec ")

RESULTS = f"results/{settings.run}"
if starts_jobs(workflow):
    for line in made.give_back(Path(RESULTS)):
        print(line, file=sys.stderr)
OVERVIEW = Path(RESULTS, "overview.rst")
# what the report's texts read: all keys, also where this is a module and was given just those that differ
config = {
    **settings.model_dump(mode="json"),
    "overview": str(OVERVIEW) if OVERVIEW.is_file() else None,
    "beside_the_paper": settings.data.beside_the_paper,
}
TRAIN_IMAGES = f"{RESULTS}/data/train.safetensors"
TEST_IMAGES = f"{RESULTS}/data/test.safetensors"
ENVIRONMENT = "../../envs/environment.yaml"

# how many GPUs this run may use at once, which --resources or the profile says
LIMIT = workflow.global_resources["gpu"].value if "gpu" in workflow.global_resources else None
try:
    GPUS, ALL_GPUS = gpus_of_jobs(settings, LIMIT)
except LggError as error:
    raise WorkflowError(str(error))
TRAIN = settings.resources.train
EVALUATE = settings.resources.evaluate
LIGHT = settings.resources.light

# rule files add the tables and figures that they end in
targets = []
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
    """Return an output that the report shows in a section, with the caption of its name below workflow/report/."""
    return report(path, caption=f"../report/{Path(path).stem}.rst", category=section, labels=label(what))


def label(what):
    """Return what stands in the report's list in place of a file's name: one column, since two of two rows would make a switch."""
    return {"result": what}


onstart:
    made.forget(Path(RESULTS))


onsuccess:
    provenance.write(Path(RESULTS), settings, ROOT, [TRAIN_IMAGES, TEST_IMAGES])
    # only here: its pandas and Matplotlib are nothing for a dry run
    from lgg.reporting import job_times, overview

    # no rule: it would depend on the logs, and whoever deleted one would train a network again to get it back
    job_times.write(Path(RESULTS))
    overview.write(Path(RESULTS))
    made.keep(Path(RESULTS))
    print(ending(workflow, RESULTS, targets))


onerror:
    made.keep(Path(RESULTS))
