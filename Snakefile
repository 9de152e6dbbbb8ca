# Latent geometry graphs: the paper's experiments as a workflow.
#   snakemake --cores all                                                     the embedded demonstration
#   snakemake --cores all --resources gpu=1 --configfile config/cifar10.yaml  the paper
from os.path import relpath

from snakemake.utils import min_version

min_version("9.19")


# next to this file, wherever Snakemake was started
configfile: relpath(f"{workflow.basedir}/config/config.yaml")


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/kinds.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/networks.smk"
include: "workflow/rules/geometry.smk"
include: "workflow/rules/corruptions.smk"
include: "workflow/rules/distillation.smk"
include: "workflow/rules/embedding.smk"
include: "workflow/rules/robustness.smk"
include: "workflow/rules/training.smk"
include: "workflow/rules/timing.smk"


rule all:
    default_target: True
    input:
        targets,
