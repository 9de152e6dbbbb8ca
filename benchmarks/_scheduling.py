"""List scheduling: when each job of a graph runs on a number of GPUs, and lower bounds of any schedule.

Times are in seconds. CPU cores are not limited: a job without a GPU starts as soon as the jobs it needs have ended.
"""

import heapq
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter

NOTHING: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Job:
    """A job: its `seconds`, the number of `gpus` it holds, the names of the jobs it `needs`, and its `priority`."""

    seconds: float
    gpus: int = 0
    needs: frozenset[str] = NOTHING
    priority: float = 0


def schedule(jobs: Mapping[str, Job], gpus: int) -> dict[str, tuple[float, float]]:
    """Return when each job begins and ends on `gpus` GPUs.

    Whenever a job ends, all jobs that are ready and fit are started, by priority and then in the order of `jobs`. A job that
    requests more GPUs than there are gets all. Raises ValueError if jobs depend on each other in a cycle, or on an unknown
    job.
    """
    followers = _followers(jobs)
    rank = {name: (-job.priority, place) for place, (name, job) in enumerate(jobs.items())}
    missing = {name: len(job.needs) for name, job in jobs.items()}
    ready = [(rank[name], name) for name, count in missing.items() if not count]
    running: list[tuple[float, str]] = []
    times: dict[str, tuple[float, float]] = {}
    now, free = 0.0, gpus
    while ready or running:
        waiting = []
        for place, name in sorted(ready):
            held = min(jobs[name].gpus, gpus)
            if held > free:
                waiting.append((place, name))
                continue
            free -= held
            times[name] = (now, now + jobs[name].seconds)
            heapq.heappush(running, (times[name][1], name))
        ready = waiting
        now = running[0][0]
        while running and running[0][0] <= now:
            _, name = heapq.heappop(running)
            free += min(jobs[name].gpus, gpus)
            for follower in followers[name]:
                missing[follower] -= 1
                if not missing[follower]:
                    ready.append((rank[follower], follower))
    if len(times) < len(jobs):
        raise ValueError(f"these jobs depend on each other in a cycle: {', '.join(sorted(set(jobs) - set(times)))}")
    return times


def wall_seconds(times: Mapping[str, tuple[float, float]]) -> float:
    """Return when the last job ends, from the times returned by `schedule`."""
    return max((end for _, end in times.values()), default=0.0)


def gpu_seconds(jobs: Iterable[Job], gpus: int) -> float:
    """Return the sum of the GPU time that jobs hold on `gpus` GPUs."""
    return sum(job.seconds * min(job.gpus, gpus) for job in jobs)


def seconds_to_the_end(jobs: Mapping[str, Job]) -> dict[str, float]:
    """Return for each job the time of the job and of the longest chain of jobs that depend on it."""
    followers = _followers(jobs)
    left: dict[str, float] = {}
    for name in reversed(list(TopologicalSorter({name: job.needs for name, job in jobs.items()}).static_order())):
        left[name] = jobs[name].seconds + max((left[follower] for follower in followers[name]), default=0.0)
    return left


def critical_path(jobs: Mapping[str, Job]) -> list[str]:
    """Return the names of the longest chain of jobs, in order; its time is a lower bound for any number of GPUs."""
    left, followers = seconds_to_the_end(jobs), _followers(jobs)
    path: list[str] = []
    choice: Sequence[str] = [name for name, job in jobs.items() if not job.needs]
    while choice:
        path.append(max(choice, key=left.__getitem__))
        choice = followers[path[-1]]
    return path


def _followers(jobs: Mapping[str, Job]) -> dict[str, list[str]]:
    followers = defaultdict(list)
    for name, job in jobs.items():
        for need in job.needs:
            if need not in jobs:
                raise ValueError(f"{name} needs the unknown job {need}")
            followers[need].append(name)
    return followers
