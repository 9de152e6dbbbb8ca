"""Prints how much longer a job that does nothing takes through SLURM than on the machine itself.

    python tests/slurm/overhead.py [--repeats 5]

Each time Snakemake is started for a single job on the tests' cluster. Snakemake notices the job's end only at its next query,
which adds to this; the profile sets how often it asks.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow"))

from slurm_cluster import Cluster, why_not
from test_slurm import PROFILE, running, wait_until

SNAKEFILE = """
rule nothing:
    output:
        "done",
    resources:
        mem_mb=100,
        runtime=5,
    shell:
        "exec touch {output}"
"""


def seconds(cluster: Cluster, folder: Path, *arguments: str | Path) -> float:
    """Return the seconds from the start of Snakemake to the result of its job."""
    folder.mkdir(parents=True)
    (folder / "Snakefile").write_text(SNAKEFILE)
    began = time.time()
    with running(cluster, folder, *arguments) as (run, output):
        wait_until((folder / "done").exists, 60, output)
        result = (folder / "done").stat().st_mtime - began
        run.wait()
    return result


def main() -> None:
    """Time both, interleaved."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    if reason := why_not():
        sys.exit(reason)
    ways: dict[str, tuple[str | Path, ...]] = {"here": ("--cores", "1"), "SLURM": ("--workflow-profile", PROFILE)}
    found: dict[str, list[float]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory(prefix="slurm-") as temporary:
        root = Path(temporary)
        root.chmod(0o755)
        (root / "environment").symlink_to(sys.prefix)
        with Cluster(root) as cluster:
            for number in range(repeats):
                for name, arguments in ways.items():
                    found[name].append(seconds(cluster, root / name / str(number) / "folder", *arguments))
    more = [slurm - here for slurm, here in zip(found["SLURM"], found["here"], strict=True)]
    print(f"{median(more):.1f} s later [{min(more):.1f}, {max(more):.1f}], {repeats} times, interleaved")


if __name__ == "__main__":
    main()
