"""The simulation of benchmarks/spreading.py: bounds for every list schedule (Graham 1969), and its jobs."""

from dataclasses import replace
from itertools import pairwise

import pytest
import spreading
from _scheduling import Job, critical_path, gpu_seconds, schedule, seconds_to_the_end, wall_seconds
from hypothesis import given
from hypothesis import strategies as st

GPUS, HELD = st.integers(1, 8), st.integers(0, 3)


@st.composite
def graphs(draw, gpus=HELD):
    """Draw up to 12 jobs in any order, each of which may need any of those drawn before it."""
    jobs = {}
    for number in range(draw(st.integers(1, 12))):
        needs = frozenset(draw(st.sets(st.sampled_from(sorted(jobs))))) if jobs else frozenset()
        # integer seconds, so that sums are exact
        jobs[f"job{number}"] = Job(draw(st.integers(0, 9)), draw(gpus), needs, draw(st.integers(0, 2)))
    return {name: jobs[name] for name in draw(st.permutations(sorted(jobs)))}


one_gpu_each = graphs(gpus=st.just(1))


def length(jobs):
    return sum(jobs[name].seconds for name in critical_path(jobs))


@given(graphs(), GPUS)
def test_every_job_runs_once_for_its_time_and_after_what_it_needs(jobs, gpus):
    times = schedule(jobs, gpus)
    assert times.keys() == jobs.keys()
    for name, job in jobs.items():
        begin, end = times[name]
        assert end - begin == job.seconds
        assert begin >= max((times[need][1] for need in job.needs), default=0)


@given(graphs(), GPUS)
def test_no_more_gpus_are_held_than_there_are(jobs, gpus):
    times = schedule(jobs, gpus)
    for moment, _ in times.values():
        held = [min(jobs[name].gpus, gpus) for name, (begin, end) in times.items() if begin <= moment < end]
        assert sum(held) <= gpus


@given(graphs(), GPUS)
def test_critical_path_and_work_are_lower_bounds(jobs, gpus):
    assert wall_seconds(schedule(jobs, gpus)) >= max(length(jobs), gpu_seconds(jobs.values(), gpus) / gpus)


@given(one_gpu_each, GPUS)
def test_a_list_schedule_stays_within_graham_s_bound(jobs, gpus):
    work = gpu_seconds(jobs.values(), gpus)
    assert wall_seconds(schedule(jobs, gpus)) <= work / gpus + (1 - 1 / gpus) * length(jobs) + 1e-9


@given(graphs(gpus=st.integers(0, 1)), GPUS)
def test_jobs_without_a_gpu_add_at_most_a_critical_path(jobs, gpus):
    assert wall_seconds(schedule(jobs, gpus)) <= gpu_seconds(jobs.values(), gpus) / gpus + length(jobs) + 1e-9


@given(one_gpu_each)
def test_one_gpu_takes_the_sum(jobs):
    assert wall_seconds(schedule(jobs, 1)) == sum(job.seconds for job in jobs.values())


@given(graphs())
def test_with_enough_gpus_the_critical_path_decides(jobs):
    assert wall_seconds(schedule(jobs, sum(job.gpus for job in jobs.values()) + 1)) == length(jobs)


@given(graphs())
def test_the_critical_path_is_a_chain_and_the_longest_one(jobs):
    path = critical_path(jobs)
    assert not jobs[path[0]].needs
    assert all(before in jobs[after].needs for before, after in pairwise(path))
    assert length(jobs) == max(seconds_to_the_end(jobs).values())


@given(graphs(gpus=st.just(1)))
def test_ready_jobs_start_in_order_of_priority(jobs):
    ready = {name: replace(job, needs=frozenset()) for name, job in jobs.items()}
    times = schedule(ready, 1)
    # a job of no seconds begins when the next one does
    started = sorted(times, key=lambda name: (times[name], -ready[name].priority))
    assert [ready[name].priority for name in started] == sorted((job.priority for job in jobs.values()), reverse=True)


def test_jobs_of_equal_priority_start_in_the_order_given():
    assert schedule({"b": Job(2, 1), "a": Job(3, 1)}, 1) == {"b": (0, 2), "a": (2, 5)}


def test_a_job_that_needs_all_gpus_waits_without_blocking_others():
    jobs = {"short": Job(1, 1), "all": Job(5, 64), "long": Job(3, 1)}
    assert schedule(jobs, 2) == {"short": (0, 1), "long": (0, 3), "all": (3, 8)}


def test_a_cycle_is_refused():
    jobs = {"first": Job(1), "a": Job(1, needs=frozenset({"b"})), "b": Job(1, needs=frozenset({"a"}))}
    with pytest.raises(ValueError, match=r"in a cycle: a, b$"):
        schedule(jobs, 1)


def test_an_unknown_job_is_named():
    with pytest.raises(ValueError, match="a needs the unknown job b"):
        schedule({"a": Job(1, needs=frozenset({"b"}))}, 1)


# --- the paper's configuration ------------------------------------------------------------------------------------


def test_attacks_are_counted_by_their_steps_starts_and_images():
    config = spreading.paper()
    predictions, gradients = spreading.passes_under_tests(config, "baseline")
    # 20 steps twice; 100 steps, and 4 more times for the 1.2 % of images left; FGSM twice and once more for the transfer
    assert gradients == pytest.approx(10_000 * (2 * 20 + 100 * (1 + 4 * 0.012) + 3) + 1_000 * 5 * 10)
    assert predictions == 10_000 * (4 + 1 + 2 * 9 + 4) + 1_000 * 5


def test_an_epoch_is_as_many_steps_as_batches():
    config, costs = (
        spreading.paper(),
        spreading.Costs({"robustness.baseline": 2.0, "embedding.triplet": 1.0}, {}, 0, 0, 0),
    )
    gpu = {"resources": "tmpdir=/tmp, gpu=1"}
    for rule, method, seconds in (
        ("train_robust_network", "baseline", 100 * 500 * 2.0),
        ("train_embedding", "triplet", 200 * 391),
    ):
        job = spreading.Planned(rule, gpu | {"wildcards": f"method={method}, seed=3"})
        assert spreading.seconds_of(job, config, costs) == spreading.START_UP + seconds


def test_costs_are_scaled_to_the_paper_s_epoch_but_for_the_classifiers():
    costs, factor = spreading.as_on_the_paper_s_gpu(
        spreading.Costs({"robustness.baseline": 0.948}, {"student": 2.0}, 3.0, 4.0, 5.0), spreading.paper()
    )
    assert factor == pytest.approx(47.4 / 500 / 0.948)
    assert costs.step["robustness.baseline"] * 500 == pytest.approx(47.4)
    assert (costs.prediction["student"], costs.gradient) == pytest.approx((2 * factor, 3 * factor))
    assert (costs.fitting, costs.classifying) == (4.0, 5.0)


@pytest.mark.pipeline
def test_every_job_of_the_paper_has_an_estimate():
    config = spreading.paper()
    methods = [
        f"{section}.{name}"
        for section in ("robustness", "distillation", "embedding")
        for name in getattr(config, section).active_methods
    ]
    networks = ("teacher", "student", "embedding", "robustness")
    costs = spreading.Costs(dict.fromkeys([*methods, "teacher", "geometry"], 1), dict.fromkeys(networks, 1), 1, 1, 1)
    planned = spreading.plan()
    jobs = spreading.as_jobs(planned, lambda job: spreading.seconds_of(job, config, costs))
    trained = [job.needs for name, job in jobs.items() if name == "evaluate_student method=gkd seed=3"]
    assert trained == [{"prepare_data", "evaluate_teacher", "distill_student method=gkd seed=3"}]
    assert jobs["train_teacher"].priority > jobs["train_reference_network"].priority
    assert jobs["measure_times"].gpus == max(spreading.GPUS)
    assert {job.gpus for name, job in jobs.items() if name.startswith(("train", "distill"))} == {1}
