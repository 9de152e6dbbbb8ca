"""Tables of Section 4.3 from the rows of the tests, written down here."""

import math

import pandas as pd
import pytest

from lgg.errors import DataError
from lgg.reporting.robustness_table import describe_defences, describe_pgd, robustness_table, write_robustness_table
from lgg.reporting.tables import FORMS

USUAL = {"epsilon": 0.01, "step_size": 0.002, "steps": 20, "restarts": 1, "loss": "cross_entropy"}
PGD = USUAL | {"stop_at_success": False}
TESTS = {
    "fgsm_snr": 33.0,
    "noise_std": 0.1,
    "dropout_rate": 0.25,
    "weight_bits": 5,
    "transfer_seed": 1000,
    "pgd": PGD,
    "strong_pgd": PGD | {"steps": 50, "restarts": 3},
    "deepfool_images": 7,
}
#: test: the baseline's error with seed 0, at the level of the tables
ERRORS = {
    "clean": 10.0,
    "gaussian_noise": 30.0,
    "dropout": 40.0,
    "quantized_weights": 50.0,
    "clean_attacked_images": 11.0,
    "without_gradient": 2.0,
    "fgsm_pixels": 60.0,
    "fgsm_normalized": 55.0,
    "pgd": 80.0,
    "strong_pgd": 81.0,
    "transfer_fgsm": 20.0,
    "transfer_pgd": 21.0,
    "deepfool": 0.0123,
}
ON_ALL = ("clean", "gaussian_noise", "dropout", "quantized_weights")
ROWS = [
    {"name": "baseline", "label": "Baseline", "defences": [], "paper": {"clean_error": 11.1, "clean": 88.06}},
    {"name": "other", "label": "Other", "defences": [], "paper": {}},
]


def evaluation(shift):
    """Return the rows of two seeds, seed 1 one point above seed 0; FGSM has a weaker level too."""
    rows = []
    for seed in (0, 1):
        for test, value in ERRORS.items():
            images = 1000 if test in ON_ALL else 7 if test == "deepfool" else 500
            level = 33.0 if "fgsm" in test else math.nan
            rows.append({"test": test, "level": level, "images": images, "value": value + shift + seed, "seed": seed})
            if test in ("fgsm_pixels", "fgsm_normalized"):
                rows.append(rows[-1] | {"level": 50.0, "value": 0.0})
    return pd.DataFrame(rows)


def corruptions(rise):
    errors = {("none", 0): 10.0, ("fog", 1): 10.0 + rise, ("snow", 1): 10.0 + 2 * rise}
    return pd.DataFrame(
        {"seed": seed, "corruption": name, "severity": severity, "images": 400, "error": error}
        for seed in (0, 1)
        for (name, severity), error in errors.items()
    )


EVALUATIONS = {"baseline": evaluation(0.0), "other": evaluation(-4.0)}
CORRUPTIONS = {"baseline": corruptions(10.0), "other": corruptions(5.0)}


def made(table, errors=CORRUPTIONS, tests=TESTS, side=32):
    return robustness_table(table, ROWS, EVALUATIONS, errors, "baseline", tests, side)


@pytest.mark.parametrize("side", [32, 96])
def test_legends_of_tables_with_corruptions_state_their_constants(side):
    words = {32: "the constants of CIFAR-10-C (32 pixels).", 96: "the nearest to 96."}[side]
    for table, stated in (("table3", True), ("table3_supplement", True), ("robustness", False)):
        assert any(note.endswith(words) for note in made(table, side=side).notes) == stated
        assert not any("constants of" in note for note in made(table, {}, side=side).notes)


def test_table_3_shows_errors_at_the_ratio_of_the_tables():
    table = made("table3").table.set_index("name")
    assert table["clean_error_mean"].to_dict() == {"baseline": 10.5, "other": 6.5}
    assert table["fgsm_normalized_mean"].to_dict() == {"baseline": 55.5, "other": 51.5}
    assert table["fgsm_normalized_difference_mean"]["other"] == -4
    # errors rise by half as much under every corruption
    assert table["relative_mce_mean"].to_dict() == pytest.approx({"baseline": 100, "other": 50})
    images = [f"{name}_images" for name in ("clean_error", "fgsm_normalized", "relative_mce")]
    assert table.loc["other", images].tolist() == [1000, 500, 400]
    assert table["paper_clean_error"]["baseline"] == 11.1


def test_the_second_table_shows_accuracies_of_the_same_tests():
    found = made("robustness")
    table = found.table.set_index("name")
    shown = [name.removesuffix("_mean") for name in table if name.endswith("_mean") and "difference" not in name]
    assert shown == [
        "clean", "fgsm_pixels", "fgsm_normalized", "gaussian_noise", "dropout", "quantized_weights", "pgd"
    ]  # fmt: skip
    for name in shown:
        assert table[f"{name}_mean"]["baseline"] == pytest.approx(100 - ERRORS[name] - 0.5)
        assert table[f"{name}_difference_mean"]["other"] == pytest.approx(4)
    assert all(measure.column.endswith("↑") for measure in found.measures)
    assert table["paper_clean"]["baseline"] == 88.06
    assert not table.filter(regex="mce|corruption").size


def test_the_supplement_has_what_table_3_leaves_out():
    table = made("table3_supplement").table.set_index("name").loc["baseline"]
    for name in set(ERRORS) - {*ON_ALL}:
        assert table[f"{name}_mean"] == pytest.approx(ERRORS[name] + 0.5)
    assert table["mean_corruption_error_mean"] == pytest.approx((20 + 30) / 2)
    assert table["deepfool_images"] == 7


@pytest.mark.parametrize("table", ["table3", "table3_supplement", "robustness"])
def test_without_corruptions_tables_have_all_else(table, tmp_path):
    found = made(table, {})
    assert found.table["fgsm_normalized_mean"].notna().all()
    assert not found.table.filter(regex="mce|corruption").size
    files = {form: tmp_path / form for form in FORMS}
    write_robustness_table(table, found, "Trained.", [], files)
    assert "MCE" not in files["md"].read_text("utf-8")


def test_deepfool_is_left_out_where_it_gets_no_images():
    shown = [measure.name for measure in made("table3_supplement", tests=TESTS | {"deepfool_images": 0}).measures]
    assert shown[-1] == "mean_corruption_error"
    assert [measure.name for measure in made("table3_supplement").measures] == [*shown, "deepfool"]


def test_a_relative_mce_that_divides_by_next_to_nothing_has_no_best():
    faint = CORRUPTIONS | {"baseline": corruptions(0.1)}
    for errors, bold in ((CORRUPTIONS, True), (faint, False)):
        found = made("table3", errors)
        assert [measure.bold for measure in found.measures] == [True, True, bold, True]
        assert any("means little" in note for note in found.notes) != bold


def test_legends_give_source_training_attacks_and_data_in_this_order(tmp_path):
    files = {form: tmp_path / form for form in FORMS}
    write_robustness_table("table3_supplement", made("table3_supplement"), "Trained long.", ["Of photographs."], files)
    text = files["md"].read_text("utf-8")
    parts = ["Paper: Lassance", "Trained long.", "33 dB. PGD on pixels", "Images without a gradient: the share"]
    places = [text.index(part) for part in [*parts, "Of photographs."]]
    assert places == sorted(places)
    assert "of seed 1000, which is none of these" in text
    assert "Supplement of Table 3" in files["html"].read_text("utf-8")


def test_legends_describe_attacks_that_are_not_the_usual_ones():
    plain = describe_pgd(PGD)
    assert plain == "L∞, ε = 0.01, steps of 0.002, 20 from each of 1 start(s), the first at the image"
    other = describe_pgd(USUAL | {"loss": "logit_difference", "stop_at_success": True})
    assert other == f"{plain}, on differences of logits, ended at the first success"


def test_a_row_s_defences_are_one_sentence():
    parseval = {"name": "parseval", "options": {"beta": 0.02}}
    attack = {"epsilon": 0.03, "step_size": 0.01, "steps": 7, "random_start": True}
    row = {"label": "Both", "defences": [parseval, {"name": "adversarial", "options": attack}]}
    assert describe_defences(row).startswith("Both: Parseval with β = 0.02; PGD within ε = 0.03 from a random start")
    assert describe_defences(row).endswith(".")
    assert describe_defences(ROWS[0]) == ""


def test_an_attack_that_was_run_with_other_steps_is_refused_where_it_is_shown():
    own = EVALUATIONS["other"].assign(steps=20.0, restarts=1.0)
    evaluations = EVALUATIONS | {"other": own}  # of which strong_pgd should have 50 steps from 3 starts
    with pytest.raises(DataError, match=r"other: strong_pgd was run with 20 steps from 1 start.*asks for 50 from 3"):
        robustness_table("table3_supplement", ROWS, evaluations, CORRUPTIONS, "baseline", TESTS, 32)
    assert len(robustness_table("table3", ROWS, evaluations, CORRUPTIONS, "baseline", TESTS, 32).table) == 2


def test_a_test_that_earlier_evaluations_lack_is_left_out():
    evaluations = {name: one[one["test"] != "without_gradient"] for name, one in EVALUATIONS.items()}
    found = robustness_table("table3_supplement", ROWS, evaluations, CORRUPTIONS, "baseline", TESTS, 32).table
    assert not found.filter(like="without_gradient").size
    assert found["strong_pgd_mean"].notna().all()
