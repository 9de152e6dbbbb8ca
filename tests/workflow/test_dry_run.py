import re
import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest
from configurations import OVERLAYS, ROOT, configured, read
from expected_jobs import every_job
from paper_length import steps_of
from snakemake_runs import announced_jobs, environment, plan, planned_jobs, snakemake, write_overlay

pytestmark = pytest.mark.pipeline

ONLY_THE_BASELINE = """
distillation:
  teacher: null
  methods: {hinton: null, rkd_d: null, gkd: null, gkd_inter: null}
"""


@pytest.mark.parametrize("overlay", [None, *OVERLAYS])
def test_a_first_run_has_the_jobs_that_the_configuration_asks_for(checkout, overlay):
    configs = [f"config/{overlay}"] if overlay else []
    settings = configured(*[read(name) for name in [overlay] if name])
    assert plan(checkout, configs=configs) == every_job(settings)
    assert not (checkout / "results").exists()


@pytest.mark.parametrize(
    "overlay",
    [
        pytest.param("geometry: null", id="no geometry"),
        pytest.param("distillation: null", id="no distillation"),
        pytest.param("{embedding: {figure: null}, robustness: null}", id="no figure A1 and no robustness"),
        pytest.param("{embedding: null, robustness: null, corruptions: {keep: true}}", id="no corruptions"),
        pytest.param("corruptions: null", id="nothing corrupted"),
        pytest.param(ONLY_THE_BASELINE, id="no teacher"),
    ],
)
def test_a_section_at_null_takes_its_jobs_away(checkout, tmp_path, overlay):
    assert plan(checkout, configs=[write_overlay(tmp_path, overlay)]) == every_job(configured(overlay))


def test_null_on_the_command_line_is_null(checkout):
    assert plan(checkout, "--config", "geometry=null", configs=[]) == every_job(configured("geometry: null"))


# --- the paper's length, in steps ---------------------------------------------------------------------------------

PAPER_LENGTH = ("config/cifar10.yaml", "config/paper-length.yaml")
TABLE1 = {"train_teacher": 1, "train_student_0_1_2 baseline": 1, "distill_student_0_1_2 rkd_d": 1}
TABLE1 |= {"distill_student_0_1_2 gkd": 1}
TABLE2 = {"train_embedding_0_1 cross_entropy": 1, "train_embedding_0_1 label_variation": 1}
TABLE3 = {f"train_robust_network_0_1_2 {name}": 1 for name in ("baseline", "parseval", "regularizer", "both")}
TABLE3 |= {"train_robust_network baseline": 1}  # for transferred attacks
PGD = {"train_robust_network_0_1_2 adversarial": 1}


@pytest.mark.parametrize(("step", "trainings"), [(1, TABLE1 | TABLE3), (3, TABLE1 | TABLE3 | TABLE2 | PGD)])
def test_a_step_of_the_papers_length_trains_the_seeds_of_a_method_together(checkout, step, trainings):
    settings = configured(*(read(Path(name).name) for name in PAPER_LENGTH))
    leaving_out = steps_of(settings)[step].leaving_out
    jobs = plan(checkout, *(["--config", *leaving_out] if leaving_out else []), configs=PAPER_LENGTH)
    assert {job: count for job, count in jobs.items() if job.startswith(("train_", "distill_"))} == trainings
    assert "download_corruptions" not in jobs


# --- mistakes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overlay", "message"),
    [
        pytest.param(
            "distillation: {methods: {gkd: {wieght: 3}}}",
            "distillation.methods.gkd.wieght: unknown key; did you mean 'weight'?",
            id="misspelt key",
        ),
        pytest.param("seeds: [0, 0]", "seeds: 0 is listed twice", id="a seed twice"),
        pytest.param("run: ../elsewhere", "run: '../elsewhere' is not allowed", id="run outside results"),
        pytest.param(
            "distillation: {teacher: null}",
            "methods.hinton: it learns from a teacher, but `teacher` is null",
            id="methods without their teacher",
        ),
        pytest.param(
            "corruptions: {names: [gausian_noise]}",
            "corruptions.names[0]: 'gausian_noise' is not a valid choice; did you mean 'gaussian_noise'?",
            id="misspelt corruption",
        ),
        pytest.param(
            "data: {source: arrays, path: no/such/folder}", "data.path: there is no folder", id="data elsewhere"
        ),
    ],
)
def test_a_mistake_ends_with_one_message_before_anything_runs(checkout, tmp_path, overlay, message):
    done = snakemake(checkout, "--cores", "1", configs=[write_overlay(tmp_path, overlay)])
    assert done.returncode != 0
    assert done.stdout.count(message) == 1
    assert done.stdout.count("Nothing was run.") == 1
    assert "Traceback" not in done.stdout
    assert "Job stats" not in done.stdout
    assert not (checkout / "results").exists()


# --- kinds of jobs ------------------------------------------------------------------------------------------------

RULE = re.compile(r"( *)(?:rule|use rule)\b.*:")
RULES = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "workflow" / "rules").glob("*.smk")}


def rule_blocks(text):
    """Return the rules of a file, each as its lines without empty ones."""
    blocks, depth = [], None
    for line in filter(str.strip, text.splitlines()):
        if depth is not None and len(line) - len(line.lstrip()) > depth:
            blocks[-1].append(line)
        elif found := RULE.fullmatch(line):
            blocks.append([line])
            depth = len(found[1])
        else:
            depth = None
    return blocks


def test_rules_are_short_and_of_three_kinds():
    blocks = [block for text in RULES.values() for block in rule_blocks(text)]
    assert len(blocks) > 30
    assert median(map(len, blocks)) <= 14
    kinds = re.findall(r"^ *use rule (\w+) as \w+ with:$", "\n".join(RULES.values()), flags=re.MULTILINE)
    assert set(kinds) == {"light", "training", "evaluation"}
    # but for the kinds, and networks by method and seed, whose rules have names that are worked out
    assert len(blocks) - len(kinds) == 2


def test_light_jobs_run_where_snakemake_runs():
    """Snakemake does not inherit it from the kind."""
    for name, text in RULES.items():
        for block in rule_blocks(text) if name != "kinds.smk" else ():
            is_light = block[0].lstrip().startswith("use rule light as ")
            assert ("localrule: True" in map(str.strip, block)) == is_light, block[0]


def test_all_jobs_have_the_one_command_and_logs_of_their_own(checkout):
    overrides = ("--config", "seeds=[0,1,2]", "resources={networks_per_job: 2}")
    done = snakemake(checkout, "--dry-run", "--printshellcmds", *overrides, configs=[])
    jobs = announced_jobs(done.stdout)
    command = r"python -m lgg\.pipeline \w+ --recipe .+ --code \S+ --threads \d+ --gpus \d+ --.+ > \S+ 2>&1"
    commands = re.findall(rf"^Shell command: {command}$", done.stdout, flags=re.MULTILINE)
    assert len(commands) == len(jobs) > 50
    for kind in ("log", "benchmark"):
        paths = [Path(job.files(kind)[0]) for job in jobs]
        assert len(set(paths)) == len(jobs)
        # results/RUN/logs/RULE.log, or in a folder RULE where it has several jobs
        assert all(job.rule.startswith(path.parts[3].split(".")[0]) for job, path in zip(jobs, paths, strict=True))


# --- what jobs ask for --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("device", "gpus"), [("cuda", "gpu=1"), ("cpu", "gpu=0")])
def test_training_and_evaluation_ask_for_a_gpu_where_there_is_one(checkout, device, gpus):
    jobs = planned_jobs(
        checkout, "--resources", "gpu=4", "--config", f"resources={{device: {device}}}", configs=["config/cifar10.yaml"]
    )
    asked = {job.rule: job.fields["resources"].split(", ") for job in jobs}
    with_network = {rule for rule in asked if rule.startswith(("train_", "distill_"))}
    with_network |= {rule for rule in asked if rule.startswith("evaluate_")} - {"evaluate_geometry"}
    # nothing else runs while times are measured
    assert f"gpu={4 if device == 'cuda' else 0}" in asked.pop("measure_times")
    for rule, resources in asked.items():
        assert (gpus if rule in with_network else "gpu=0") in resources, rule


def test_reading_the_snakefile_imports_neither_torch_nor_torchvision(checkout, tmp_path):
    for package in ("torch", "torchvision"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("raise ImportError('imported while reading')", encoding="utf-8")
    variables = {"PYTHONPATH": str(tmp_path)}
    assert subprocess.run([sys.executable, "-c", "import torch"], env=environment(**variables)).returncode != 0
    assert plan(checkout, configs=[], variables=variables) == every_job(configured())


# --- attacks from another network ---------------------------------------------------------------------------------


def test_all_networks_are_attacked_by_one_more_baseline(checkout):
    jobs = planned_jobs(checkout, "--config", "seeds=[5,3]", "robustness={tests: {transfer_seed: 7}}", configs=[])
    found = {}
    for job in jobs:
        if job.rule == "evaluate_robustness":
            own = Path(job.files("output")[0]).parts[-3:-1]
            networks = {Path(path).parts[-3:-1] for path in job.files("input") if path.endswith("model.safetensors")}
            found[own] = networks - {own}
    methods = configured().robustness.active_methods
    assert found == {(method, seed): {("baseline", "seed7")} for method in methods for seed in ("seed5", "seed3")}
