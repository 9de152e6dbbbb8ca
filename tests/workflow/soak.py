"""Kills jobs and Snakemake at random while the pipeline on digits runs, and compares the results with an undisturbed run.

    python tests/workflow/soak.py [--kills 30] [--seed 0] [--cores 2]

Prints how often what was killed, how many jobs were lost, and the time that this cost. Ends with status 1 where a file of the
results is not, bit by bit, that of the quiet run; what holds times is left out of the comparison.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from snakemake_runs import (
    DIGITS,
    announced_jobs,
    command,
    copy_checkout,
    environment,
    snakemake,
    without_ignored_signals,
    write_overlay,
)

KINDS = ("job", "snakemake", "everything", "sigterm", "ctrl_c")
#: killed runs resume from the last epoch
OFTEN = "resources: {checkpoints: {epochs: 1}}"
#: files of results/RUN/ that hold times, so that no two runs agree in them
TIMED = (
    "logs/",
    "benchmarks/",
    "provenance.json",
    "overview.rst",
    "made.json",
    "tables/tableA1.",
    "figures/tableA1.",
    "tables/job_times.",
    "figures/job_times.",
    "timing/",
)
JOBS = 53  # of the pipeline, about: what decides how many of them lie between two kills
LONGEST = 1.0  # seconds from the start of a job to the kill that follows it


def disturb(
    folder: Path, configs: tuple[Any, ...], kills: int, cores: int, chance: random.Random, jobs_to_do: int = JOBS
) -> dict[str, Any]:
    """Run the pipeline in `folder` to the end, killing something `kills` times on the way, and return what happened."""
    began, killed, lost, starts = time.monotonic(), Counter[str](), 0, 0
    while True:
        starts += 1
        with running(folder, configs, cores) as run:
            if killed.total() < kills:
                kind = chance.choice(KINDS)
                wait_for_jobs(run, folder, chance.randint(1, max(1, jobs_to_do // (2 * kills))), kind == "job")
                time.sleep(chance.uniform(0.0, LONGEST))
                jobs = stages_of(run)
                if run.poll() is None and (kind != "job" or jobs):
                    lost += end(run, kind, jobs, chance)
                    killed[kind] += 1
            output, _ = run.communicate(timeout=600)
        if run.returncode == 0:
            break
        if killed.total() >= kills and "Error in rule" in output and "job" not in killed:
            raise RuntimeError(f"a job failed that nobody had killed:\n{output}")
        snakemake(folder, "--unlock", configs=configs)
    return {"kills": dict(killed), "jobs_lost": lost, "starts": starts, "seconds": time.monotonic() - began}


@contextlib.contextmanager
def running(folder: Path, configs: tuple[Any, ...], cores: int) -> Iterator[subprocess.Popen[str]]:
    """Start Snakemake in a new session, and make sure that none of its processes is left afterwards."""
    run = subprocess.Popen(
        command("--cores", str(cores), configs=configs),
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        start_new_session=True,
        # a background process would ignore Ctrl-C
        preexec_fn=without_ignored_signals,
    )
    try:
        yield run
        # jobs notice that their Snakemake has exited, and stop after a checkpoint
        deadline = time.monotonic() + 20
        while (left := members(run.pid)) and time.monotonic() < deadline:
            time.sleep(0.05)
        if left:
            raise RuntimeError(f"left behind: {[process.cmdline() for process in left]}")
    finally:
        for process in members(run.pid):
            with contextlib.suppress(psutil.Error):
                process.kill()


def wait_for_jobs(run: subprocess.Popen[str], folder: Path, number: int, running: bool) -> None:
    """Wait until enough new jobs have begun, and one is running if required, or until the run is done."""
    before = started_jobs(folder)
    while run.poll() is None and (started_jobs(folder) < before + number or (running and not stages_of(run))):
        time.sleep(0.02)


def started_jobs(folder: Path) -> int:
    """Return the number of jobs that have begun, each of which has a log."""
    return sum(path.is_file() for path in (folder / "results" / "digits" / "logs").rglob("*"))


def members(session: int) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def stages_of(run: subprocess.Popen[str]) -> list[psutil.Process]:
    """Return the processes of the jobs that run now."""
    found = []
    for process in members(run.pid):
        with contextlib.suppress(psutil.Error):
            if process.cmdline()[1:3] == ["-m", "lgg.pipeline"]:
                found.append(process)
    return found


def end(run: subprocess.Popen[str], kind: str, jobs: list[psutil.Process], chance: random.Random) -> int:
    """Kill a part of a run, and return the number of jobs lost."""
    with contextlib.suppress(psutil.Error, ProcessLookupError):
        if kind == "job":
            chance.choice(jobs).kill()
            return 1
        if kind == "snakemake":
            run.kill()
        elif kind == "everything":
            os.killpg(run.pid, signal.SIGKILL)
        elif kind == "sigterm":
            run.terminate()
        elif kind == "ctrl_c":
            os.killpg(run.pid, signal.SIGINT)
    return len(jobs)


def results(folder: Path) -> dict[str, bytes]:
    """Return what the run in `folder` has made, without times: the content of each file by its path."""
    root = folder / "results" / "digits"
    found = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_file() and not name.startswith(TIMED):
            found[name] = _without_seconds(path)
    return found


def _without_seconds(path: Path) -> bytes:
    content = path.read_bytes()
    if path.name == "metrics.json":
        metrics = json.loads(content)
        metrics.pop("seconds")
        metrics["last_epoch"].pop("seconds")
        return json.dumps(metrics).encode()
    if path.name == "history.csv":
        rows = [line.split(",") for line in content.decode().splitlines()]
        place = rows[0].index("seconds")
        return "\n".join(",".join(row[:place] + row[place + 1 :]) for row in rows).encode()
    return content


def differences(one: dict[str, bytes], other: dict[str, bytes]) -> list[str]:
    """Return the names of files that only one has, or that differ."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def main() -> None:
    """Run both, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0, help="of what is killed when")
    parser.add_argument("--cores", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        quiet, disturbed = (copy_checkout(Path(temporary) / name) for name in ("quiet", "disturbed"))
        configs = (DIGITS, write_overlay(Path(temporary), OFTEN))
        began = time.monotonic()
        done = snakemake(quiet, "--cores", str(arguments.cores), configs=configs)
        seconds = time.monotonic() - began
        if done.returncode != 0:
            sys.exit(done.stdout)
        figures = disturb(disturbed, configs, arguments.kills, arguments.cores, random.Random(arguments.seed))
        different = differences(results(quiet), results(disturbed))
    print(f"pipeline of {len(announced_jobs(done.stdout))} jobs, {arguments.cores} cores, seed {arguments.seed}")
    print(f"killed: {', '.join(f'{kind} {count}' for kind, count in figures['kills'].items())}")
    print(f"jobs lost or interrupted: {figures['jobs_lost']}; Snakemake was started {figures['starts']} times")
    print(f"time: {figures['seconds']:.0f} s in place of {seconds:.0f} s undisturbed")
    if different:
        sys.exit("not the files of the quiet run: " + ", ".join(different))
    print("all results are bit by bit those of the quiet run")


if __name__ == "__main__":
    main()
