"""Measures are declared once: everything in the package that names one gets it from `lgg.reporting.measures`."""

import ast
import math
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lgg
from lgg.data.corruption_names import NAMES as CORRUPTIONS
from lgg.reporting import measures
from lgg.reporting.measures import COLUMNS, MEASURES, Measure

PACKAGE = Path(lgg.__file__).parent
TESTS = {
    "fgsm_snr": 33.0,
    "noise_std": 0.1,
    "dropout_rate": 0.25,
    "weight_bits": 5,
    "pgd": {"steps": 20, "restarts": 1},
    "strong_pgd": {"steps": 50, "restarts": 3},
}
# "error" and "dropout" are words of the language; gaussian_noise is a corruption too, strong_pgd a key of the configuration
UNMISTAKABLE = {name for name in MEASURES if "_" in name} - set(CORRUPTIONS)
KEYS = {"strong_pgd"}


def test_every_measure_is_found_under_its_name():
    assert all(measure.name == name for name, measure in MEASURES.items())
    declared = {value.name for value in vars(measures).values() if isinstance(value, Measure)}
    assert declared == set(MEASURES)


def test_a_measure_knows_the_tables_that_show_it():
    for table, columns in COLUMNS.items():
        names = [column.name for column in columns]
        assert len(set(names)) == len(names)
        assert set(names) == {name for name, measure in MEASURES.items() if table in measure.tables}
    assert MEASURES["fgsm_normalized"].tables == ("table3", "table3_supplement", "robustness")
    assert all(measure.tables for measure in MEASURES.values())


def test_headings_have_the_constants_of_the_tests():
    filled = {
        table: [column.with_constants(TESTS).column for column in columns]
        for table, columns in COLUMNS.items()
        if table in ("table3", "robustness")
    }
    assert filled["table3"] == ["Clean error (%) ↓", "FGSM error, 33 dB (%) ↓", "Relative MCE ↓", "Plain MCE ↓"]
    assert filled["robustness"] == [
        "Clean (%) ↑",
        "FGSM, pixels, 33 dB (%) ↑",
        "FGSM, normalised inputs, 33 dB (%) ↑",
        "Gaussian noise, σ = 0.1 (%) ↑",
        "Dropout 0.25 (%) ↑",
        "Weights of 5 bits (%) ↑",
        "PGD, 20 steps (%) ↑",
    ]
    supplement = {column.name: column.with_constants(TESTS) for column in COLUMNS["table3_supplement"]}
    assert supplement["strong_pgd"].heading == "PGD, 50 × 3"
    assert supplement["without_gradient"].difference_column == "Images without a gradient (points) ↓"
    assert [column.column for column in COLUMNS["tableA1"]] == ["Epoch (s)", "÷ baseline"]


def test_a_heading_names_only_constants_that_the_measure_depends_on():
    for columns in COLUMNS.values():
        for column in columns:
            only = {key: value for key, value in TESTS.items() if key in column.constants}
            assert "{" not in column.with_constants(only).heading


@given(st.floats(0, 100))
def test_an_accuracy_is_the_rest_of_the_error_and_higher_is_better(error):
    measure = MEASURES["pgd"]
    accuracy = measure.as_accuracy()
    assert (measure.shown(error), measure.better) == (error, "lower")
    assert accuracy.shown(error) + error == pytest.approx(100)
    assert accuracy.better == "higher"
    assert (accuracy.name, accuracy.constants, accuracy.test) == (measure.name, measure.constants, measure.test)


@pytest.mark.parametrize("name", ["relative_mce", "deepfool", "gain"])
def test_only_errors_in_percent_have_an_accuracy(name):
    with pytest.raises(ValueError, match=f"{name} is not an error in percent"):
        MEASURES[name].as_accuracy()


def test_a_figure_of_the_paper_is_a_number_or_none():
    error = MEASURES["error"]
    assert error.paper_figure({"paper": {"error": 7}}) == 7.0
    assert math.isnan(error.paper_figure({"paper": {"error": None}}))
    assert math.isnan(error.paper_figure({"paper": {}}))


def test_tables_have_a_place_for_these_figures_of_the_paper():
    published = {table: [measure.name for measure in measures.published_in(table)] for table in COLUMNS}
    assert published["table1"] == ["error", "gain"]
    assert published["tableA1"] == ["epoch_seconds"]
    assert set(published["table3"]) >= {"clean_error", "fgsm_normalized", "relative_mce"}
    assert published["robustness"] == [column.name for column in COLUMNS["robustness"]]


def test_planning_can_ask_without_any_other_package():
    program = (
        "import sys\n"
        "before = set(sys.modules)\n"
        "import lgg.reporting.measures\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(new - set(sys.stdlib_module_names) - {'lgg'}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    )
    assert done.stdout.strip() == "[]"


def typed_names(path):
    """Return where a file has a string that is an unmistakable measure, but not as a key of the configuration."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    keys = {id(node.slice) for node in ast.walk(tree) if isinstance(node, ast.Subscript)}
    for node in ast.walk(tree):
        name = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
        if name in UNMISTAKABLE and not (name in KEYS and id(node) in keys):
            yield f"{path.relative_to(PACKAGE)}:{node.lineno}: {name}"


def test_no_measure_is_typed_by_hand_in_another_place():
    assert {"fgsm_normalized", "relative_mce", "quantized_weights", "strong_pgd"} <= UNMISTAKABLE
    own = Path(measures.__file__)
    assert {found.rpartition(" ")[2] for found in typed_names(own)} == UNMISTAKABLE
    files = [path for path in PACKAGE.rglob("*.py") if path != own]
    assert [found for path in files for found in typed_names(path)] == []
