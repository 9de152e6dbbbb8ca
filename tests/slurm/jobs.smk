# Small jobs that tell what SLURM gave them and what became of them: what tests/slurm runs.
import sys

# as in the workflow: no shell that would die of the warning before its command is done
shell.prefix("exec ")
JOB = f"{sys.executable} job.py"


rule all:
    input:
        expand("gpu{number}.done", number=range(6)),
        "failing.done",
        "cancelled.done",
        "overdue.done",
        "training.safetensors",


rule gpu:
    output:
        "gpu{number}.done",
    resources:
        gpu=1,
        mem_mb=100,
        runtime=5,
    shell:
        "{JOB} gpu {wildcards.number} 1 {output}"


rule other:
    output:
        "{name,failing|cancelled|overdue}.done",
    log:
        "{name}.log",
    resources:
        mem_mb=100,
        runtime=lambda wildcards, attempt: attempt if wildcards.name == "overdue" else 5,
    shell:
        "{JOB} {wildcards.name} 0 {resources.runtime} {output} 2> {log}"


rule training:
    output:
        "training.safetensors",
    log:
        "training.log",
    resources:
        mem_mb=1000,
        runtime=lambda wildcards, attempt: attempt,
    shell:
        "{sys.executable} train.py {output} 2> {log}"


rule long:
    output:
        "long{number}.done",
    resources:
        gpu=1,
        mem_mb=100,
        runtime=5,
    shell:
        "{JOB} long {wildcards.number} 1 {output}"
