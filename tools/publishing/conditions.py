"""On what the main run was made, and how long it took."""

from collections.abc import Sequence

import pandas as pd

from lgg.reporting.overview import seeds_in_words
from publishing.comparisons import DEFENCES, not_run_yet
from publishing.long_files import Network
from publishing.published_run import Published, PublishedRun
from publishing.text import markdown, number

#: the section of the networks that a rule trains, and what their folders begin with
TRAINED = {
    "train_teacher": ("distillation", "teacher"),
    "train_student": ("distillation", ""),
    "distill_student": ("distillation", ""),
    "train_embedding": ("embedding", ""),
    "train_plane_embedding": ("embedding", "figureA1"),
    "train_reference_network": ("geometry", "reference_network"),
    "train_robust_network": ("robustness", ""),
}


def about(published: Published) -> str:
    """Return what was run, when, on what."""
    run = published.main
    machine, versions, git = (run.provenance[key] for key in ("machine", "versions", "git"))
    lines = [
        f"- Seeds: {seeds_in_words(run.settings)}; one teacher.",
        f"- Machine: {machine['cores']} cores of an {machine['processor']}.",
        *_trained_on(run),
        f"- Versions: PyTorch {versions['torch']}, torchvision {versions['torchvision']}, Python {versions['python']}.",
        f"- Code: commit `{git['commit'][:12]}`; finished {run.provenance['written'][:10]}.",
    ]
    for split, data in run.provenance["data"].items():
        notes = "".join(f"; {note}" for note in data["notes"] if "exact" in note)
        lines.append(f"- Images, {split}: {data['shape'][0]:,}, SHA-256 `{data['sha256'][:16]}…`{notes}.")
    return "\n".join(lines) + "\n" + not_run_yet(run)


def _trained_on(run: PublishedRun) -> list[str]:
    """Return a line for each device, precision and version of PyTorch that networks were trained with."""
    found: dict[tuple[str, str, str], list[tuple[str, Network]]] = {}
    for section, network, metrics in run.metrics():
        conditions = metrics["device"], metrics["precision"], metrics["torch"]
        found.setdefault(conditions, []).append((section, network))
    return [
        f"- Trained on {device} in {precision} by PyTorch {version}: {len(networks)} networks, {groups(networks)}."
        for (device, precision, version), networks in found.items()
    ]


def groups(networks: Sequence[tuple[str, Network]]) -> str:
    """Return the sections of networks, each with its seeds."""
    sections: dict[str, set[int]] = {}
    for section, network in networks:
        seeds = sections.setdefault(section, set())
        if network.seed is not None:
            seeds.add(network.seed)
    return "; ".join(
        f"{section} {'seeds ' + ', '.join(map(str, sorted(seeds))) if seeds else ''}".strip()
        for section, seeds in sections.items()
    )


# --- times ------------------------------------------------------------------------------------------------------------


def stages(published: Published) -> str:
    """Return how long the jobs of each rule took, on each device."""
    run = published.main
    jobs = run.job_times()
    devices = trained_devices(run)
    jobs["device"] = [device_of(devices, rule, job) for rule, job in zip(jobs["rule"], jobs["job"], strict=True)]
    return "\n".join(
        [*(_stages_on(str(device), found) for device, found in jobs.groupby("device")), *_defences_here(run)]
    )


def trained_devices(run: PublishedRun) -> dict[str, str]:
    """Return the device of each network by its folder, relative to the run's."""
    return {f"{section}/{network.folder}": metrics["device"] for section, network, metrics in run.metrics()}


def device_of(devices: dict[str, str], rule: str, job: str) -> str:
    """Return the device of a job: a network's metrics name it; everything else ran on the CPU."""
    network = network_of(rule, job)
    return devices[network].split(" (")[0] if network in devices else "CPU"


def network_of(rule: str, job: str) -> str | None:
    """Return the folder of the network that a job trains, relative to the run's; None of a job that trains none."""
    return "/".join(filter(None, (*TRAINED[rule], job.replace("_seed", "/seed")))) if rule in TRAINED else None


def _stages_on(device: str, jobs: pd.DataFrame) -> str:
    minutes = jobs["seconds"] / 60
    rules = minutes.groupby(jobs["rule"], sort=False).agg(["count", "median", "sum"])
    rules = rules.sort_values("sum", ascending=False)
    long = rules[rules["sum"] >= 1]
    rows = [
        (str(rule), str(int(row["count"])), number(row["median"], 1), number(row["sum"], 0))
        for rule, row in long.iterrows()
    ]
    if len(short := rules.drop(long.index)):
        rows.append(("all others", str(int(short["count"].sum())), "", number(short["sum"].sum(), 0)))
    header = (f"rule, on {device}", "jobs", "median job (minutes)", "together (minutes)")
    return markdown(header, rows) + f"\nTogether {minutes.sum() / 60:.1f} hours of jobs.\n"


def _defences_here(run: PublishedRun) -> list[str]:
    """Return how long defences would train on the machine of Table A1, where they were trained elsewhere."""
    if not run.has("tableA1"):
        return []
    rows = run.table("tableA1")
    defences = [f"robustness.{name}" for name in DEFENCES]
    times = [
        f"{row['label']} {number(row['total_seconds'] / 60, 0)} minutes"
        for name, row in rows.items()
        if name in defences
    ]
    return [
        f"At the epoch times of Table A1, training the networks of Table 3 takes on the two cores alone: {', '.join(times)}. "
        "Adversarial training takes more steps in that table.\n"
    ]
