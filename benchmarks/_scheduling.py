"""List scheduling: when each job of a graph runs on so many GPUs, and what no schedule can beat.

Times are in seconds. CPU cores are not counted: a job without a GPU starts as soon as what it needs is there.
"""

import heapq
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter

NOTHING: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Job:
    """A job: its `seconds`, how many `gpus` it holds, the names of the jobs that it `needs`, and its `priority`."""

    seconds: float
    gpus: int = 0
    needs: frozenset[str] = NOTHING
    priority: float = 0


def schedule(jobs: Mapping[str, Job], gpus: int) -> dict[str, tuple[float, float]]:
    """Return when each job begins and ends on `gpus` GPUs.

    Whenever something ends, every job that is ready and fits is started, the highest priority first, and among equals in
    the order of `jobs`. A job that asks for more GPUs than there are gets all. Raises ValueError where jobs need one
    another in a circle, or one that is not there.
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
        raise ValueError(f"these jobs need one another in a circle: {', '.join(sorted(set(jobs) - set(times)))}")
    return times


def wall_seconds(times: Mapping[str, tuple[float, float]]) -> float:
    """Return when the last job ends, of what `schedule` returned."""
    return max((end for _, end in times.values()), default=0.0)


def gpu_seconds(jobs: Iterable[Job], gpus: int) -> float:
    """Return the sum over jobs of the time for which they hold GPUs, where there are `gpus`."""
    return sum(job.seconds * min(job.gpus, gpus) for job in jobs)


def seconds_to_the_end(jobs: Mapping[str, Job]) -> dict[str, float]:
    """Return for each job how long it and the longest chain of jobs that wait for it take."""
    followers = _followers(jobs)
    left: dict[str, float] = {}
    for name in reversed(list(TopologicalSorter({name: job.needs for name, job in jobs.items()}).static_order())):
        left[name] = jobs[name].seconds + max((left[follower] for follower in followers[name]), default=0.0)
    return left


def critical_path(jobs: Mapping[str, Job]) -> list[str]:
    """Return the names of the longest chain of jobs, the first one first: however many GPUs, it takes their sum."""
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
                raise ValueError(f"{name} needs {need}, and there is no such job")
            followers[need].append(name)
    return followers
