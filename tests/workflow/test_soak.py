"""A short soak test; `python tests/workflow/soak.py` is the long one."""

import random

import pytest
import soak
from snakemake_runs import DIGITS, planned_jobs, write_overlay

pytestmark = pytest.mark.pipeline

#: what stays of the finished run: the second seed, and what it was made from, without which it would be made again
KEPT = ("data", "distillation/teacher", "robustness/baseline/seed1000", "*/*/seed1", "logs", "benchmarks")


@pytest.fixture
def half(copy_of_finished):
    """Return a folder in which one seed's jobs of every rule still have to run; all other results are finished."""
    results = copy_of_finished / "results/digits"
    kept = {path for pattern in KEPT for path in results.glob(pattern)}
    for path in sorted(results.rglob("*")):
        if path.is_file() and not kept.intersection(path.parents):
            path.unlink()
    return copy_of_finished


def test_a_run_killed_again_and_again_ends_in_the_bits_of_a_quiet_one(finished, half, tmp_path):
    configs = (DIGITS, write_overlay(tmp_path, soak.OFTEN))
    jobs = planned_jobs(half, configs=configs)
    every_rule = {job.rule for job in planned_jobs(half, "--forceall", configs=configs)}
    assert every_rule - {job.rule for job in jobs} == {"prepare_data", "train_teacher", "evaluate_teacher"}
    for job in jobs:  # a log says that its job has begun
        (half / job.files("log")[0]).unlink()
    figures = soak.disturb(half, configs, kills=6, cores=2, chance=random.Random(1), jobs_to_do=len(jobs))
    assert sum(figures["kills"].values()) == 6
    quiet, disturbed = soak.results(finished), soak.results(half)
    assert len(quiet) > 100
    assert soak.differences(quiet, disturbed) == []


def test_the_comparison_sees_a_changed_bit_and_a_missing_file(finished):
    quiet = soak.results(finished)
    name = next(name for name in quiet if name.endswith("model.safetensors"))
    flipped = quiet | {name: quiet[name][:-1] + bytes([quiet[name][-1] ^ 1])}
    assert soak.differences(quiet, flipped) == [name]
    assert soak.differences(quiet, {key: value for key, value in quiet.items() if key != name}) == [name]
