"""A minimal finished run."""

import pytest
from configurations import configured
from publishing.published_run import Published

from lgg.files import write_json, write_text

# the files that single jobs write, in their formats
HISTORIES = {
    "distillation/teacher": "epoch,loss,task\n1,0.5,0.5\n2,0.25,0.25\n",
    "distillation/baseline/seed2": "epoch,loss,task\n1,0.75,0.75\n",
    "distillation/gkd/seed2": "epoch,loss,task,distillation,train_error\n1,1e-05,0.1,,50.0\n",
    "distillation/gkd/seed1": "epoch,loss,task,distillation,train_error\n1,0.30000000000000004,0.1,0.2,\n",
    "robustness/both/seed1": "epoch,loss,regularizer\n1,2.5,1.5\n",
    "robustness/both/seed2": "epoch,loss,regularizer\n1,2.5,1.5\n",
    "robustness/baseline/seed1000": "epoch,loss\n1,2.5\n",
    "embedding/figureA1/label_variation": "epoch,embedding\n1,0.125\n",
    "geometry/reference_network": "epoch,loss\n1,3.5\n",
}
EVALUATED = ("distillation/gkd/seed1", "distillation/gkd/seed2", "robustness/both/seed1", "robustness/both/seed2")
MODELS = (
    "distillation/teacher", "distillation/baseline/seed2", "distillation/gkd/seed1", "distillation/gkd/seed2",
    "robustness/both/seed1", "robustness/both/seed2", "robustness/baseline/seed1000",
)  # fmt: skip
AS_THEY_ARE = (
    "tables/table1.csv", "tables/table1.md", "figures/table1.png", "figures/figureA1.png", "figures/figureA1.pdf",
    "distillation/teacher/predictions.safetensors", "embedding/figureA1/errors.csv", "geometry/geometry.json",
    "timing/times.csv",
)  # fmt: skip
LEFT_OUT = (
    "tables/table1.tex", "tables/table1.html", "tables/job_times.md", "figures/job_times.png", "figures/table1.pdf",
    "figures/graph_depths.gif", "report.html", "made.json", "data/train.safetensors",
)  # fmt: skip
JOB_TIMES = (
    "rule,job,seconds,start_up,work,writing,cpu_seconds,max_rss_mb\n"
    "distill_student,gkd_seed1,7.5,1.25,6.0,0.25,6.5,812.5\n"
    "train_teacher,,3.5,,,,,\n"
)


@pytest.fixture
def published(tmp_path):
    """Return a folder in which nothing is published yet."""
    return Published(tmp_path / "results/published")


@pytest.fixture
def run(tmp_path):
    """Return the folder of a finished run, whose files contain their names."""
    folder = tmp_path / "results/mine"
    only = dict.fromkeys(("hinton", "rkd_d", "gkd_inter"))
    settings = configured({"run": "mine", "seeds": [2, 1], "timing": None, "distillation": {"methods": only}})
    for name in (*AS_THEY_ARE, *LEFT_OUT, *(f"{network}/model.safetensors" for network in MODELS)):
        write_text(folder / name, name)
    for network, history in HISTORIES.items():
        write_text(folder / network / "history.csv", history)
        write_json(folder / network / "metrics.json", {"recipe": {"seed": 3}, "seconds": 0.1 + 0.2, "of": network})
    for network in EVALUATED:
        write_text(folder / network / "evaluation.csv", 'test,level,value\nclean,,12.5\n"a, b",0.1,99.0\n')
    write_text(folder / "tables/job_times.csv", JOB_TIMES)
    write_json(folder / "provenance.json", {"configuration": settings.model_dump(mode="json"), **PROVENANCE})
    return folder


PROVENANCE = {"git": {"commit": "abc"}, "data": {}, "written": "2026-01-01"}
