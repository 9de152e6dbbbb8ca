"""Prints what a job through SLURM costs beyond one on the machine itself, by chains of jobs that do nothing.

    python tests/slurm/overhead.py [--jobs 10]

Here Snakemake asks after jobs every second. With the profile's own waiting a job that has ended waits for the next question, up
to 20 seconds.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "pipeline"))

from slurm_cluster import Cluster, why_not
from test_slurm import PROFILE, running

# each waits for the one before it, so that times add up
CHAIN = """
rule all:
    input:
        "{last}.done",


rule first:
    output:
        "0.done",
    resources:
        mem_mb=100,
        runtime=5,
    shell:
        "exec touch {{output}}"


rule next:
    input:
        lambda wildcards: f"{{int(wildcards.number) - 1}}.done",
    output:
        "{{number,[1-9][0-9]*}}.done",
    resources:
        mem_mb=100,
        runtime=5,
    shell:
        "exec touch {{output}}"
"""


def seconds(cluster: Cluster, folder: Path, jobs: int, *arguments: str | Path) -> float:
    """Return what a chain of so many jobs takes."""
    folder.mkdir()
    (folder / "Snakefile").write_text(CHAIN.format(last=jobs - 1))
    began = time.monotonic()
    with running(cluster, folder, *arguments) as (run, output):
        if run.wait() != 0:
            sys.exit(output.read_text(encoding="utf-8"))
        return time.monotonic() - began


def main() -> None:
    """Time a chain and one of a single job, on the cluster and without it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=10)
    jobs = parser.parse_args().jobs
    if reason := why_not():
        sys.exit(reason)
    with tempfile.TemporaryDirectory(prefix="slurm-") as temporary:
        root = Path(temporary)
        root.chmod(0o755)
        (root / "environment").symlink_to(sys.prefix)
        with Cluster(root) as cluster:
            per_job = {}
            for name, arguments in {"SLURM": ("--workflow-profile", PROFILE), "here": ("--cores", "1")}.items():
                (root / name).mkdir()
                times = {
                    count: seconds(cluster, root / name / str(count), count, *arguments) for count in (1, jobs + 1)
                }
                per_job[name] = (times[jobs + 1] - times[1]) / jobs
                print(f"{name}: {per_job[name]:.2f} s a job (chain of {jobs})")
    print(f"a job through SLURM costs {per_job['SLURM'] - per_job['here']:.2f} s more")


if __name__ == "__main__":
    main()
