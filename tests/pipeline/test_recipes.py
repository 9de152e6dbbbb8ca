import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Literal, get_args, get_origin, get_type_hints, is_typeddict

import numpy as np
import pytest
from configurations import CONFIG, configured, read
from PIL import Image
from pydantic import BaseModel

from lgg.data import pictures, sources
from lgg.errors import ConfigError
from lgg.pipeline import digest, recipe_types, recipes, syntax
from lgg.pipeline.config import Data, Paper, load, read_paper
from lgg.pipeline.definitions import module_of
from lgg.reporting.notes import network_name

METHODS = {"hinton", "rkd_d", "gkd", "gkd_inter"}
DISTILLED = {f"distill_student {method}" for method in METHODS}
WIDE_RESNETS = {"train_teacher", "train_student", *DISTILLED}
EMBEDDINGS = {"cross_entropy", "label_variation", "triplet"}
EMBEDDED = {f"train_embedding {method}" for method in EMBEDDINGS}
PLANES = {"train_plane_embedding cross_entropy", "train_plane_embedding label_variation"}
LABEL_VARIATION = {"train_embedding label_variation", "train_plane_embedding label_variation"}
JUDGED = {f"evaluate_embedding {method}" for method in EMBEDDINGS}
DEFENCES = set(configured().robustness.active_methods)
DEFENDED = {f"train_robust_network {method}" for method in DEFENCES}


def defended_by(name):
    """Return the training stages of the methods that have a defence."""
    methods = configured().robustness.active_methods.items()
    return {f"train_robust_network {method}" for method, one in methods if name in [own.name for own in one.defences]}


REGULARIZED, PARSEVAL, ATTACKED = map(defended_by, ("regularizer", "parseval", "adversarial"))
TABLES3 = {"assemble_table3 table3", "assemble_table3 table3_supplement", "assemble_table3 robustness"}
RELATIVE_MCES = {"assemble_table2", "assemble_table3 table3", "assemble_table3 table3_supplement"}
CORRUPTED = {*JUDGED, "evaluate_corruptions", "draw_corruptions"}
EMBEDDING_FIGURES = {"draw_embedding_corruptions", "draw_embedding_training"}
DEFENCE_FIGURES = {"draw_robustness_corruptions", "draw_snr_curves", "draw_robustness_training"}
TRAINING_FIGURES = {"draw_distillation_training", "draw_embedding_training", "draw_robustness_training"}
ERROR_FIGURES = {
    "draw_corruptions",
    "draw_embedding_corruptions",
    "draw_robustness_corruptions",
    "draw_snr_curves",
    "draw_weight_sweep",
}
PREACT_RESNETS = {"train_reference_network", *EMBEDDED, *PLANES, *DEFENDED}
TRAININGS = {*WIDE_RESNETS, *PREACT_RESNETS}
EVALUATIONS = {"evaluate_network", "evaluate_geometry", *JUDGED, "evaluate_robustness", "evaluate_corruptions"}


def recipes_of(configuration, paper=None):
    """Return the recipe of every stage, `paper` is that of config/paper.yaml."""
    paper = read_paper(CONFIG / "paper.yaml", configuration) if paper is None else paper
    distillation, geometry = configuration.distillation, configuration.geometry
    return corruption_recipes_of(configuration, paper) | {
        "prepare_data": recipes.prepare_data(configuration),
        "train_reference_network": recipes.train_reference_network(geometry),
        "evaluate_geometry": recipes.evaluate_geometry(geometry),
        "draw_figure1": recipes.draw_figure1(geometry),
        "draw_figure2": recipes.draw_figure2(),
        "draw_graph_depths": recipes.draw_graph_depths(),
        "train_teacher": recipes.train_teacher(distillation),
        "train_student": recipes.train_student(distillation),
        **{
            f"distill_student {name}": recipes.distill_student(distillation, name)
            for name, method in distillation.active_methods.items()
            if method.loss != "none"
        },
        "evaluate_network": recipes.evaluate_network(distillation.student.network),
        "assemble_table1": recipes.assemble_table1(distillation, paper),
        "draw_distillation_training": recipes.draw_training_curves(distillation.active_methods),
        "measure_times": recipes.measure_times(configuration),
        "assemble_table_a1": recipes.assemble_table_a1(configuration, paper),
    }


def corruption_recipes_of(configuration, paper):
    """Return the recipe of every stage of Sections 4.2 and 4.3."""
    corruptions = configuration.corruptions
    embedding, robustness = configuration.embedding, configuration.robustness
    embeddings, defences = embedding.active_methods, robustness.active_methods
    return {
        "keep_corruptions": recipes.keep_corruptions(corruptions),
        "draw_corruptions": recipes.draw_corruptions(corruptions),
        **{f"train_embedding {name}": recipes.train_embedding(embedding, name) for name in embeddings},
        **{
            f"train_plane_embedding {name}": recipes.train_plane_embedding(embedding, name)
            for name in embedding.figure.methods
        },
        **{
            f"evaluate_embedding {name}": recipes.evaluate_embedding(embedding, corruptions, name, 0)
            for name in embeddings
        },
        "assemble_table2": recipes.assemble_table2(embedding, corruptions, paper),
        "draw_figure_a1": recipes.draw_figure_a1(embedding),
        "draw_embedding_training": recipes.draw_embedding_training(embedding),
        "draw_embedding_corruptions": recipes.draw_corruption_errors(embeddings),
        **{f"train_robust_network {name}": recipes.train_robust_network(robustness, name) for name in defences},
        "evaluate_robustness": recipes.evaluate_robustness(robustness),
        "evaluate_corruptions": recipes.evaluate_corruptions(robustness, corruptions),
        **{
            f"assemble_table3 {table}": recipes.assemble_table3(robustness, corruptions, table, paper)
            for table in ("table3", "table3_supplement", "robustness")
        },
        "draw_robustness_corruptions": recipes.draw_corruption_errors(robustness.table_methods),
        "draw_snr_curves": recipes.draw_snr_curves(robustness),
        "draw_weight_sweep": recipes.draw_weight_sweep(robustness),
        "draw_robustness_training": recipes.draw_training_curves(robustness.table_methods),
        "draw_layer_variation": recipes.draw_layer_variation(robustness),
    }


def changed(before, after):
    """Return the stages whose recipe changed, or that are new."""
    return {name for name, recipe in after.items() if before.get(name) != recipe}


def backwards(node):
    """Return the same configuration with the keys of every section in the opposite order."""
    if isinstance(node, Mapping):
        return {key: backwards(node[key]) for key in reversed(node)}
    return node


def test_recipes_are_the_same_in_another_process():
    """Sets have another order there; tests/pipeline/test_digest.py checks this for digests."""
    code = (
        "import dataclasses, json; from test_recipes import configured, recipes_of; "
        "print(json.dumps({name: dataclasses.asdict(recipe) for name, recipe in recipes_of(configured()).items()}))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    here = {name: asdict(recipe) for name, recipe in recipes_of(configured()).items()}
    assert json.loads(done.stdout) == here


# --- settings -----------------------------------------------------------------------------------------------------


def test_the_order_of_keys_does_not_matter():
    # except for the order of rows
    reported = {name for name in recipes_of(configured()) if name.startswith(("assemble_table", "draw_"))}
    reported -= {"draw_figure1", "draw_figure2", "draw_graph_depths", "draw_corruptions"}
    reported -= {"assemble_table_a1"}  # its rows are a list
    assert changed(recipes_of(configured()), recipes_of(load(backwards(read())))) == reported


def test_the_order_of_methods_is_the_order_of_the_rows():
    methods = configured().distillation.active_methods
    rows = json.loads(recipes_of(configured())["assemble_table1"].settings)["rows"]
    assert [row["name"] for row in rows] == ["teacher", *methods]


@pytest.mark.parametrize(
    ("stage", "methods"),
    [
        ("assemble_table2", configured().embedding.active_methods),
        ("draw_embedding_corruptions", configured().embedding.active_methods),
        ("draw_figure_a1", configured().embedding.figure.methods),
        ("assemble_table3 table3", configured().robustness.table_methods),
        ("assemble_table3 robustness", configured().robustness.table_methods),
        ("assemble_table3 table3_supplement", configured().robustness.active_methods),
        ("draw_robustness_corruptions", configured().robustness.table_methods),
        ("draw_snr_curves", configured().robustness.table_methods),
        ("draw_weight_sweep", configured().robustness.sweep),
        ("draw_robustness_training", configured().robustness.table_methods),
        ("draw_layer_variation", configured().robustness.watched_methods),
        ("draw_embedding_training", configured().embedding.active_methods),
        ("draw_distillation_training", configured().distillation.active_methods),
    ],
)
def test_rows_of_the_other_tables_and_figures_are_in_the_order_of_their_methods(stage, methods):
    rows = json.loads(recipes_of(configured())[stage].settings)["rows"]
    assert [row["name"] for row in rows] == list(methods)


def test_rows_carry_the_paper_s_figures():
    settings = {name: json.loads(recipe.settings) for name, recipe in recipes_of(configured()).items()}

    def paper(stage, name):
        return next(row["paper"] for row in settings[stage]["rows"] if row["name"] == name)

    assert paper("assemble_table2", "label_variation") == {"clean_error": 5.63, "relative_mce": 90.33}
    assert paper("assemble_table2", "triplet") == {}
    for table in ("table3", "table3_supplement"):
        given = paper(f"assemble_table3 {table}", "regularizer")
        assert given == {"clean_error": 13.2, "fgsm_normalized": 49.5, "relative_mce": 97.6}
    assert paper("assemble_table3 robustness", "both")["dropout"] == 56.2
    assert paper("assemble_table3 robustness", "adversarial") == {}
    assert paper("assemble_table1", "gkd") == {"error": 9.71, "gain": 0.63}
    assert paper("assemble_table1", "teacher") == {"error": 7.27}
    assert paper("assemble_table_a1", "robustness.adversarial") == {"epoch_seconds": 369}
    assert paper("assemble_table_a1", "robustness.both") == {}


def test_an_edited_figure_of_the_paper_changes_its_table_alone():
    whole = read_paper(CONFIG / "paper.yaml", configured())
    tables = {
        "table1": {"assemble_table1"},
        "table2": {"assemble_table2"},
        "table3": {"assemble_table3 table3", "assemble_table3 table3_supplement"},
        "robustness": {"assemble_table3 robustness"},
        "tableA1": TABLE_A1,
    }
    assert set(tables) == set(whole.figures)
    before = recipes_of(configured(), whole)
    for table, stages in tables.items():
        rows = {method: dict.fromkeys(row, 1.0) for method, row in whole.figures[table].items()}
        assert changed(before, recipes_of(configured(), Paper({**whole.figures, table: rows}))) == stages


@pytest.mark.parametrize(
    ("overlay", "metrics"),
    [
        ("robustness: {tests: {fgsm_snr: 20}}", {"fgsm_normalized", "fgsm_pixels"}),
        ("robustness: {tests: {noise_std: 0.2}}", {"gaussian_noise"}),
        ("robustness: {tests: {dropout_rate: 0.1}}", {"dropout"}),
        ("robustness: {tests: {weight_bits: 4}}", {"quantized_weights"}),
        ("robustness: {tests: {pgd: {steps: 5}}}", {"pgd"}),
        ("robustness: {tests: {pgd: {loss: logit_difference}}}", {"pgd"}),
        ("robustness: {tests: {pgd: {stop_at_success: true}}}", set()),  # as the published code does
        ("corruptions: {names: [fog]}", {"relative_mce"}),
        ("corruptions: {severities: [1, 2]}", {"relative_mce"}),
        ("robustness: {tests: {strong_pgd: {steps: 5}, images: 50}}", set()),
    ],
)
def test_the_paper_s_figures_are_only_next_to_what_was_measured_with_its_constants(overlay, metrics):
    def papers(configuration):
        found = recipes_of(configuration)
        return {
            (stage, row["name"], metric): figure
            for stage in ("assemble_table2", *TABLES3)
            for row in json.loads(found[stage].settings)["rows"]
            for metric, figure in row["paper"].items()
            if figure is not None
        }

    all_of_them = papers(configured())
    assert papers(configured(overlay)) == {key: value for key, value in all_of_them.items() if key[2] not in metrics}
    assert metrics <= {key[2] for key in all_of_them}


@pytest.mark.parametrize("spelling", ["25", "25.0", "2.5e1", "'25'"])
def test_a_number_gives_the_same_recipe_however_it_is_written(spelling):
    assert not changed(
        recipes_of(configured()), recipes_of(configured(f"distillation: {{methods: {{gkd: {{weight: {spelling}}}}}}}"))
    )


def test_a_default_gives_the_same_recipe_written_out():
    overlay = "distillation: {training: {optimizer: {momentum: 0.9}}, methods: {gkd: {power: 1, k: null}}}"
    assert not changed(recipes_of(configured()), recipes_of(configured(overlay)))


MEASURED, TABLE_A1 = {"measure_times"}, {"assemble_table_a1"}
# effect of the changes below on Table A1: settings that affect time are measured again, those only shown are not
TIMED_SETTINGS = {
    "distillation: {methods: {gkd: {label: Graphs}}}": TABLE_A1,
    "distillation: {baseline: gkd}": MEASURED | TABLE_A1,
    "distillation: {methods: {gkd: {layers: [pool]}}}": MEASURED,
    "distillation: {methods: {gkd: {k: 5}}}": MEASURED,
    "distillation: {training: {batch_size: 64}}": MEASURED | TABLE_A1,
    "distillation: {training: {optimizer: {weight_decay: 0}}}": MEASURED,
    "distillation: {training: {optimizer: {name: adamw}}}": MEASURED,
    "distillation: {training: {optimizer: {decay_norms: false}}}": MEASURED,
    "distillation: {training: {label_smoothing: 0.1}}": MEASURED,
    "distillation: {training: {gradient_clipping: 1}}": MEASURED,
    "embedding: {training: {label_smoothing: 0.1}}": MEASURED,
    "robustness: {training: {augmentation: trivial_augment}}": MEASURED,
    "robustness: {training: {gradient_clipping: 1}}": MEASURED,
    "distillation: {training: {schedule: [{epochs: 1, learning_rate: 0.1}]}}": TABLE_A1,
    "distillation: {teacher: {architecture: {depth: 16}}}": MEASURED,
    "distillation: {student: {architecture: {depth: 16}}}": MEASURED | TABLE_A1,
    "embedding: {methods: {label_variation: {label: LV}}}": TABLE_A1,
    "embedding: {baseline: triplet}": MEASURED | TABLE_A1,
    "embedding: {methods: {label_variation: {rbf_scale: 1}}}": MEASURED,
    "embedding: {methods: {label_variation: {normalize_embeddings: true}}}": MEASURED,
    "embedding: {dimensions: 16}": MEASURED,
    "embedding: {training: {optimizer: {momentum: 0.5}}}": MEASURED,
    "embedding: {training: {schedule: [{epochs: 9, learning_rate: 0.1}]}}": TABLE_A1,
    "embedding: {architecture: {base_width: 4}}": MEASURED | TABLE_A1,
    "robustness: {methods: {both: {label: Two}}}": TABLE_A1,
    "robustness: {baseline: both}": MEASURED | TABLE_A1,
    "robustness: {methods: {both: {defences: [{name: parseval}, {name: regularizer, reduction: sum}]}}}": MEASURED,
    "robustness: {methods: {both: {defences: [{name: parseval}, {name: regularizer, similarity: rbf}]}}}": MEASURED,
    "robustness: {methods: {parseval: {defences: [{name: parseval, beta: 0.1}]}}}": MEASURED,
    "robustness: {training: {optimizer: {momentum: 0.5}}}": MEASURED,
    "robustness: {architecture: {base_width: 4}}": MEASURED | TABLE_A1,
    "timing: {rounds: 7}": MEASURED,
    "timing: {methods: [robustness.parseval]}": MEASURED | TABLE_A1,
    "timing: {adversarial: {steps: 2}}": MEASURED | TABLE_A1,
}


# the paper's figures are those of CIFAR-10
TIMED_SETTINGS |= {
    "data: {source: arrays, path: here}": TABLE_A1,
    "data: {source: torchvision, dataset: SVHN}": TABLE_A1,
    "data: {image_size: 48}": TABLE_A1,
}


SETTING_CHANGES = [
    ("timing: {rounds: 7}", set()),
    ("timing: {methods: [robustness.parseval]}", set()),
    ("timing: {adversarial: {steps: 2}}", set()),
    ("run: other", set()),
    ("resources: {device: cpu, train: {threads: 8, mem_mb: 1, runtime: 1}, light: {threads: 2}}", set()),
    ("resources: {networks_per_job: 2, captured_steps: true, checkpoints: {minutes: null, epochs: 3}}", set()),
    ("distillation: {methods: {gkd: {label: Graphs}}}", {"assemble_table1", "draw_distillation_training"}),
    ("distillation: {teacher: {label: Master}}", {"assemble_table1"}),
    ("distillation: {baseline: gkd}", {"assemble_table1"}),
    ("distillation: {methods: {gkd: {weight: 1}}}", {"distill_student gkd"}),
    ("distillation: {methods: {gkd: {layers: [pool]}}}", {"distill_student gkd"}),
    ("distillation: {methods: {gkd: {k: 5}}}", {"distill_student gkd"}),
    ("distillation: {methods: {gkd_inter: {edges: intra}}}", {"distill_student gkd_inter"}),
    ("distillation: {methods: {gkd_inter: {order: published}}}", {"distill_student gkd_inter"}),
    ("distillation: {methods: {gkd_inter: {similarity: rbf, rbf_scale: 1}}}", {"distill_student gkd_inter"}),
    ("distillation: {methods: {hinton: {temperature: 2}}}", {"distill_student hinton"}),
    (
        "distillation: {methods: {new: {label: New, loss: relational}}}",
        {"distill_student new", "assemble_table1", "draw_distillation_training"},
    ),
    ("distillation: {methods: {hinton: null}}", {"assemble_table1", "draw_distillation_training"}),
    ("distillation: {training: {batch_size: 64}}", {*WIDE_RESNETS, "assemble_table1"}),
    ("distillation: {training: {optimizer: {weight_decay: 0}}}", WIDE_RESNETS),
    ("distillation: {training: {optimizer: {name: adamw}}}", WIDE_RESNETS),
    ("distillation: {training: {optimizer: {decay_norms: false}}}", WIDE_RESNETS),
    ("distillation: {training: {label_smoothing: 0.1}}", WIDE_RESNETS),
    ("distillation: {training: {gradient_clipping: 1}}", WIDE_RESNETS),
    (
        "distillation: {training: {schedule: [{epochs: 1, learning_rate: 0.1}]}}",
        {*WIDE_RESNETS, "assemble_table1"},
    ),
    ("distillation: {teacher: {seed: 1}}", {"train_teacher"}),
    ("distillation: {teacher: {architecture: {depth: 16}}}", {"train_teacher", "assemble_table1"}),
    (
        "distillation: {student: {architecture: {depth: 16}}}",
        {*WIDE_RESNETS, "assemble_table1"} - {"train_teacher"},
    ),
    ("seeds: [0, 1, 2]", set()),
    ("geometry: {draws: 10}", {"evaluate_geometry"}),
    ("geometry: {draw_seed: 1}", {"evaluate_geometry"}),
    ("geometry: {k: 3}", {"evaluate_geometry"}),
    ("geometry: {classes: 3}", {"evaluate_geometry"}),
    ("geometry: {images_per_class: 4}", {"evaluate_geometry"}),
    ("geometry: {seed: 1}", {"train_reference_network"}),
    ("geometry: {training: {optimizer: {momentum: 0.5}}}", {"train_reference_network"}),
    ("geometry: {training: {augmentation: random_resized_crop}}", {"train_reference_network"}),
    ("geometry: {architecture: {base_width: 4}}", {"train_reference_network", "draw_figure1"}),
    ("data: {seed: 1}", {"prepare_data"}),
    ("data: {source: digits}", {"prepare_data"}),
    # tables of images of another size than the paper's have none of its figures
    ("data: {source: torchvision, dataset: SVHN}", {"prepare_data", "assemble_table1", "assemble_table2", *TABLES3}),
    ("data: {image_size: 48}", {"prepare_data", "assemble_table1", "assemble_table2", *TABLES3}),
    ("data: {source: arrays, path: here, cifar10: true}", {"prepare_data"}),
    # tables of your own images have none of the paper's figures
    ("data: {source: arrays, path: here}", {"prepare_data", "assemble_table1", "assemble_table2", *TABLES3}),
    # corruptions
    ("corruptions: {keep: true}", set()),
    # with other corruptions the paper's relative MCE is not shown next to ours
    ("corruptions: {names: [fog]}", {*CORRUPTED, "keep_corruptions", *RELATIVE_MCES}),
    ("corruptions: {seed: 1}", {*CORRUPTED, "keep_corruptions"}),
    # all severities of all images are kept
    ("corruptions: {severities: [1, 5]}", {*CORRUPTED, *RELATIVE_MCES}),
    ("corruptions: {severities: [5, 4, 3, 2, 1]}", CORRUPTED),
    ("corruptions: {images: 70}", CORRUPTED),
    (
        "{data: {source: cifar10}, corruptions: {source: cifar10_c, path: here.tar}}",
        {*CORRUPTED, "prepare_data"},
    ),
    # Section 4.2
    (
        "embedding: {methods: {triplet: {label: All triplets}}}",
        {"assemble_table2", "draw_embedding_corruptions", "draw_embedding_training"},
    ),
    (
        "embedding: {methods: {label_variation: {label: LV}}}",
        {"assemble_table2", "draw_embedding_corruptions", "draw_embedding_training"},
    ),
    ("embedding: {figure: {methods: {label_variation: {label: LV}}}}", {"draw_figure_a1"}),
    ("embedding: {baseline: triplet}", {"assemble_table2"}),
    (
        "embedding: {methods: {triplet: {classifier: svm}}}",
        {"assemble_table2", "draw_embedding_corruptions"},
    ),
    ("embedding: {methods: {triplet: {margin: soft}}}", {"train_embedding triplet"}),
    ("embedding: {methods: {label_variation: {weight: 2}}}", {"train_embedding label_variation"}),
    # the reference levels depend on the loss, but not on its weight
    (
        "embedding: {methods: {label_variation: {rbf_scale: 1}}}",
        {"train_embedding label_variation", "draw_embedding_training"},
    ),
    (
        "embedding: {methods: {label_variation: {normalize_embeddings: true}}}",
        {"train_embedding label_variation", "evaluate_embedding label_variation", "draw_embedding_training"},
    ),
    # cross-entropy has one logit per class, and the plane has two dimensions
    (
        "embedding: {dimensions: 16}",
        {*EMBEDDED, "draw_embedding_training"} - {"train_embedding cross_entropy"},
    ),
    ("embedding: {training: {optimizer: {momentum: 0.5}}}", {*EMBEDDED, *PLANES}),
    ("embedding: {training: {label_smoothing: 0.1}}", {*EMBEDDED, *PLANES}),
    (
        "embedding: {training: {schedule: [{epochs: 9, learning_rate: 0.1}]}}",
        {*EMBEDDED, *PLANES, "draw_figure_a1", "assemble_table2"},
    ),
    ("embedding: {architecture: {base_width: 4}}", {*EMBEDDED, *PLANES, "assemble_table2"}),
    ("embedding: {figure: {epochs: [0]}}", {*PLANES, "draw_figure_a1"}),
    ("embedding: {figure: {seed: 1}}", PLANES),
    (
        "embedding: {figure: {schedule: [{epochs: 9, learning_rate: 0.1}]}}",
        {*PLANES, "draw_figure_a1"},
    ),
    (
        "embedding: {figure: {methods: {label_variation: {rbf_scale: 1}}}}",
        {"train_plane_embedding label_variation"},
    ),
    (
        "embedding: {figure: {methods: {label_variation: {normalize_embeddings: true}}}}",
        {"train_plane_embedding label_variation", "draw_figure_a1"},
    ),
    (
        "embedding: {figure: {methods: {plane_of_triplets: {label: T, loss: triplet}}}}",
        {"draw_figure_a1", "train_plane_embedding plane_of_triplets"},
    ),
    (
        "embedding: {methods: {new: {label: New, loss: label_variation, k: 5}}}",
        {"train_embedding new", "evaluate_embedding new", "assemble_table2", *EMBEDDING_FIGURES},
    ),
    ("embedding: {methods: {triplet: null}}", {"assemble_table2", *EMBEDDING_FIGURES}),
    # Section 4.3
    (
        "robustness: {methods: {both: {label: Two}}}",
        {*TABLES3, *DEFENCE_FIGURES, "draw_layer_variation"},
    ),
    (
        "robustness: {methods: {both: {supplement: true}}}",
        {
            "assemble_table3 table3",
            "assemble_table3 robustness",
            *DEFENCE_FIGURES,
            "draw_layer_variation",
        },
    ),
    (
        "robustness: {baseline: both}",
        {*TABLES3, "draw_layer_variation", "draw_weight_sweep"},
    ),
    (
        "robustness: {methods: {regularizer: {defences: [{name: regularizer, weight: 0.5}]}}}",
        {"train_robust_network regularizer", *TABLES3, "draw_weight_sweep"},
    ),
    (
        "robustness: {methods: {both: {defences: [{name: parseval}, {name: regularizer, reduction: sum}]}}}",
        {"train_robust_network both", *TABLES3},
    ),
    (
        "robustness: {methods: {parseval: {defences: [{name: parseval, beta: 0.1}]}}}",
        {"train_robust_network parseval", *TABLES3},
    ),
    (
        "robustness: {methods: {adversarial: {defences: [{name: adversarial, steps: 5}]}}}",
        {"train_robust_network adversarial", *TABLES3},
    ),
    ("robustness: {training: {optimizer: {momentum: 0.5}}}", DEFENDED),
    ("robustness: {training: {augmentation: trivial_augment}}", {*DEFENDED, *TABLES3}),
    ("robustness: {training: {gradient_clipping: 1}}", DEFENDED),
    ("robustness: {architecture: {base_width: 4}}", {*DEFENDED, *TABLES3}),
    (
        "robustness: {tests: {fgsm_snr: 30}}",
        {"evaluate_robustness", *TABLES3, "draw_snr_curves", "draw_weight_sweep"},
    ),
    ("robustness: {tests: {noise_std: 0.2}}", {"evaluate_robustness", *TABLES3}),
    ("robustness: {tests: {strong_pgd: {steps: 5}}}", {"evaluate_robustness", *TABLES3}),
    ("robustness: {tests: {strong_pgd: {loss: logit_difference}}}", {"evaluate_robustness", *TABLES3}),
    ("robustness: {tests: {pgd: {stop_at_success: true}}}", {"evaluate_robustness", *TABLES3}),
    (
        "robustness: {methods: {both: {defences: [{name: parseval}, {name: regularizer, similarity: rbf}]}}}",
        {"train_robust_network both", *TABLES3},
    ),
    (
        "robustness: {methods: {new: {label: New, defences: [{name: adversarial}]}}}",
        {
            "train_robust_network new",
            *TABLES3,
            *DEFENCE_FIGURES,
        },
    ),
]


@pytest.mark.parametrize(
    ("overlay", "stages"), SETTING_CHANGES, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_setting_changes_the_recipes_that_depend_on_it_and_no_others(overlay, stages):
    stages = stages | TIMED_SETTINGS.get(overlay, set())
    assert changed(recipes_of(configured()), recipes_of(configured(overlay))) == stages


# --- every setting --------------------------------------------------------------------------------------------------

#: settings that no stage receives: the folder of results, resources, and which jobs there are, which the rules decide
NO_RECIPE = (
    "run",
    "seeds",
    "resources",
    "data.cifar10",  # decides whether rows have the paper's figures
    "corruptions.keep",
    "corruptions.path",  # of the archive, where that is the source
    *(f"{section}.seeds" for section in ("distillation", "embedding", "robustness")),
    "embedding.figure.epochs",  # with its last one twice, which draws the same
    "timing.methods",
    "geometry.fine_tune",  # decides whether a network is trained or loaded
    "distillation.teacher.fine_tune",
)
#: of rows that were trained elsewhere alone
NO_RECIPE_OF_TRAINED_ROWS = re.compile(r"(distillation|robustness)\.methods\.\w+\.architecture")
#: of rows of Figure A1, whose error is that of nearest neighbours
NO_RECIPE_OF_PLANES = re.compile(r"embedding\.figure\.methods\.\w+\.classifier")
TIMES = {"measure_times", "assemble_table_a1"}
#: the stages that a section's settings can concern; those of a method concern its own networks and what shows several
CONCERNED = {
    "data": {"prepare_data", "assemble_table1", "assemble_table2", *TABLES3, "assemble_table_a1"},  # paper's figures
    "geometry": {"train_reference_network", "evaluate_geometry", "draw_figure1", "draw_figure2"},
    "corruptions": {*CORRUPTED, *TABLES3, "keep_corruptions", "assemble_table2"},
    "distillation": {*WIDE_RESNETS, "evaluate_network", "assemble_table1", "draw_distillation_training", *TIMES},
    "embedding": {
        *EMBEDDED,
        *PLANES,
        *JUDGED,
        *("assemble_table2", "draw_figure_a1", *EMBEDDING_FIGURES),
        *TIMES,
    },
    "robustness": {
        *DEFENDED,
        "evaluate_robustness",
        *TABLES3,
        *("evaluate_corruptions", *DEFENCE_FIGURES, "draw_layer_variation", "draw_weight_sweep"),
        *TIMES,
    },
    "timing": TIMES,
}


def settings_of(node, path=()):
    """Yield the path of every setting of a configuration, including new keys of its models."""
    if isinstance(node, BaseModel):
        node = {name: getattr(node, name) for name in type(node).model_fields}
    elif isinstance(node, list) and node and isinstance(node[0], BaseModel):
        node = dict(enumerate(node))
    if not isinstance(node, Mapping):
        yield path
        return
    for key, value in node.items():
        yield from settings_of(value, (*path, key))


def with_another(configuration, path):
    """Return the configuration with another, unvalidated value at `path`."""
    configuration = configuration.model_copy(deep=True)
    *parent, key = path
    node = configuration
    for name in parent:
        node = getattr(node, name) if isinstance(node, BaseModel) else node[name]
    holder = node.__dict__ if isinstance(node, BaseModel) else node
    value = holder[key]
    if isinstance(value, bool):
        holder[key] = not value
    elif isinstance(value, int | float | str):
        holder[key] = value + type(value)(1)
    elif isinstance(value, list):
        holder[key] = [*value, *(value[-1:] or [1])]
    else:
        holder[key] = 1
    return configuration


def concerned(path):
    stages = CONCERNED[path[0]]
    if path[1:2] != ("methods",):
        return stages
    networks = {stage for stage in stages if " " in stage and not stage.startswith("assemble_")}
    if path[0] == "distillation" and path[2] != "baseline":
        networks |= {"train_student"}
    return stages - networks | {stage for stage in networks if stage.endswith(f" {path[2]}")}


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
@pytest.mark.parametrize("path", list(settings_of(configured())), ids=lambda path: ".".join(map(str, path)))
def test_every_setting_changes_the_recipe_of_a_stage_that_it_can_concern_and_of_no_other(path, committed):
    name = ".".join(map(str, path))
    try:
        found = changed(committed, recipes_of(with_another(configured(), path)))
    except (KeyError, ValueError, AttributeError, TypeError, ConfigError):
        return  # a recipe reads it, and cannot be made with this value
    if name.startswith(NO_RECIPE) or NO_RECIPE_OF_TRAINED_ROWS.fullmatch(name) or NO_RECIPE_OF_PLANES.fullmatch(name):
        assert found == set()
    else:
        assert found, "a new key? List it in the recipes of the stages that depend on it, or here as one of none"
        assert found <= concerned(path)


def test_only_recipes_of_single_networks_have_a_seed():
    """Others have it in their path, and the recipe is the same whether they are trained alone or side by side."""
    seeded = {name for name in TRAININGS if "seed" in json.loads(recipes_of(configured())[name].settings)}
    assert seeded == {"train_teacher", "train_reference_network", *PLANES}


def test_a_distillation_recipe_holds_the_options_of_its_loss():
    settings = json.loads(recipes_of(configured())["distill_student gkd_inter"].settings)
    assert settings["loss"] == "graph_distillation"
    assert settings["weight"] == 25.0
    assert settings["layers"] is None
    assert settings["options"] == {
        "k": None,
        "edges": "inter",
        "power": 1,
        "normalize": True,
        "neighbours": "teacher",
        "order": "threshold_first",
        "similarity": "cosine",
        "rbf_scale": 2.0,
    }


def test_an_embedding_s_recipe_holds_the_options_of_its_loss():
    settings = {name: json.loads(recipe.settings) for name, recipe in recipes_of(configured()).items()}
    one = settings["train_embedding label_variation"]
    assert (one["loss"], one["weight"], one["dimensions"]) == ("label_variation", 1.0, None)
    assert one["options"] == {
        "similarity": "rbf",
        "rbf_scale": 0.25,
        "k": None,
        "normalize": False,
        "self_loops": False,
        "power": 1,
        "normalize_embeddings": "batch",
        "reduction": "log_mean",
        "attraction": 0.0,
    }
    assert "weight" not in settings["train_embedding cross_entropy"]
    for method in EMBEDDINGS:
        judged = settings[f"evaluate_embedding {method}"]
        assert judged["own_classifier"] == (method == "cross_entropy")
        normalized = {"cross_entropy": False, "label_variation": "batch", "triplet": True}
        assert judged["normalize_embeddings"] == normalized[method]


def test_figure_a1_draws_in_the_plane():
    settings = {name: json.loads(recipe.settings) for name, recipe in recipes_of(configured()).items()}
    assert settings["train_plane_embedding label_variation"]["dimensions"] == 2
    assert settings["train_plane_embedding cross_entropy"]["architecture"]["bottleneck"] == 2
    assert "bottleneck" not in settings["train_embedding cross_entropy"]["architecture"]
    embedding = configured().embedding
    for name in PLANES:
        assert settings[name]["epochs"] == embedding.figure_epochs == settings["draw_figure_a1"]["epochs"]
    assert {0, embedding.training.epochs} < set(embedding.figure_epochs)


def test_without_a_figure_a1_it_has_no_recipe():
    without = configured("embedding: {figure: null}").embedding
    with pytest.raises(ValueError, match="no Figure A1"):
        recipes.train_plane_embedding(without, "triplet")


def test_a_recipe_lists_the_defences_of_its_method_in_their_order():
    settings = {name: json.loads(recipe.settings) for name, recipe in recipes_of(configured()).items()}
    rows = {row["name"]: row for row in settings["assemble_table3 table3_supplement"]["rows"]}
    for name, method in configured().robustness.active_methods.items():
        recipe = settings[f"train_robust_network {name}"]
        assert [one["name"] for one in recipe["defences"]] == [one.name for one in method.defences]
        assert recipe["architecture"] == {
            "name": "preact_resnet18",
            "base_width": 8,
        }  # which the stage's defences change
        assert rows[name]["defences"] == recipe["defences"]
    parseval, regularizer = settings["train_robust_network both"]["defences"]
    assert parseval == {"name": "parseval", "options": {"beta": 0.01}}
    assert regularizer["options"] == {
        "weight": 1e-4,
        "power": 2,
        "reduction": "mean",
        "k": None,
        "normalize": False,
        "similarity": "cosine",
        "rbf_scale": 2.0,
    }


def test_a_defence_of_your_own_is_named_by_its_module():
    own = {"name": "other", "module": "parseval", "arguments": {"beta": 0.3}}
    robustness = configured({"robustness": {"methods": {"own": {"label": "Own", "defences": [own]}}}}).robustness
    recipe = recipes.train_robust_network(robustness, "own")
    assert json.loads(recipe.settings)["defences"] == [{"name": "parseval", "options": {"beta": 0.3}}]
    assert recipe.code == recipes.train_robust_network(robustness, "parseval").code


# --- types --------------------------------------------------------------------------------------------------------


def fits(value, kind):
    """Return whether a value of JSON has a type of `lgg.pipeline.recipe_types`."""
    if is_typeddict(kind):
        hints = get_type_hints(kind)
        has_keys = isinstance(value, dict) and kind.__required_keys__ <= set(value) <= set(hints)
        return has_keys and all(fits(one, hints[key]) for key, one in value.items())
    origin, inside = get_origin(kind), get_args(kind)
    if origin is Literal:
        return value in inside
    if origin is list:
        return isinstance(value, list) and all(fits(one, inside[0]) for one in value)
    if origin is dict:
        return isinstance(value, dict)
    if inside:
        return any(fits(value, one) for one in inside)
    if kind is type(None):
        return value is None
    return isinstance(value, (int, float) if kind is float else kind) and (kind is bool or not isinstance(value, bool))


def type_of(stage):
    """Return the type of a recipe, by the name of its stage in `recipes_of`."""
    name = {
        "train_teacher": "train_network",
        "train_student": "train_network",
        "train_reference_network": "train_network",
        **dict.fromkeys(TRAINING_FIGURES - {"draw_embedding_training"}, "draw_training_curves"),
        **{f"draw_{section}_corruptions": "draw_corruption_errors" for section in ("embedding", "robustness")},
    }.get(stage, stage.partition(" ")[0])
    return getattr(recipe_types, "".join(map(str.capitalize, name.split("_"))))


@pytest.mark.parametrize(
    "overlay",
    [
        "{}",
        "{corruptions: null, distillation: {training: {optimizer: {name: adamw}}}}",
        "{data: {source: arrays, path: x, mean: [0, 0, 0], std: [1, 1, 1]}, timing: {adversarial: null}}",
        "data: {source: torchvision, dataset: SVHN, image_size: 64}",
    ],
)
def test_recipes_have_their_types(overlay):
    configuration = configured(overlay)
    made = recipes_of(configuration) if configuration.corruptions else recipes_without_corruptions(configuration)
    wrong = [stage for stage, recipe in made.items() if not fits(json.loads(recipe.settings), type_of(stage))]
    assert wrong == []


def recipes_without_corruptions(configuration):
    """Return the recipes without corrupted images, and those that differ from the usual ones."""
    paper = read_paper(CONFIG / "paper.yaml", configuration)
    return {
        "train_teacher": recipes.train_teacher(configuration.distillation),
        "evaluate_embedding": recipes.evaluate_embedding(configuration.embedding, None, "triplet", 0),
        "assemble_table2": recipes.assemble_table2(configuration.embedding, None, paper),
        "assemble_table3 table3": recipes.assemble_table3(configuration.robustness, None, "table3", paper),
        "measure_times": recipes.measure_times(configuration),
    }


def test_a_misspelt_key_does_not_fit():
    settings = json.loads(recipes_of(configured())["train_robust_network both"].settings)
    assert fits(settings, recipe_types.TrainRobustNetwork)
    settings["defences"][0]["optoins"] = settings["defences"][0].pop("options")
    assert not fits(settings, recipe_types.TrainRobustNetwork)


@pytest.mark.parametrize("stage", sorted(recipes_of(configured())))
def test_settings_are_one_canonical_line_of_json(stage):
    settings = recipes_of(configured())[stage].settings
    assert json.dumps(json.loads(settings), sort_keys=True, separators=(",", ":")) == settings
    assert settings.isascii()
    assert "\n" not in settings


def test_the_recipe_of_the_data_is_what_the_sources_read():
    small = {
        "data": {"source": "digits", "train_images": 200, "test_images": 10},
        **dict.fromkeys(("geometry", "distillation", "embedding", "robustness")),
        "corruptions": {"images": None},
    }
    recipe = recipes.prepare_data(configured(small))
    train, test = sources.load(json.loads(recipe.settings))
    assert (len(train.labels), len(test.labels)) == (200, 10)


def test_a_teacher_that_is_null_has_no_recipe():
    without = configured({"distillation": {"teacher": None, "methods": dict.fromkeys(METHODS)}})
    with pytest.raises(ValueError, match="no teacher"):
        recipes.train_teacher(without.distillation)


# --- code ---------------------------------------------------------------------------------------------------------


# settings that train the networks of Table A1
TIMED_CODE = {
    *(
        f"lgg.losses{name}"
        for name in ("", ".relational", ".graph_distillation", "._options", "._pairs", "._signs", ".label_variation")
    ),
    *(f"lgg.losses.{name}" for name in ("regularizer", "parseval")),
    *(f"lgg.defences{name}" for name in ("", ".base", ".regularizer", ".parseval", ".adversarial")),
    *(
        "lgg.graph",
        "lgg.products",
        "lgg.attacks",
        "lgg.models.wide_resnet",
        "lgg.models.preact_resnet",
        "lgg.data.augmentation",
        "lgg.data.batches",
    ),
    "lgg.training.schedule",
    *(f"lgg.training.{name}" for name in ("fit", "step", "objectives", "timing")),
    *(
        f"lgg.pipeline.stages.{name}"
        for name in ("distill_student", "train_embedding", "train_robust_network", "networks")
    ),
    *("lgg.pipeline.machine", "lgg.evaluation", "lgg.evaluation.geometry", "lgg.pipeline.stages.measure_times"),
    *("lgg.devices", "lgg.models", "lgg.models.base", "lgg.models.normalization", "lgg.training.terminal"),
    *("lgg.training.signals", "lgg.training", "lgg.training.checkpoint", "lgg.training.resume"),
    *(f"lgg.training.{name}" for name in ("history", "optimizers", "progress", "recorder", "results", "setup")),
    "lgg.models.weights",
}


@pytest.fixture(scope="module")
def committed():
    return recipes_of(configured())


EVERY = set(recipes_of(configured()))
TABLES = {name for name in EVERY if name.startswith("assemble_")}
FIGURES = {name for name in EVERY if name.startswith("draw_")}
WITHOUT_IMAGES = FIGURES - {"draw_corruptions", "draw_figure1", "draw_figure_a1", "draw_embedding_training"}
CONFIG_FILES = [
    f"config.{path.stem}" for path in (syntax.ROOT / "pipeline/config").glob("*.py") if path.stem != "__init__"
]
# what defences run; they are made where the legends of Section 4.3's tables describe them, too
CODE_OF_DEFENCES = {
    *(f"lgg.defences{name}" for name in ("", ".base", ".regularizer", ".parseval", ".adversarial")),
    *(f"lgg.losses{name}" for name in ("", "._options", "._signs", ".regularizer", ".parseval")),
    *("lgg.graph", "lgg.products", "lgg.attacks"),
}
# a module, and the stages that import it: editing it changes no other stage
MODULE_CHANGES = [
    ("lgg.losses.hinton", {"distill_student hinton"}),
    ("lgg.losses.relational", {"distill_student rkd_d"}),
    ("lgg.losses.graph_distillation", {"distill_student gkd", "distill_student gkd_inter"}),
    (
        "lgg.losses._options",
        {
            *("distill_student gkd", "distill_student gkd_inter"),
            *LABEL_VARIATION,
            *("train_embedding triplet", "draw_embedding_training"),
            *REGULARIZED,
        },
    ),
    ("lgg.losses._pairs", DISTILLED - {"distill_student hinton"}),
    (
        "lgg.losses._signs",
        {
            *("distill_student gkd", "distill_student gkd_inter"),
            *LABEL_VARIATION,
            "draw_embedding_training",
            *REGULARIZED,
        },
    ),
    ("lgg.losses.label_variation", {*LABEL_VARIATION, "draw_embedding_training"}),
    ("lgg.losses.triplet", {"train_embedding triplet"}),
    ("lgg.losses.regularizer", REGULARIZED),
    ("lgg.losses.parseval", PARSEVAL),
    *((module, TRAININGS) for module in ("lgg.defences", "lgg.defences.base")),
    ("lgg.defences.regularizer", REGULARIZED),
    ("lgg.defences.parseval", PARSEVAL),
    ("lgg.defences.adversarial", ATTACKED),
    ("lgg.losses", {*DISTILLED, *EMBEDDED, *PLANES, *REGULARIZED, *PARSEVAL, "draw_embedding_training"}),
    (
        "lgg.graph",
        {
            *DISTILLED,
            "evaluate_geometry",
            *LABEL_VARIATION,
            *("train_embedding triplet", "draw_embedding_training"),
            *DEFENDED,
            "train_plane_embedding cross_entropy",  # embeddings can be scaled to length one
            *JUDGED,
            "evaluate_robustness",
        },
    ),
    (
        "lgg.products",
        {
            *DISTILLED,
            "evaluate_geometry",
            *LABEL_VARIATION,
            *("train_embedding triplet", "draw_embedding_training"),
            *DEFENDED,
            "train_plane_embedding cross_entropy",  # embeddings can be scaled to length one
            *JUDGED,
            "evaluate_robustness",
        },
    ),
    ("lgg.attacks", {"train_robust_network adversarial", "evaluate_robustness"}),
    ("lgg.models.wide_resnet", {*WIDE_RESNETS, "evaluate_network"}),
    (
        "lgg.models.preact_resnet",
        {*PREACT_RESNETS, "evaluate_geometry", "draw_figure1", *JUDGED, "evaluate_robustness", "evaluate_corruptions"},
    ),
    ("lgg.data.photo_patches", {"prepare_data"}),
    ("lgg.data.sources", {"prepare_data"}),
    ("lgg.data.splits", {"prepare_data"}),
    ("lgg.data.torchvision_sets", {"prepare_data"}),
    ("lgg.data.torchvision_names", {"prepare_data"}),
    ("lgg.data.pictures", {"prepare_data"}),
    ("lgg.data.own_files", {"prepare_data"}),
    ("lgg.data.draws", {"prepare_data", *CORRUPTED, "evaluate_robustness"}),
    *((f"lgg.data.{module}", {*TRAININGS, *EVALUATIONS}) for module in ("augmentation", "batches")),
    *(
        (f"lgg.data.corruptions.{module}", {*CORRUPTED, "keep_corruptions"})
        for module in sorted({path.stem for path in (syntax.ROOT / "data" / "corruptions").glob("[a-z]*.py")})
    ),
    ("lgg.data.corruption_archive", {*CORRUPTED, "keep_corruptions"}),
    ("lgg.training.fit", TRAININGS),
    ("lgg.training.step", TRAININGS),
    ("lgg.training.objectives", TRAININGS),
    ("lgg.training.schedule", TRAININGS),
    ("lgg.evaluation.accuracy", EVALUATIONS - {"evaluate_geometry", *JUDGED}),
    ("lgg.evaluation.batching", {*EVALUATIONS, *PLANES} - {"evaluate_geometry"}),
    ("lgg.evaluation.geometry", {"evaluate_geometry", *DEFENDED}),
    ("lgg.evaluation.embeddings", {*JUDGED, *PLANES}),
    ("lgg.evaluation.pgd", {"evaluate_robustness"}),
    ("lgg.evaluation.robustness", {"evaluate_robustness"}),
    ("lgg.evaluation.corruptions", CORRUPTED),
    ("lgg.evaluation.classifiers", {*JUDGED, "draw_figure_a1"}),
    ("lgg.evaluation.reference_levels", {"draw_embedding_training"}),
    ("lgg.evaluation.robustness_tests", {"evaluate_robustness"}),
    ("lgg.reporting.corruption_error", {"assemble_table2", *TABLES3}),
    ("lgg.reporting.corruption_measures", {"assemble_table2", *TABLES3}),
    ("lgg.reporting.embedding_table", {"assemble_table2"}),
    ("lgg.reporting.robustness_table", TABLES3),
    ("lgg.reporting.measures", {"assemble_table1", "assemble_table2", *TABLES3, *ERROR_FIGURES}),
    ("lgg.reporting.tables", {"assemble_table1", "assemble_table2", *TABLES3}),
    ("lgg.reporting.comparison_table", {"assemble_table2", *TABLES3}),
    ("lgg.reporting.distillation_table", {"assemble_table1"}),
    ("lgg.reporting.notes", {"assemble_table1", "assemble_table2", *TABLES3}),
    ("lgg.reporting.embedding_figures", {"draw_figure_a1"}),
    ("lgg.reporting.robustness_figures", ERROR_FIGURES),
    (
        "lgg.reporting.seeds",
        {
            *TRAINING_FIGURES,
            *("assemble_table1", "assemble_table2", *TABLES3),
            *("draw_embedding_corruptions", "draw_robustness_corruptions"),
            *("draw_layer_variation", "draw_snr_curves", "draw_weight_sweep"),
        },
    ),
    ("lgg.pipeline.stages.distill_student", DISTILLED),
    ("lgg.pipeline.stages.train_network", {"train_teacher", "train_student", "train_reference_network"}),
    ("lgg.pipeline.stages.train_embedding", {*EMBEDDED, *PLANES}),
    ("lgg.pipeline.stages.train_plane_embedding", PLANES),
    ("lgg.pipeline.stages.train_robust_network", DEFENDED),
    ("lgg.pipeline.stages.networks", TRAININGS),
    ("lgg.pipeline.stages.assemble_table3", TABLES3),
    ("lgg.training.timing", set()),
    ("lgg.pipeline.stages.measure_times", set()),
    ("lgg.reporting.time_table", set()),
    ("lgg.reporting.times_figure", TABLE_A1),
    ("lgg.pipeline.machine", set()),
    # modules of all stages, of those that read images, and of those that run networks
    *(
        (module, EVERY)
        for module in (
            "lgg",
            "lgg._lazy",
            "lgg.errors",
            "lgg.files",
            "lgg.pipeline",
            "lgg.pipeline.stages",
            "lgg.pipeline.job",
        )
    ),
    *((module, EVERY - WITHOUT_IMAGES) for module in ("lgg.data", "lgg.data.storage")),
    ("lgg.devices", {*TRAININGS, *EVALUATIONS}),
    *((module, {*TRAININGS, *EVALUATIONS}) for module in ("lgg.training", "lgg.training.checkpoint")),
    *(
        (f"lgg.models{module}", {*TRAININGS, *EVALUATIONS, "draw_figure1"})
        for module in ("", ".base", ".normalization")
    ),
    *(
        (f"lgg.training.{module}", TRAININGS)
        for module in ("history", "optimizers", "progress", "recorder", "results", "resume", "setup")
    ),
    ("lgg.models.weights", TRAININGS),
    *((module, TRAININGS) for module in ("lgg.training.terminal", "lgg.training.signals")),
    ("lgg.data.corruption_names", {*CORRUPTED, "keep_corruptions", "assemble_table2", *TABLES3}),
    ("lgg.data.corruptions", {*CORRUPTED, "keep_corruptions"}),
    (
        "lgg.evaluation",
        {
            *(EVALUATIONS | PLANES | DEFENDED),
            *("draw_corruptions", "draw_figure1", "draw_figure_a1", "draw_embedding_training"),
        },
    ),
    ("lgg.evaluation.size", {"draw_figure1", "evaluate_network"}),
    # modules that write tables and figures
    ("lgg.reporting", {*TABLES, *FIGURES}),
    ("lgg.reporting.figures", {*FIGURES, "assemble_table1", *TABLE_A1}),
    ("lgg.reporting.statistics", {*TABLES, *FIGURES}),
    ("lgg.reporting.geometry_figures", {"draw_figure1", "draw_figure2"}),
    ("lgg.reporting.training_figures", {*TRAINING_FIGURES, "draw_layer_variation"}),
    ("lgg.reporting.distillation_figure", {"assemble_table1"}),
    ("lgg.reporting.depth_figures", {"draw_graph_depths"}),
    ("lgg.pipeline.stages.draw_training_curves", TRAINING_FIGURES - {"draw_embedding_training"}),
    ("lgg.pipeline.stages.draw_corruption_errors", {"draw_embedding_corruptions", "draw_robustness_corruptions"}),
    ("lgg.pipeline.stages.evaluate_embedding", JUDGED),
    ("lgg.pipeline.stages.evaluate_robustness", {"evaluate_robustness"}),
    *(
        (f"lgg.pipeline.stages.{stage}", {stage})
        for stage in (
            *(
                "assemble_table1",
                "assemble_table2",
                "draw_corruptions",
                "draw_embedding_training",
                "draw_figure1",
                "draw_figure2",
                "draw_figure_a1",
            ),
            *(
                "draw_graph_depths",
                "draw_layer_variation",
                "draw_snr_curves",
                "draw_weight_sweep",
                "evaluate_corruptions",
            ),
            *("evaluate_geometry", "evaluate_network", "keep_corruptions", "prepare_data"),
        )
    ),
    ("lgg.pipeline.stages.assemble_table_a1", TABLE_A1),
    # modules that run before or next to the stages, or only if chosen
    *(
        (f"lgg.{module}", set())
        for module in (
            *("representations", "reporting.job_times", "reporting.overview", "reporting.networks_table"),
            *("models.foreign", "models.layers", "models.own_file", "models.pretrained", "export"),
            *(
                f"pipeline.{name}"
                for name in (
                    *("__main__", "config", *CONFIG_FILES, "registry", "recipes", "recipe_types"),
                    *("digest", "definitions", "effects", "names", "syntax"),
                    *("provenance", "workflow", "rules", "ending", "interrupt", "metadata"),
                    *("environment", "gpus", "driver", "streams"),
                    *("stages.download_corruptions", "stages.download_weights", "stages.load_network"),
                    *("stages.check_networks", "stages.list_networks"),
                )
            ),
        )
    ),
]


def test_every_module_of_the_package_has_a_row():
    files = {path.relative_to(syntax.ROOT).with_suffix("") for path in syntax.ROOT.rglob("*.py")}
    modules = {".".join(("lgg", *path.parts)).removesuffix(".__init__") for path in files}
    rows = [module for module, _ in MODULE_CHANGES]
    assert sorted(rows) == sorted(modules)


@pytest.mark.parametrize(("module", "stages"), MODULE_CHANGES)
def test_editing_all_of_a_module_changes_the_recipes_that_import_it_and_no_others(
    module, stages, committed, monkeypatch
):
    code = digest._code
    monkeypatch.setattr(digest, "_code", lambda name, names: code(name, names) + ("#" if name == module else ""))
    edited = recipes_of(configured())
    stages = stages | (MEASURED if module in TIMED_CODE else set())
    stages |= TABLES3 if module in CODE_OF_DEFENCES else set()
    stages |= (
        TABLE_A1
        if module in {f"lgg.reporting.{name}" for name in ("tables", "notes", "time_table", "measures")}
        else set()
    )
    assert changed(committed, edited) == stages
    assert all(edited[stage].settings == committed[stage].settings for stage in committed)


# a definition, and the stages that reach it: editing it changes no other stage
DEFINITION_CHANGES = [
    ("lgg.graph.laplacian_eigenmaps", {"evaluate_geometry"}),
    ("lgg.graph.total_variation", set()),
    (
        "lgg.graph.label_variations",
        {"evaluate_geometry", *LABEL_VARIATION, "draw_embedding_training", *DEFENDED, *TABLES3, *MEASURED},
    ),
    (
        "lgg.graph.nearest_neighbours",
        {"evaluate_geometry", "distill_student gkd", "distill_student gkd_inter", *LABEL_VARIATION}
        | {"draw_embedding_training"}
        | DEFENDED  # the label variation that all of them write down is that of a graph
        | TABLES3  # which make the regularizer for its sentence
        | MEASURED,
    ),
    ("lgg.training.objectives.Distillation", {*DISTILLED, *MEASURED}),
    ("lgg.training.objectives.MetricLearning", {*EMBEDDED, *PLANES, *MEASURED}),
    ("lgg.training.objectives.select_layers", {*DISTILLED, *MEASURED}),
    ("lgg.training.checkpoint.load_model", {*DISTILLED, *EVALUATIONS}),
    ("lgg.training.signals.ignore_warnings", set()),  # the launcher's
    ("lgg.data.storage.write_images", {"prepare_data"}),
    ("lgg.data.batches.in_order", {*EVALUATIONS, *PLANES} - {"evaluate_geometry"}),
    ("lgg.evaluation.geometry.describe_graph", {"evaluate_geometry"}),
    ("lgg.evaluation.geometry.label_variation_of_layers", DEFENDED),
    ("lgg.reporting.figures.save_animation", {"draw_graph_depths"}),
]


@pytest.mark.parametrize(("definition", "stages"), DEFINITION_CHANGES)
def test_editing_a_definition_changes_the_recipes_that_reach_it_and_no_others(
    definition, stages, committed, monkeypatch
):
    module, _, name = definition.rpartition(".")
    assert name in module_of(module).definitions
    code = digest._code
    edited = lambda at, names: code(at, names) + ("#" if at == module and name in names else "")  # noqa: E731
    monkeypatch.setattr(digest, "_code", edited)
    assert changed(committed, recipes_of(configured())) == stages


def test_the_network_of_the_teacher_counts_in_distillation(monkeypatch):
    raw = read()
    raw["distillation"]["teacher"]["architecture"] = {"name": "preact_resnet18", "base_width": 8}
    raw["distillation"]["methods"] = {
        "baseline": {"label": "Baseline", "loss": "none"},
        "hinton": {"label": "Hinton", "loss": "hinton"},
    }
    raw["timing"]["methods"] = ["robustness.baseline"]
    before = recipes_of(load(raw))
    code = digest._code
    monkeypatch.setattr(
        digest, "_code", lambda *given: code(*given) + ("#" if given[0] == "lgg.models.preact_resnet" else "")
    )
    after = recipes_of(load(raw))
    assert {"train_teacher", "distill_student hinton"} <= changed(before, after)
    assert "train_student" not in changed(before, after)


# --- files --------------------------------------------------------------------------------------------------------


OTHERS = (".DS_Store", "Thumbs.db", "desktop.ini", "._train.npz", "._1.png", "readme.txt", "validation.npz")


@pytest.fixture
def opened(monkeypatch):
    """Return a list that collects the files that NumPy and Pillow open from now on."""
    files = []

    def noting(function):
        return lambda path, *given, **named: (files.append(str(path)), function(path, *given, **named))[1]

    monkeypatch.setattr(sources.np, "load", noting(np.load))
    monkeypatch.setattr(pictures.Image, "open", noting(Image.open))
    return files


def images_read(source, folder):
    """Read a source with the user's own files, and return its settings."""
    data = Data(source=source, path=str(folder))
    for split in sources.load(data.model_dump(mode="json")):
        split.in_memory()
    return data


def strew(folder, names):
    for path in (folder / name for name in names):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\x00")


def test_the_data_depend_on_the_arrays_that_are_read_and_on_no_other_file(tmp_path, opened):
    for split in ("train", "test"):
        np.savez(tmp_path / f"my-{split}.npz", images=np.zeros((2, 32, 32, 3), np.uint8), labels=np.arange(2))
    strew(tmp_path, [*OTHERS, "old/train.npz"])
    data = images_read("arrays", tmp_path)
    assert opened == recipes.source_files(data) == [str(tmp_path / f"my-{one}.npz") for one in ("train", "test")]


def test_the_data_depend_on_the_pictures_that_are_read_and_on_no_other_file(tmp_path, opened):
    names = [f"{split}/{one}/{name}" for split in ("train", "test") for one in "ab" for name in ("1.png", "2.JPG")]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32)).save(tmp_path / name)
    for folder in ("", "train", "train/a", "test/b", ".hidden/a", "train/.hidden", "other/a"):
        strew(tmp_path / folder, [*OTHERS, ".1.png", "1.png.part"])
    strew(tmp_path, ["train/1.png", "other/a/1.png", "train/.hidden/1.png"])
    data = images_read("image_folder", tmp_path)
    assert opened == recipes.source_files(data) == [str(tmp_path / name) for name in names]
    before = recipes.source_state(data)
    strew(tmp_path, ["train/a/Thumbs.db.new", "train/3.png"])
    assert recipes.source_state(data) == before
    Image.new("RGB", (32, 32), "red").save(tmp_path / names[0])
    assert recipes.source_state(data) != before


@pytest.mark.parametrize(("source", "path"), [("digits", None), ("photo_patches", None), ("cifar10", "downloads")])
def test_other_sources_depend_on_no_file_of_ours(source, path):
    assert recipes.source_files(Data(source=source, path=path)) == []
    assert recipes.source_state(Data(source=source, path=path)) == ""


# --- Table A1 -------------------------------------------------------------------------------------------------------


def timed_rows(*overlays):
    return {row["name"]: row for row in json.loads(recipes.measure_times(configured(*overlays)).settings)["rows"]}


def test_a_timed_training_run_is_its_method_s_without_settings_that_take_no_time():
    distillation, robustness = configured().distillation, configured().robustness
    for name, recipe in (
        ("distillation.gkd", recipes.distill_student(distillation, "gkd")),
        ("robustness.both", recipes.train_robust_network(robustness, "both")),
    ):
        timed, trained = timed_rows()[name]["recipe"], json.loads(recipe.settings)
        del trained["training"]["schedule"]
        for settings in (timed, trained):
            settings.pop("weight", None)
            for defence in settings.get("defences", ()):
                defence["options"].pop("weight", None)
        assert timed == trained


def test_only_students_with_a_teacher_have_one():
    teachers = {name for name, row in timed_rows().items() if row["teacher"]}
    assert teachers == {"distillation.rkd_d", "distillation.gkd"}


def test_adversarial_training_is_timed_with_the_paper_s_attack_unless_configured_otherwise():
    def steps(*overlays):
        (attack,) = timed_rows(*overlays)["robustness.adversarial"]["recipe"]["defences"]
        return attack["options"]["steps"]

    assert configured().robustness.methods["adversarial"].adversarial.steps == 1
    assert steps() == 7
    assert steps("timing: {adversarial: null}") == 1
    assert timed_rows()["robustness.baseline"]["recipe"]["defences"] == []


# --- networks of your own -------------------------------------------------------------------------------------------

NET = """from torch import nn


class Net(nn.Module):
    def __init__(self, num_classes, width=1):
        super().__init__()
"""
FOREIGN = """
seeds: [0, 1]
geometry: {architecture: {name: torchvision, model: resnet18}, weights: nets/start.pt, fine_tune: true}
distillation:
  teacher: {architecture: {name: torchvision, model: resnet18}, weights: nets/teacher.pt}
  student: {architecture: {name: other, class: "nets/own.py:Net"}}
  methods: {gkd: {layers: [{teacher: layer1, student: a}]}, rkd_d: {trained: "nets/rkd{seed}.pt"}}
embedding: {architecture: {name: timm, model: resnet18, pretrained: true}}
robustness:
  architecture: {name: torchvision, model: mobilenet_v3_small}
  weights: nets/start.pt
  methods: {both: {trained: "nets/both{seed}.pt"}}
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Return a folder with all files that FOREIGN names, from which paths are relative."""
    monkeypatch.chdir(tmp_path)
    strew(tmp_path, [f"nets/{name}.pt" for name in ("start", "teacher", "rkd0", "rkd1", "both0", "both1", "both1000")])
    (tmp_path / "nets/own.py").write_text(NET, "utf-8")
    return tmp_path


def trainings_of(config):
    """Return the recipes of trainings and loads by the names of the checks of their networks."""
    distillation, embedding, robustness = config.distillation, config.embedding, config.robustness
    made = {
        "geometry": [recipes.train_reference_network(config.geometry)],
        "distillation.teacher": [recipes.load_network(distillation.teacher.network)],
    }
    for name, method in distillation.active_methods.items():
        if method.trained:
            made[f"distillation.{name}"] = [
                recipes.load_network(distillation.network_of(name), seed) for seed in (0, 1)
            ]
        elif method.loss == "none":
            made[f"distillation.{name}"] = [recipes.train_student(distillation)]
        else:
            # students depend on the teacher's file, too
            made[f"distillation.{name}"] = [recipes.distill_student(distillation, name), *made["distillation.teacher"]]
    for name in embedding.active_methods:
        made[f"embedding.{name}"] = [recipes.train_embedding(embedding, name)]
    for name in embedding.figure_methods:
        made[f"embedding.figure.{name}"] = [recipes.train_plane_embedding(embedding, name)]
    for name, method in robustness.active_methods.items():
        seeds = robustness.seeds_needed(name, [0, 1])
        made[f"robustness.{name}"] = (
            [recipes.load_robust_network(robustness, name, seed) for seed in seeds]
            if method.trained
            else [recipes.train_robust_network(robustness, name)]
        )
    return made


def checks_of(config):
    return {name: one.recipe for name, one in recipes.checked(config).items()}


def rewrite(path, content=b"other bytes"):
    path.write_bytes(content)


#: by what changes: an overlay or a function of the folder, and the rows whose networks change
NETWORK_CHANGES = {
    "weights of the teacher": (
        lambda folder: rewrite(folder / "nets/teacher.pt"),
        {"distillation.teacher", *(f"distillation.{name}" for name in ("hinton", "gkd", "gkd_inter"))},
    ),
    "weights of a row": (lambda folder: rewrite(folder / "nets/rkd1.pt"), {"distillation.rkd_d"}),
    "weights of a robust row": (lambda folder: rewrite(folder / "nets/both0.pt"), {"robustness.both"}),
    "the time of a file": (lambda folder: os.utime(folder / "nets/teacher.pt", (0, 0)), set()),
    "a path": (
        lambda folder: (folder / "nets/teacher.pt").rename(folder / "moved.pt"),
        set(),
        "distillation: {teacher: {weights: moved.pt}}",
    ),
    "the own network's code": (
        lambda folder: rewrite(folder / "nets/own.py", NET.replace("width=1", "width=2").encode()),
        {f"distillation.{name}" for name in ("baseline", "hinton", "gkd", "gkd_inter", "rkd_d")},
    ),
    "a comment in it": (lambda folder: rewrite(folder / "nets/own.py", f"{NET}# a remark\n".encode()), set()),
    "pairs of layers": (
        "distillation: {methods: {gkd: {layers: [{teacher: layer2, student: a}]}}}",
        {"distillation.gkd"},
    ),
    "the layers of a section": (
        "robustness: {architecture: {layers: [features.0]}}",
        {f"robustness.{name}" for name in DEFENCES},
    ),
    "a stem": (
        "embedding: {architecture: {stem: small}}",
        {
            *(f"embedding.{name}" for name in EMBEDDINGS),
            "embedding.figure.cross_entropy",
            "embedding.figure.label_variation",
        },
    ),
    "the architecture of a row": (
        "robustness: {methods: {both: {architecture: {name: torchvision, model: resnet18}}}}",
        {"robustness.both"},
    ),
    "a label": ("robustness: {methods: {both: {label: Two}}}", set()),
    "a schedule": ("geometry: {training: {schedule: [{epochs: 1, learning_rate: 0.1}]}}", {"geometry"}),
}


@pytest.mark.parametrize("change", NETWORK_CHANGES)
def test_a_changed_network_changes_the_recipes_of_its_rows_alone(own, change):
    what, rows, *overlay = NETWORK_CHANGES[change]
    config = configured(FOREIGN)
    trainings, checks = trainings_of(config), checks_of(config)
    assert checks.keys() == trainings.keys()
    overlay = [what] if isinstance(what, str) else [*overlay, "{}"][:1]
    if callable(what):
        what(own)
    after = configured(FOREIGN, *overlay)
    assert changed(trainings, trainings_of(after)) == rows
    # a check that is repeated must not repeat a training that would have stayed
    assert changed(checks, checks_of(after)) <= rows


@pytest.mark.parametrize(
    "row", ["distillation.gkd", "distillation.baseline", "embedding.triplet", "robustness.baseline"]
)
def test_all_code_that_counts_in_a_check_counts_in_the_training_that_waits_for_it(own, row, monkeypatch):
    counted, reached = {}, digest.reached
    digests = lambda *modules: counted.setdefault(str(modules), modules) and str(modules)  # noqa: E731
    monkeypatch.setattr(recipes, "code_digest", digests)
    config = configured(FOREIGN)
    check, training = (reached(*counted[one.code]) for one in (checks_of(config)[row], trainings_of(config)[row][0]))
    assert all(names <= training.get(module, frozenset()) for module, names in check.items())


def test_the_paper_s_networks_are_not_checked():
    assert recipes.checked(configured()) == {} and recipes.published(configured()) == {}


def test_checks_have_the_files_of_their_networks(own):
    checks = recipes.checked(configured(FOREIGN))
    assert checks["robustness.both"].weights == ["nets/both0.pt", "nets/both1.pt"]
    assert checks["geometry"].weights == ["nets/start.pt"]
    assert checks["embedding.triplet"].downloads == ["downloads/weights/timm-resnet18.safetensors"]
    assert list(recipes.published(configured(FOREIGN))) == ["timm-resnet18"]
    assert all(len(one.settings["weights"]) == len(one.weights) for one in checks.values())


def test_recipes_of_networks_of_your_own_have_their_types(own):
    config = configured(FOREIGN)
    kinds = {"load_network": "LoadNetwork", "check_networks": "CheckNetworks"}
    made = [*checks_of(config).values(), *(one for several in trainings_of(config).values() for one in several)]
    made += [recipes.download_weights(config.embedding.network), recipes.list_networks(), recipes.measure_times(config)]
    for recipe in made:
        name = kinds.get(recipe.stage, "".join(map(str.capitalize, recipe.stage.split("_"))))
        assert fits(json.loads(recipe.settings), getattr(recipe_types, name)), recipe.stage


def test_tables_list_the_rows_that_were_trained_elsewhere(own):
    config = configured(FOREIGN)
    table = json.loads(recipes.assemble_table1(config.distillation, Paper()).settings)["trained"]
    labels = config.distillation.methods["rkd_d"].label
    assert table["elsewhere"] == ["Teacher", labels]
    assert [one["name"] for one in table["architectures"]] == ["file"]
    table = json.loads(recipes.assemble_table3(config.robustness, None, "table3", Paper()).settings)["trained"]
    assert table["elsewhere"] == [config.robustness.methods["both"].label]


def test_legends_state_the_weights_that_training_starts_from(own):
    config = configured(FOREIGN)
    names = [
        network_name(json.loads(recipe.settings)["trained"]["architectures"][0])
        for recipe in (
            recipes.assemble_table1(config.distillation, Paper()),
            recipes.assemble_table2(config.embedding, None, Paper()),
            recipes.assemble_table3(config.robustness, None, "table3", Paper()),
        )
    ]
    start = hashlib.sha256((own / "nets/start.pt").read_bytes()).hexdigest()[:12]
    assert names == [
        "Net of own.py",
        "timm resnet18 (starting from published weights)",
        f"torchvision mobilenet_v3_small (starting from weights {start})",
    ]


def test_the_paper_s_gains_are_shown_over_its_own_baseline_alone():
    rows = {}
    for baseline in ("baseline", "rkd_d"):
        distillation = configured(f"distillation: {{baseline: {baseline}}}").distillation
        recipe = recipes.assemble_table1(
            distillation, read_paper(CONFIG / "paper.yaml", configured(read("cifar10.yaml")))
        )
        rows[baseline] = {row["name"]: row["paper"] for row in json.loads(recipe.settings)["rows"]}
    assert rows["baseline"]["gkd"] == {"error": 9.71, "gain": 0.63}
    assert rows["rkd_d"]["gkd"] == {"error": 9.71}
