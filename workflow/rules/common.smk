# What all rule files share: the validated configuration, the folder of the run, the list of final results, and what
# jobs ask for. Writes results/{run}/provenance.json and what jobs cost when a run has ended well.
import sys
from pathlib import Path

# jobs and this file use the package beside the Snakefile
ROOT = Path(workflow.basedir)
sys.path.insert(0, str(ROOT))

from snakemake.exceptions import WorkflowError

from lgg import machine, provenance, recipes
from lgg.errors import LggError
from lgg.workflow import end_jobs_on_sigterm, gpus_per_job, growing, in_groups, one_of, start

try:
    settings = start(config, ROOT)
except LggError as error:
    raise WorkflowError(str(error))
end_jobs_on_sigterm()

# A job is its Python and no shell around it: of a signal to all its processes, such as SLURM's before a time limit, the
# shell would die at once, and the job would count as ended before its checkpoint is written.
shell.prefix("exec ")

RESULTS = f"results/{settings.run}"
TRAIN_IMAGES = f"{RESULTS}/data/train.safetensors"
TEST_IMAGES = f"{RESULTS}/data/test.safetensors"
ENVIRONMENT = "../../envs/environment.yaml"

GPUS = gpus_per_job(settings)
# how many this run may use, which --resources or the profile says
ALL_GPUS = workflow.global_resources["gpu"].value if GPUS and "gpu" in workflow.global_resources else GPUS
TRAIN = settings.resources.train
EVALUATE = settings.resources.evaluate
LIGHT = settings.resources.light

# rule files add the tables and figures that they end in
targets = []


onsuccess:
    provenance.write(Path(RESULTS), settings, ROOT, [TRAIN_IMAGES, TEST_IMAGES])
    # only here: its pandas and Matplotlib are nothing for a dry run
    from lgg.reporting import job_times

    # no rule: it would depend on the logs, and whoever deleted one would train a network again to get it back
    job_times.write(Path(RESULTS))
    print(f"Done. What was made, and what it stands for: results/README.md; tables and figures: {RESULTS}/")
