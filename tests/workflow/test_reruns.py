import ast
import os
import shutil
import subprocess
from collections import Counter

import pytest
from configurations import configured
from expected_jobs import (
    EMBEDDING_ERRORS,
    EMBEDDINGS_TRAINING,
    EXAMPLES,
    FIGURE1,
    FIGURE2,
    FIGURE_A1,
    LAYERS,
    ROBUSTNESS_ERRORS,
    SNR_CURVES,
    STUDENTS_TRAINING,
    TABLE1,
    TABLE2,
    TABLE_A1,
    TABLES3,
    TEACHER,
    TIMES,
    TRAINING_FIGURES,
    corruption_evaluations,
    embedding_evaluations,
    evaluations,
    every_job,
    planes,
    retrained,
    retrained_defences,
    retrained_embeddings,
    retrained_geometry,
    robustness_evaluations,
)
from snakemake_runs import DIGITS, GIT, ROOT, announced_jobs, plan, snakemake, write_overlay

pytestmark = pytest.mark.pipeline

SETTINGS = configured((ROOT / DIGITS).read_text(encoding="utf-8"))
METHODS = SETTINGS.distillation.active_methods
STUDENTS = retrained(SETTINGS, *METHODS)
DISTILLED = retrained(SETTINGS, *(name for name, method in METHODS.items() if method.loss != "none"))
GKD = retrained(SETTINGS, *(name for name, method in METHODS.items() if method.loss == "graph_distillation"))
RKD_D = retrained(SETTINGS, "rkd_d")
HINTON = retrained(SETTINGS, "hinton")
DISTILLATION = TEACHER | STUDENTS
GEOMETRY = retrained_geometry()
EVALUATIONS = {"evaluate_teacher": 1} | evaluations(SETTINGS, *METHODS) | TABLE1
EMBEDDINGS = tuple(SETTINGS.embedding.active_methods)
DEFENCES = tuple(SETTINGS.robustness.active_methods)
DEFENDED = retrained_defences(SETTINGS, *DEFENCES)
PLANES = planes(SETTINGS)
EMBEDDED = retrained_embeddings(SETTINGS, *EMBEDDINGS) | PLANES
JUDGED = embedding_evaluations(SETTINGS, *EMBEDDINGS)
ATTACKED = robustness_evaluations(SETTINGS, *DEFENCES)
CORRUPTED = JUDGED | corruption_evaluations(SETTINGS, *DEFENCES) | EXAMPLES
EVERYTHING = every_job(SETTINGS)


# --- configuration ------------------------------------------------------------------------------------------------


NEW_SEED = {
    "train_student baseline": 1,
    **{f"distill_student {name}": 1 for name in METHODS if name != "baseline"},
    **{f"evaluate_student {name}": 1 for name in METHODS},
    **{f"train_embedding {name}": 1 for name in EMBEDDINGS},
    **{f"evaluate_embedding {name}": 1 for name in EMBEDDINGS},
    **{f"train_robust_network {name}": 1 for name in DEFENCES},
    **{f"evaluate_robustness {name}": 1 for name in DEFENCES},
    **{f"evaluate_corruptions {name}": 1 for name in SETTINGS.robustness.table_methods},
    **TABLE1,
    **TABLE2,
    **TABLES3,
    **EMBEDDING_ERRORS,
    **ROBUSTNESS_ERRORS,
    **SNR_CURVES,
    **TRAINING_FIGURES,
}


def in_one_job(*seeds):
    """Return the jobs where the networks of `seeds`, one or more of which are missing, are trained in one job per method."""
    jobs, group = {}, "_".join(map(str, seeds))
    for job, count in NEW_SEED.items():
        rule, _, method = job.partition(" ")
        if rule.startswith(("train_", "distill_")):
            jobs[f"{rule}_{group} {method}"] = count
        else:
            jobs[job] = count * len(seeds) if rule.startswith("evaluate_") else count
    return jobs


# changes of different sections touch different jobs, so they share a dry run
CONFIGURATION_CHANGES = {
    # methods
    "{distillation: {methods: {gkd: {weight: 5}}}, geometry: {k: 3}, "
    "embedding: {methods: {label_variation: {weight: 2}}}, "
    "robustness: {methods: {both: {defences: [{name: parseval}, {name: regularizer, weight: 1}]}}}}": (
        retrained(SETTINGS, "gkd")
        | FIGURE2
        | retrained_embeddings(SETTINGS, "label_variation")
        | retrained_defences(SETTINGS, "both")
    ),
    "{distillation: {methods: {gkd_inter: {edges: intra}}}, geometry: {draws: 6}, "
    "embedding: {figure: {epochs: [2]}}, robustness: {methods: {adversarial: {defences: [{name: adversarial}]}}}}": (
        retrained(SETTINGS, "gkd_inter") | FIGURE2 | PLANES | retrained_defences(SETTINGS, "adversarial")
    ),
    "{distillation: {methods: {hinton: {temperature: 2}}}, geometry: {training: {batch_size: 50}}, "
    "embedding: {methods: {label_variation: {classifier: svm}}}, robustness: {tests: {noise_std: 0.2}}}": (
        HINTON | GEOMETRY | TABLE2 | EMBEDDING_ERRORS | ATTACKED
    ),
    "{distillation: {methods: {gkd_k: {label: GKD 5, loss: graph_distillation, k: 5}}}, "
    "embedding: {dimensions: 3}, robustness: {methods: {baseline: {defences: [{name: parseval}]}}}}": (
        {"distill_student gkd_k": 2}
        | evaluations(SETTINGS, "gkd_k")
        | TABLE1
        # cross-entropy has one logit per class, and the plane has two dimensions
        | {"train_embedding label_variation": 2}
        | STUDENTS_TRAINING
        | EMBEDDINGS_TRAINING
        | TIMES
        | embedding_evaluations(SETTINGS, "label_variation")
        | retrained_defences(SETTINGS, "baseline")
    ),
    # rows
    "{distillation: {methods: {gkd: {label: Ours}}}, embedding: {methods: {label_variation: {label: Ours}}}, "
    "robustness: {methods: {both: {label: Ours}}}}": (
        TABLE1 | TABLE2 | EMBEDDING_ERRORS | TABLES3 | SNR_CURVES | ROBUSTNESS_ERRORS | TABLE_A1 | TRAINING_FIGURES
    ),
    "{distillation: {methods: {gkd_inter: null}}, embedding: {methods: {label_variation: null}, figure: null}, "
    "robustness: {methods: {both: null}}}": (
        TABLE1 | TABLE2 | EMBEDDING_ERRORS | TABLES3 | SNR_CURVES | ROBUSTNESS_ERRORS | TIMES | TRAINING_FIGURES
    ),
    # images crafted on one more baseline of Section 4.3 are shown to all networks
    "{distillation: {baseline: hinton}, embedding: {baseline: label_variation}, robustness: {baseline: both}}": (
        TABLE1 | TABLE2 | {"train_robust_network both": 1} | ATTACKED | TIMES | LAYERS
    ),
    # corruptions
    "{corruptions: {seed: 1}, distillation: {methods: {rkd_d: {layers: [pool]}}}, geometry: {draw_seed: 1}}": (
        CORRUPTED | RKD_D | FIGURE2
    ),
    "corruptions: {keep: true}": CORRUPTED | {"keep_corruptions": 1},
    # seeds
    "seeds: [0, 1, 2]": NEW_SEED,
    "seeds: [1, 0]": {},
    "{seeds: [5], distillation: {seeds: [0]}, embedding: {seeds: [0, 1, 2]}, robustness: {seeds: [1, 0]}}": (
        {job: count for job, count in NEW_SEED.items() if job.split()[0].endswith("_embedding")}
        | (TABLE1 | STUDENTS_TRAINING | TABLE2 | EMBEDDING_ERRORS | EMBEDDINGS_TRAINING)
    ),
    # networks and training
    "{distillation: {training: {schedule: [{epochs: 2, learning_rate: 0.05}]}}, "
    "robustness: {architecture: {base_width: 5}}}": DISTILLATION | DEFENDED | TIMES,
    "{distillation: {training: {optimizer: {momentum: 0.8}}}, embedding: {training: {optimizer: {momentum: 0.6}}}}": (
        DISTILLATION | EMBEDDED | TIMES
    ),
    "{distillation: {teacher: {seed: 7}}, geometry: {seed: 1}, embedding: {figure: {seed: 1}}}": (
        TEACHER | DISTILLED | evaluations(SETTINGS, *METHODS) | GEOMETRY | PLANES
    ),
    "{distillation: {student: {architecture: {width: 0.75}}}, geometry: {architecture: {base_width: 9}}}": (
        STUDENTS | FIGURE1 | GEOMETRY | TIMES
    ),
    # networks side by side in one job: finished groups stay, and those of new seeds are trained
    "{resources: {networks_per_job: 2}, seeds: [0, 1, 2, 3]}": in_one_job(2, 3),
    # ... with all networks of their group
    "{resources: {networks_per_job: 3}, seeds: [0, 1, 2]}": in_one_job(0, 1, 2),
    # data
    "data: {seed: 1}": EVERYTHING,
    # both splits come from one job
    "data: {test_images: 110}": EVERYTHING,
    "run: other": EVERYTHING,
    # settings that no result depends on
    "resources: {device: cuda, train: {threads: 2, mem_mb: 1, runtime: 1}, light: {threads: 2, mem_mb: 1, runtime: 1}, "
    "networks_per_job: 2}": {},
    "resources: {evaluate: {threads: 2, mem_mb: 1, runtime: 1}, checkpoints: {minutes: 1, epochs: 2}, "
    "captured_steps: true, networks_per_job: 9}": {},
    # the same values, written differently
    "{data: {class_names: null}, distillation: {training: {optimizer: {weight_decay: 5e-4, nesterov: false}}}, "
    "embedding: {methods: {label_variation: {rbf_scale: 25e-2}}}, robustness: {tests: {seed: 0, noise_std: 0.1}}}": {},
    # rows of Table 1 stay in their order
    "distillation: {methods: {gkd: {weight: 25, power: 1, k: null}}}": {},
}


@pytest.mark.parametrize(("overlay", "expected"), CONFIGURATION_CHANGES.items(), ids=CONFIGURATION_CHANGES)
def test_a_change_of_the_configuration_reruns_what_it_touches(finished, tmp_path, overlay, expected):
    assert plan(finished, configs=(DIGITS, write_overlay(tmp_path, overlay))) == expected


def test_without_a_change_nothing_runs(finished):
    assert plan(finished) == {}


def test_networks_that_were_trained_in_one_job_are_those_of_several_and_stay(finished, copy_of_finished, tmp_path):
    models = [f"results/{SETTINGS.run}/distillation/gkd/seed{seed}/model.safetensors" for seed in SETTINGS.seeds]
    for model in models:
        (copy_of_finished / model).unlink()
    together = (DIGITS, write_overlay(tmp_path, "resources: {networks_per_job: 2}"))
    done = snakemake(copy_of_finished, *models, "--cores", "1", configs=together)
    assert done.returncode == 0, done.stdout
    assert [job.name for job in announced_jobs(done.stdout)] == ["distill_student_0_1 gkd"]
    for model in models:
        assert (copy_of_finished / model).read_bytes() == (finished / model).read_bytes()
    for configs in ((DIGITS,), together):
        planned = plan(copy_of_finished, configs=configs)
        assert set(planned) <= {*evaluations(SETTINGS, "gkd"), *TABLE1, *STUDENTS_TRAINING}  # of newer files


def test_a_copied_run_of_which_snakemake_remembers_nothing_reruns_what_a_change_touches(copy_of_finished, tmp_path):
    """Another name, another folder and no `.snakemake`, all at once; copied in any order, without modification times."""
    results = copy_of_finished / "results"
    shutil.rmtree(copy_of_finished / ".snakemake")
    shutil.copytree(results / SETTINGS.run, results / "renamed", copy_function=shutil.copyfile)
    overlay = write_overlay(tmp_path, "{run: renamed, distillation: {methods: {gkd: {weight: 5}}}}")
    done = snakemake(copy_of_finished, "--dry-run", configs=(DIGITS, overlay))
    assert "results/renamed was copied here, or .snakemake was removed" in done.stdout
    assert dict(Counter(job.name for job in announced_jobs(done.stdout))) == retrained(SETTINGS, "gkd")


@pytest.mark.system
@pytest.mark.skipif(GIT is None, reason="no git here")
def test_a_checkout_of_another_branch_and_back_reruns_nothing(copy_of_finished):
    def git(*arguments):
        identity = ("-c", "user.name=Tests", "-c", "user.email=tests@localhost", "-c", "commit.gpgsign=false")
        subprocess.run(["git", *identity, *arguments], cwd=copy_of_finished, check=True, capture_output=True)

    git("checkout", "-b", "other")
    loss = copy_of_finished / "lgg" / "losses" / "relational.py"
    loss.write_text(loss.read_text(encoding="utf-8") + '\nprint(end="")\n', encoding="utf-8")
    git("commit", "--all", "--message", "another loss")
    there = plan(copy_of_finished)
    git("checkout", "-")
    assert plan(copy_of_finished) == {}
    git("checkout", "other")
    assert plan(copy_of_finished) == there == RKD_D


@pytest.mark.parametrize("years", [-20, 20])
def test_a_clock_that_jumped_reruns_nothing(copy_of_finished, years):
    for path in (copy_of_finished / "results").rglob("*"):
        moved = path.stat().st_mtime + years * 365 * 86400
        os.utime(path, (moved, moved))
    assert plan(copy_of_finished) == {}


# --- code ---------------------------------------------------------------------------------------------------------


CODE_CHANGES = {
    "graph.py": (
        DISTILLED
        | FIGURE2
        | retrained_embeddings(SETTINGS, "label_variation")
        | PLANES
        | JUDGED
        | DEFENDED
        | ATTACKED
        | TIMES
    ),
    "attacks.py": retrained_defences(SETTINGS, "adversarial") | ATTACKED,
    "losses/relational.py": RKD_D,
    "losses/graph_distillation.py": GKD | TIMES,
    "losses/hinton.py": HINTON,
    "losses/_pairs.py": RKD_D | GKD | TIMES,
    "losses/label_variation.py": retrained_embeddings(SETTINGS, "label_variation")
    | {"train_plane_embedding label_variation": 1, "draw_figureA1": 1}
    | TIMES,
    "models/preact_resnet.py": FIGURE1 | GEOMETRY | EMBEDDED | DEFENDED | TIMES,
    "models/wide_resnet.py": DISTILLATION | TIMES,
    "models/base.py": DISTILLATION | FIGURE1 | GEOMETRY | EMBEDDED | DEFENDED | TIMES,
    "data/sources.py": EVERYTHING,
    "data/photo_patches.py": EVERYTHING,
    "data/batches.py": DISTILLATION | GEOMETRY | EMBEDDED | DEFENDED | TIMES,
    "data/corruptions/blur.py": CORRUPTED,
    "training/fit.py": DISTILLATION | GEOMETRY | EMBEDDED | DEFENDED | TIMES,
    "training/objectives.py": DISTILLATION | GEOMETRY | EMBEDDED | DEFENDED | TIMES,
    "training/timing.py": TIMES,
    "evaluation/accuracy.py": EVALUATIONS | ATTACKED | corruption_evaluations(SETTINGS, *DEFENCES),
    "evaluation/size.py": EVALUATIONS | FIGURE1,
    "evaluation/geometry.py": FIGURE2 | DEFENDED | TIMES,
    "reporting/tables.py": TABLE1 | TABLE2 | TABLES3 | TABLE_A1,
    "reporting/figures.py": FIGURE1
    | {"draw_figure2": 1, "draw_graph_depths": 1}
    | FIGURE_A1
    | EXAMPLES
    | EMBEDDING_ERRORS
    | ROBUSTNESS_ERRORS
    | SNR_CURVES
    | TRAINING_FIGURES
    | TABLE1
    | TABLE_A1,
    "pipeline/stages/distill_student.py": DISTILLED | TIMES,
    "pipeline/stages/networks.py": DISTILLATION | GEOMETRY | EMBEDDED | DEFENDED | TIMES,
    "files.py": EVERYTHING,
}
CODE_WITHOUT_RESULTS = tuple(
    f"pipeline/{name}.py"
    for name in ("__main__", "environment", "recipes", "digest", "provenance", "workflow", "metadata")
)


def append(path, text):
    assert path.is_file()
    with path.open("a", encoding="utf-8") as file:
        file.write(f"\n\n{text}\n")


@pytest.fixture(scope="module")
def shared_copy(finished, tmp_path_factory):
    """Return a copy of the finished run for tests that undo their changes; planning changes nothing."""
    return shutil.copytree(finished, tmp_path_factory.mktemp("shared") / "copy")


@pytest.mark.parametrize(("module", "expected"), CODE_CHANGES.items(), ids=CODE_CHANGES)
def test_a_change_of_code_reruns_what_it_touches(shared_copy, module, expected):
    path = shared_copy / "lgg" / module
    before = path.read_bytes()
    append(path, 'print(end="")  # runs wherever the module is imported')
    try:
        assert plan(shared_copy) == expected
    finally:
        path.write_bytes(before)


def test_code_that_no_result_depends_on_reruns_nothing(copy_of_finished):
    for module in CODE_WITHOUT_RESULTS:
        append(copy_of_finished / "lgg" / module, 'print(end="")')
    assert plan(copy_of_finished) == {}


def test_comments_and_docstrings_rerun_nothing(copy_of_finished):
    for path in (copy_of_finished / "lgg").rglob("*.py"):
        reword_docstrings(path)
        append(path, "# a remark")
    for path in (copy_of_finished / "Snakefile", *(copy_of_finished / "workflow").rglob("*.smk")):
        append(path, "# a remark")
    assert plan(copy_of_finished) == {}


def reword_docstrings(path):
    """Add a word to each docstring of a module, by position, so that everything else stays as it is."""
    lines = path.read_bytes().split(b"\n")
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for node in ast.walk(ast.parse(path.read_bytes())) if isinstance(node, documented)]
    docstrings = [node.body[0].value for node in nodes if ast.get_docstring(node) is not None]
    for docstring in sorted(docstrings, key=lambda text: (text.end_lineno, text.end_col_offset), reverse=True):
        line, quotes = docstring.end_lineno - 1, docstring.end_col_offset - 3
        assert lines[line][quotes : quotes + 3] == b'"""'
        lines[line] = lines[line][:quotes] + b" Indeed." + lines[line][quotes:]
    path.write_bytes(b"\n".join(lines))


def test_a_touched_file_with_the_same_content_reruns_nothing(copy_of_finished):
    for path in (copy_of_finished / "lgg").rglob("*.py"):
        path.touch()
    (copy_of_finished / "Snakefile").touch()
    (copy_of_finished / DIGITS).touch()
    assert plan(copy_of_finished) == {}


def test_a_lost_result_is_made_again_alone(copy_of_finished):
    (copy_of_finished / "results" / SETTINGS.run / "tables" / "table1.md").unlink()
    assert plan(copy_of_finished) == TABLE1
