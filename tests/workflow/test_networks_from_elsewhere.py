"""Networks of other libraries and of your own, and weights from elsewhere: which jobs there are, and what reruns them.

The jobs of the run here write empty results, since only what Snakemake compares matters.
"""

import shutil

import pytest
from snakemake_runs import DIGITS, copy_checkout, plan, snakemake, write_overlay

pytestmark = pytest.mark.pipeline

#: in place of the launcher of jobs: writes every output, images with the header that a finished run reads
LAUNCHER = """
import json
import sys
from pathlib import Path

HEADER = {"format": "lgg-images-1", "shape": [1, 1, 1, 3], "classes": ["a"], "notes": [], "sha256": ""}
text = json.dumps({"__metadata__": {"lgg": json.dumps(HEADER)}}).encode()
writing = False
for word in sys.argv[1:]:
    if word.startswith("--"):
        writing = word.startswith("--out-")
    elif writing:
        Path(word).parent.mkdir(parents=True, exist_ok=True)
        Path(word).write_bytes(len(text).to_bytes(8, "little") + text)
"""
NET = """from torch import nn


class Net(nn.Module):
    def __init__(self, num_classes, width=1):
        super().__init__()
"""
CONFIG = """
run: own
seeds: [0, 1]
geometry: null
corruptions: null
timing: null
embedding: null
distillation:
  teacher: {architecture: {name: torchvision, model: resnet18}, weights: nets/teacher.pt}
  student: {architecture: {name: other, class: "nets/own.py:Net"}}
  methods: {gkd: {layers: [{teacher: layer1, student: a}]}, gkd_inter: {trained: "nets/inter{seed}.pt"}, rkd_d: null}
robustness:
  architecture: {name: timm, model: resnet18, pretrained: true}
  methods: {both: {trained: "nets/both{seed}.pt"}, adversarial: null}
"""
STUDENTS = {"train_student baseline": 2, "distill_student hinton": 2, "distill_student gkd": 2}
TRAINING_FIGURE = {"draw_distillation_training": 1}
TABLE1 = {"assemble_table1": 1}
TABLES3 = {"assemble_table3": 3, "draw_snr_curves": 1}


def evaluated(*methods):
    return {f"evaluate_student {name}": 2 for name in methods}


ALL = {
    "prepare_data": 1,
    "load_teacher": 1,
    "evaluate_teacher": 1,
    "load_student gkd_inter": 2,
    **STUDENTS,
    **evaluated("baseline", "hinton", "gkd", "gkd_inter"),
    **TRAINING_FIGURE,
    **TABLE1,
    # of Section 4.3; the baseline has one more network, for transferred attacks
    "download_weights": 1,
    "train_robust_network baseline": 3,
    "load_robust_network both": 2,
    "evaluate_robustness baseline": 2,
    "evaluate_robustness both": 2,
    "draw_robustness_training": 1,
    "draw_layer_variation": 1,
    **TABLES3,
    # the teacher, four methods, and two
    "check_networks": 7,
    "list_networks": 1,
}
TEACHER = {
    "load_teacher": 1,
    "evaluate_teacher": 1,
    "distill_student hinton": 2,
    "distill_student gkd": 2,
    **evaluated("baseline", "hinton", "gkd", "gkd_inter"),
    **TRAINING_FIGURE,
    **TABLE1,
}


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """Return a copy of the checkout with the files of CONFIG, and its options."""
    folder = copy_checkout(tmp_path_factory.mktemp("own"))
    (folder / "lgg/pipeline/__main__.py").write_text(LAUNCHER, "utf-8")
    (folder / "nets").mkdir()
    for name in ("teacher", "inter0", "inter1", "both0", "both1"):
        (folder / f"nets/{name}.pt").write_bytes(b"PK" + name.encode())
    (folder / "nets/own.py").write_text(NET, "utf-8")
    (folder / "own.yaml").write_text(CONFIG, "utf-8")
    return folder


@pytest.fixture(scope="module")
def done(started):
    """Return the same folder after a run."""
    assert plan(started, configs=(DIGITS, "own.yaml")) == ALL
    finished = snakemake(started, "--cores", "2", configs=(DIGITS, "own.yaml"))
    assert (started / "results/own/tables/table1.md").exists(), finished.stdout
    return started


#: what changes: an overlay, files with their new content, or both; and the jobs that run again, apart from the list of
#: networks. Changes of two sections touch different jobs, so they share a dry run
CHANGES = {
    "bytes of weights": (
        "{}",
        {"nets/teacher.pt": b"PK others", "nets/both1.pt": b"PK others"},
        TEACHER | TABLES3 | {"load_robust_network both": 1, "evaluate_robustness both": 1, "check_networks": 2},
    ),
    "layers": (
        "{distillation: {methods: {gkd: {layers: [{teacher: layer2, student: a}]}}}, "
        "robustness: {architecture: {layers: [layer1]}}}",
        {},
        {"distill_student gkd": 2, "train_robust_network baseline": 3, "load_robust_network both": 2}
        | evaluated("gkd")
        | {"evaluate_robustness baseline": 2, "evaluate_robustness both": 2, "draw_robustness_training": 1}
        | {"draw_layer_variation": 1, "check_networks": 3}
        | TRAINING_FIGURE
        | TABLE1
        | TABLES3,
    ),
    "code of the student": (
        "{}",
        {"nets/own.py": NET.replace("width=1", "width=2").encode()},
        STUDENTS
        | {"load_student gkd_inter": 2, "check_networks": 4}
        | evaluated("baseline", "hinton", "gkd", "gkd_inter")
        | TRAINING_FIGURE
        | TABLE1,
    ),
    "trained here after all": (
        "distillation: {teacher: {fine_tune: true}, methods: {gkd_inter: {trained: null, layers: [a]}}}",
        {},
        {job: count for job, count in TEACHER.items() if job != "load_teacher"}
        | {"train_teacher": 1, "distill_student gkd_inter": 2, "check_networks": 2},
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_a_network_reruns_what_it_touches(done, tmp_path, change):
    overlay, files, expected = CHANGES[change]
    before = {name: (done / name).read_bytes() for name in files}
    try:
        for name, content in files.items():
            (done / name).write_bytes(content)
        assert plan(done, configs=(DIGITS, "own.yaml", write_overlay(tmp_path, overlay))) == expected | {
            "list_networks": 1
        }
    finally:
        for name, content in before.items():
            (done / name).write_bytes(content)


def test_names_times_and_remarks_rerun_nothing(done, tmp_path):
    (done / "nets/own.py").write_text(f"# a remark\n{NET}", "utf-8")
    shutil.copy(done / "nets/teacher.pt", done / "moved.pt")
    for path in (done / "nets").iterdir():
        path.touch()
    moved = write_overlay(tmp_path, "distillation: {teacher: {weights: moved.pt}}")
    assert plan(done, configs=(DIGITS, "own.yaml", moved)) == {}
    (done / "nets/own.py").write_text(NET, "utf-8")


def test_where_all_rows_were_trained_elsewhere_nothing_is_trained(started, tmp_path):
    rows = "{trained: 'nets/inter{seed}.pt'}"
    overlay = f"{{robustness: null, distillation: {{methods: {{baseline: {rows}, hinton: {rows}, gkd: {rows}}}}}}}"
    planned = plan(started, configs=(DIGITS, "own.yaml", write_overlay(tmp_path, f"{{run: elsewhere, {overlay[1:]}")))
    assert not any(job.startswith(("train_", "distill_", "draw_distillation_training")) for job in planned)
    assert planned["assemble_table1"] == 1
    assert sum(count for job, count in planned.items() if job.startswith("load_student ")) == 8


def test_a_missing_file_is_refused_with_all_others_before_anything_runs(started, tmp_path):
    overlay = "distillation: {teacher: {weights: none.pt}, methods: {gkd_inter: {trained: 'none{seed}.pt'}}}"
    done = snakemake(started, "-n", configs=(DIGITS, "own.yaml", write_overlay(tmp_path, overlay)))
    assert done.returncode != 0
    assert "distillation.teacher.weights: there is no file" in done.stdout
    assert "none0.pt" in done.stdout and "none1.pt" in done.stdout
