import pandas as pd
import pytest

from lgg.reporting.notes import corruption_notes, data_notes, network_name, training_note


def errors(corruptions=("fog", "snow"), severities=(1, 5), images=1234):
    rows = [
        {"seed": seed, "corruption": name, "severity": severity, "images": images, "error": 10.0 * severity}
        for seed in (0, 1)
        for name, severity in [("none", 0), *((name, level) for name in corruptions for level in severities)]
    ]
    return pd.DataFrame(rows)


def test_notes_that_splits_share_appear_once_and_in_order():
    assert data_notes([["from photographs", "train only"], ["from photographs", "test only"]]) == [
        "from photographs",
        "train only",
        "test only",
    ]
    assert data_notes([[], []]) == []


def test_the_note_on_mce_states_corruptions_severities_and_images():
    (note,) = corruption_notes(errors(), "Cross-entropy", [], [])
    assert "2 corruptions" in note
    assert "2 severities" in note
    assert "1,234 test images" in note
    assert "in percent of Cross-entropy's" in note


def test_the_clean_images_are_no_corruption():
    (note,) = corruption_notes(errors(corruptions=("fog",), severities=(1, 2, 3)), "Baseline", [], [])
    assert "1 corruption" in note
    assert "3 severities" in note


def test_an_undefined_relative_mce_is_explained_with_the_corruptions_that_make_it_so():
    defined, undefined = corruption_notes(errors(), "Baseline", ["fog", "snow"], ["frost"])
    assert "undefined" not in defined
    assert "fog, snow" in undefined
    assert "the error of Baseline does not rise" in undefined


def test_a_relative_mce_with_a_tiny_denominator_is_noted():
    _, note = corruption_notes(errors(), "Baseline", [], ["fog"])
    assert "means little" in note
    assert "under fog the error of Baseline rises by less than one image" in note


def test_the_note_states_what_was_trained_for_how_long():
    trained = {
        "architectures": [
            {"name": "wide_resnet", "depth": 28, "width": 0.5},
            {"name": "preact_resnet18", "base_width": 16},
        ],
        "epochs": 200,
        "batch_size": 128,
        "augmentation": "none",
    }
    note = training_note(trained, 50_000)
    assert "wide_resnet (depth 28, width 0.5) and preact_resnet18 (base_width 16)" in note
    assert "200 epochs of 50,000 images in batches of 128, without augmentation" in note
    assert "cropped and mirrored" in training_note(trained | {"augmentation": "crop_and_flip"}, 1)
    assert "elsewhere" not in note
    note = training_note(trained | {"elsewhere": ["GKD", "RKD-D"]}, 50_000)
    assert note.startswith("Trained here: ") and note.endswith(" Trained elsewhere: GKD, RKD-D.")
    assert training_note(trained | {"architectures": [], "elsewhere": ["GKD"]}, 1) == "Trained elsewhere: GKD."


@pytest.mark.parametrize(
    ("architecture", "name"),
    [
        ({"name": "wide_resnet", "depth": 28, "width": 0.5}, "wide_resnet (depth 28, width 0.5)"),
        ({"name": "preact_resnet18", "base_width": 16, "mean": [0.5] * 3}, "preact_resnet18 (base_width 16)"),
        (
            {"name": "torchvision", "model": "resnet18", "arguments": {}, "layers": "stages", "stem": "small"},
            "torchvision resnet18 (small stem)",
        ),
        (
            {"name": "timm", "model": "vit_tiny", "arguments": {"drop_rate": 0.1}, "stem": "auto", "bottleneck": 2},
            "timm vit_tiny (drop_rate 0.1, bottleneck 2)",
        ),
        (
            {
                "name": "file",
                "path": "my/nets.py",
                "class": "Net",
                "digest": "8f",
                "arguments": {"blocks": 3, "wide": True},
            },
            "Net of nets.py (blocks 3, wide True)",
        ),
        ({"name": "my_network"}, "my_network"),
    ],
)
def test_networks_are_named_with_what_distinguishes_them(architecture, name):
    assert network_name(architecture) == name
