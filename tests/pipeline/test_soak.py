"""The soak in its short form; `python tests/pipeline/soak.py` is the long one."""

import random

import pytest
import soak
from snakemake_runs import DIGITS, copy_checkout, write_overlay

pytestmark = pytest.mark.pipeline


def test_a_run_killed_again_and_again_ends_in_the_bits_of_a_quiet_one(finished, tmp_path):
    configs = (DIGITS, write_overlay(tmp_path, soak.OFTEN))
    figures = soak.disturb(copy_checkout(tmp_path / "disturbed"), configs, kills=6, cores=2, chance=random.Random(1))
    assert sum(figures["kills"].values()) == 6
    quiet, disturbed = soak.results(finished), soak.results(tmp_path / "disturbed")
    assert len(quiet) > 100
    assert soak.differences(quiet, disturbed) == []


def test_the_comparison_sees_a_changed_bit_and_a_missing_file(finished):
    quiet = soak.results(finished)
    name = next(name for name in quiet if name.endswith("model.safetensors"))
    flipped = quiet | {name: quiet[name][:-1] + bytes([quiet[name][-1] ^ 1])}
    assert soak.differences(quiet, flipped) == [name]
    assert soak.differences(quiet, {key: value for key, value in quiet.items() if key != name}) == [name]
