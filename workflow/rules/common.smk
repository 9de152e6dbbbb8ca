# Reads nothing, writes results/{run}/provenance.json after a run. What all rule files share: the validated
# configuration, the folder of the run, the list of final results, and what jobs ask for.
import os
import re
import shutil
import sys
from pathlib import Path

# jobs and this file use the package beside the Snakefile, and the Python that runs Snakemake
ROOT = Path(workflow.basedir)
sys.path.insert(0, str(ROOT))
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])
)
os.environ["PATH"] = os.pathsep.join(
    [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
)

from snakemake.exceptions import WorkflowError

from lgg import provenance, recipes
from lgg.config import check_paths, load
from lgg.errors import LggError

if shutil.which("python") is None:
    raise WorkflowError(
        f"Snakemake runs in {sys.executable}, but beside it there is no `python` for the jobs. "
        "Install lgg and Snakemake into one virtual or conda environment."
    )

try:
    settings = load(config)
    check_paths(settings, Path.cwd())
except LggError as error:
    raise WorkflowError(str(error))

RESULTS = f"results/{settings.run}"
TRAIN_IMAGES = f"{RESULTS}/data/train.safetensors"
TEST_IMAGES = f"{RESULTS}/data/test.safetensors"

# rule files add the tables and figures that they end in
targets = []


def one_of(names):
    """Return a wildcard pattern that matches just these names, or nothing where there are none."""
    return "|".join(map(re.escape, names)) or "(?!)"


def gpus():
    """Number of GPUs that a job of training or evaluation asks for."""
    device = settings.resources.device
    if device == "auto":
        present = any(
            Path(path).exists() for path in ("/dev/nvidia0", "/dev/kfd", "/dev/dxg")
        )
        device = "cuda" if present else "cpu"
    return 1 if device == "cuda" else 0


GPUS = gpus()
TRAIN = settings.resources.train
EVALUATE = settings.resources.evaluate
LIGHT = settings.resources.light


onsuccess:
    provenance.write(
        Path(RESULTS),
        settings,
        ROOT,
        [path for path in (TRAIN_IMAGES, TEST_IMAGES) if Path(path).exists()],
    )
