import os
from dataclasses import fields

import pytest

from lgg.errors import LggError
from lgg.pipeline.environment import Environment

NAMES = {field.name: f"LGG_{field.name.upper()}" for field in fields(Environment)}
FULL = Environment(
    snakemake=12,
    terminal="/dev/pts/3",
    gpus={"0": "gpu-aa"},
    jobs_per_gpu=2,
    captured_steps=True,
    checkpoints={"minutes": None, "epochs": 3},
    rows={"geometry": {"recipe": {}, "weights": ["a.pt"]}},
)


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    for name in NAMES.values():
        monkeypatch.setenv(name, "")  # restored after the test, whatever it exports


def test_what_is_exported_is_read():
    FULL.export()
    assert Environment.read() == FULL
    assert all(os.environ[name] for name in NAMES.values())


def test_values_that_are_not_exported_are_not_inherited():
    FULL.export()
    Environment().export()
    assert Environment.read() == Environment()
    assert "LGG_TERMINAL" not in os.environ and "LGG_GPUS" not in os.environ


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("gpus", "0,1"),
        ("gpus", "[]"),
        ("jobs_per_gpu", "true"),
        ("snakemake", '"12"'),
        ("captured_steps", "1"),
        ("checkpoints", "10"),
    ],
)
def test_an_invalid_value_is_refused_with_its_variable(name, text, monkeypatch):
    monkeypatch.setenv(NAMES[name], text)
    with pytest.raises(LggError, match=NAMES[name]) as refused:
        Environment.read()
    assert repr(text) in str(refused.value)
