import json
import shutil
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from lgg import defences, losses, models
from lgg.data.batches import Batches
from lgg.data.storage import read_header, read_images
from lgg.evaluation.embeddings import features
from lgg.files import write_json, write_rows
from lgg.pipeline import recipes
from lgg.pipeline.registry import lazy_exports
from lgg.pipeline.stages import (
    assemble_table_a1,
    distill_student,
    measure_times,
    train_embedding,
    train_network,
    train_plane_embedding,
    train_robust_network,
)
from lgg.reporting.tables import FORMS
from lgg.training.checkpoint import load_model
from lgg.training.fit import Run
from lgg.training.results import ResultFiles


def outputs(*folders, **more):
    """Return the files of a network in each folder, with `more`, the kinds of further files by name."""
    kinds = {"model": "safetensors", "history": "csv", "metrics": "json", **more}
    return {f"out_{name}": [folder / f"{name}.{kind}" for folder in folders] for name, kind in kinds.items()}


def weights(path):
    return load_file(path / "model.safetensors")


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def untrained(images, seed, num_classes, **options):
    """Return the network that a stage begins with."""
    header = read_header(images / "train.safetensors")
    torch.manual_seed(seed)
    constants = {"mean": header["mean"], "std": header["std"]}
    return models.build("preact_resnet18", base_width=1, num_classes=num_classes, **constants, **options)


# --- Section 4.2 --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "dimensions", "expected"),
    [("cross_entropy", 5, 2), ("label_variation", 5, 5), ("triplet", None, 2)],
)
def test_an_embedding_has_the_dimensions_asked_for_and_cross_entropy_a_logit_a_class(
    settings, call, tmp_path, method, dimensions, expected
):
    embedding = settings.embedding.model_copy(update={"dimensions": dimensions})
    call(train_embedding, recipes.train_embedding(embedding, method).settings, seeds=[3], **outputs(tmp_path))
    network = load_model(tmp_path / "model.safetensors", expected={"num_classes": expected})
    assert network(torch.rand(4, 3, 32, 32)).shape == (4, expected)
    history = pd.read_csv(tmp_path / "history.csv")
    assert ("train_error" in history) == (method == "cross_entropy")
    assert history["epoch"].tolist() == [1, 2]
    metrics = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["images"] == 24
    assert metrics["recipe"]["loss"] == method and metrics["recipe"]["seed"] == 3


def test_an_embedding_s_loss_is_that_of_its_recipe(settings, call, images, tmp_path):
    """One step of size zero on all images: the history has the loss of the network at its start."""
    raw = json.loads(recipes.train_embedding(settings.embedding, "label_variation").settings)
    raw["training"] |= {"schedule": [{"epochs": 1, "learning_rate": 0.0}], "batch_size": 24}
    raw |= {"dimensions": 4, "weight": 0.5, "options": {"rbf_scale": 1.0, "reduction": "mean"}}
    call(train_embedding, raw, seeds=[0], **outputs(tmp_path))
    data = read_images(images / "train.safetensors")
    pixels = torch.from_numpy(data.images).permute(0, 3, 1, 2) / 255
    embedded = untrained(images, 0, 4).train()(pixels)
    expected = losses.LabelVariation(rbf_scale=1.0, reduction="mean")(embedded, torch.from_numpy(data.labels))
    history = pd.read_csv(tmp_path / "history.csv")
    assert history["embedding"][0] == pytest.approx(expected.item(), rel=1e-4)
    assert history["loss"][0] == pytest.approx(0.5 * expected.item(), rel=1e-4)


@pytest.mark.parametrize("method", ["label_variation", "cross_entropy"])
def test_positions_of_figure_a1_are_the_images_at_its_epochs_as_the_loss_sees_them(
    settings, call, images, tmp_path, method
):
    recipe = recipes.train_plane_embedding(settings.embedding, method).settings
    call(train_plane_embedding, recipe, **outputs(tmp_path, positions="safetensors"))
    positions = load_file(tmp_path / "positions.safetensors")
    assert positions.keys() == {f"{split}epoch{epoch}" for split in ("", "test_") for epoch in range(3)}
    train, test = (torch.from_numpy(read_images(images / f"{split}.safetensors").images) for split in ("train", "test"))
    layer, options = ("bottleneck", {"bottleneck": 2}) if method == "cross_entropy" else (None, {})
    seed = settings.embedding.figure.seed
    before = untrained(images, seed, 2, **options)
    after = load_model(tmp_path / "model.safetensors")
    for epoch, network in ((0, before), (2, after)):
        shown = [torch.from_numpy(features(network, pixels, layer=layer)) for pixels in (train, test)]
        if method == "label_variation":  # by the means and variances of the training images
            statistics = shown[0].mean(dim=0), shown[0].var(dim=0, correction=0)
            shown = [torch.nn.functional.batch_norm(rows, *statistics) for rows in shown]
        for name, expected in zip(("epoch", "test_epoch"), shown, strict=True):
            torch.testing.assert_close(positions[f"{name}{epoch}"], expected, rtol=1e-3, atol=1e-4)
    assert not torch.equal(positions["epoch0"], positions["epoch1"])


def test_looking_at_the_plane_on_the_way_does_not_change_the_training(settings, call, tmp_path):
    recipe = json.loads(recipes.train_plane_embedding(settings.embedding, "label_variation").settings)
    folders = [tmp_path / "all", tmp_path / "ends"]
    for folder, epochs in zip(folders, ([0, 1, 2], [0, 2]), strict=True):
        call(train_plane_embedding, recipe | {"epochs": epochs}, **outputs(folder, positions="safetensors"))
    assert same(*map(weights, folders))


# --- Section 4.3 --------------------------------------------------------------------------------------------------

REGULARIZER = {"name": "regularizer", "options": {"weight": 1e-3, "power": 2, "reduction": "mean"}}
PARSEVAL = {"name": "parseval", "options": {"beta": 0.01}}
PGD = {"epsilon": 8 / 255, "step_size": 4 / 255, "steps": 2, "random_start": True}
ADVERSARIAL = {"name": "adversarial", "options": PGD}
NO_CHANGE = [{"epochs": 1, "learning_rate": 0.0}]


def robust(*defences, seed=0, schedule=None, optimizer=None):
    return {
        "architecture": {"name": "preact_resnet18", "base_width": 1},
        "training": {
            "schedule": schedule or [{"epochs": 1, "learning_rate": 0.05}],
            "optimizer": optimizer or {"name": "sgd", "momentum": 0.9, "nesterov": False, "weight_decay": 5e-4},
            "batch_size": 8,
            "augmentation": "none",
            "label_smoothing": 0.0,
            "gradient_clipping": None,
            "precision": "float32",
        },
        "seed": seed,
        "defences": list(defences),
    }


def observed(*folders):
    return outputs(*folders, label_variation="csv")


def test_every_layer_is_observed_from_the_initialisation_on(call, tmp_path):
    call(train_robust_network, robust(REGULARIZER), **observed(tmp_path))
    variation = pd.read_csv(tmp_path / "label_variation.csv")
    epochs = range(len(pd.read_csv(tmp_path / "history.csv")) + 1)
    assert list(zip(variation["epoch"], variation["layer"], strict=True)) == list(product(epochs, range(1, 18)))
    assert variation["share"].between(0, 1).all() and (variation["label_variation"] >= 0).all()


def test_being_observed_changes_no_weight(call, tmp_path, monkeypatch):
    call(train_robust_network, robust(ADVERSARIAL), **observed(tmp_path / "observed"))
    empty = torch.zeros(17, 2)
    monkeypatch.setattr(train_robust_network, "label_variation_of_layers", lambda *_: empty)
    call(train_robust_network, robust(ADVERSARIAL), **observed(tmp_path / "not"))
    assert same(weights(tmp_path / "observed"), weights(tmp_path / "not"))


def test_parseval_training_retracts_the_weights_after_every_step(call, images, tmp_path):
    """With steps of size zero nothing but the retraction changes them: 24 images in batches of 8 are three of them."""
    call(train_robust_network, robust(PARSEVAL, schedule=NO_CHANGE), **observed(tmp_path))
    expected = untrained(images, 0, 2, parseval=True)
    for _ in range(3):
        losses.parseval_retract_(expected, 0.01)
    trained = load_model(tmp_path / "model.safetensors", expected={"parseval": True})
    for (name, one), other in zip(trained.named_parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6, msg=name)


def test_the_history_has_the_terms_of_the_loss(call, tmp_path):
    call(train_robust_network, robust(REGULARIZER, PARSEVAL), **observed(tmp_path))
    history = pd.read_csv(tmp_path / "history.csv")
    columns = ["epoch", "learning_rate", "loss", "task", "regularizer", "train_error", "seconds"]
    assert list(history) == columns
    np.testing.assert_allclose(history["loss"], history["task"] + 1e-3 * history["regularizer"], rtol=1e-5)


def test_adversarial_training_starts_its_attacks_by_the_seed(call, tmp_path):
    recipe = robust(ADVERSARIAL, seed=1)
    from_images = robust({"name": "adversarial", "options": PGD | {"random_start": False}}, seed=1)
    trained = {}
    for name, one in {"first": recipe, "again": recipe, "from images": from_images}.items():
        call(train_robust_network, one, **observed(tmp_path / name))
        trained[name] = weights(tmp_path / name)
    assert same(trained["first"], trained["again"])
    assert not same(trained["first"], trained["from images"])


def test_adversarial_training_sees_attacked_images(call, images, tmp_path):
    """A step of size zero on all images: the loss is larger than that of the same network on the images themselves."""
    found = []
    for number, entries in enumerate(([], [ADVERSARIAL])):
        call(train_robust_network, robust(*entries, schedule=NO_CHANGE), **observed(tmp_path / str(number)))
        found.append(pd.read_csv(tmp_path / str(number) / "history.csv")["task"][0])
    data = read_images(images / "train.safetensors")
    batches = Batches(torch.from_numpy(data.images), torch.from_numpy(data.labels), batch_size=8, seed=0)
    network = untrained(images, 0, 2).train()
    clean = [torch.nn.functional.cross_entropy(network(x), y).item() for x, y in batches.epoch(0)]
    assert found[0] == pytest.approx(np.mean(clean), rel=1e-4)
    assert found[1] > found[0]


def test_methods_of_one_seed_begin_alike(call, images, tmp_path):
    call(train_robust_network, robust(REGULARIZER, seed=4, schedule=NO_CHANGE), **observed(tmp_path))
    stored, initial = weights(tmp_path), untrained(images, 4, 2)
    for name, parameter in initial.named_parameters():
        assert torch.equal(stored[name], parameter), name


# --- settings of every training -------------------------------------------------------------------------------------


def test_smoothed_labels_are_those_of_every_objective_with_cross_entropy(settings, call, tmp_path, monkeypatch):
    teacher, made = models.build("wide_resnet", num_classes=2, depth=10, width=0.25), []
    monkeypatch.setattr(distill_student, "load_teacher", lambda *_: teacher)
    with_smoothing = {
        train_network: recipes.train_student(settings.distillation),
        distill_student: recipes.distill_student(settings.distillation, "gkd"),
        train_embedding: recipes.train_embedding(settings.embedding, "cross_entropy"),
        train_plane_embedding: recipes.train_plane_embedding(settings.embedding, "cross_entropy"),
        train_robust_network: recipes.train_robust_network(settings.robustness, "regularizer"),
    }
    for stage, recipe in with_smoothing.items():
        changed = json.loads(recipe.settings)
        changed["training"]["label_smoothing"] = 0.25
        monkeypatch.setattr(stage, "train_and_save", lambda _, __, make, **___: made.append(make(torch.device("cpu"))))
        files = {"out_label_variation": [], "out_positions": [tmp_path], "teacher": tmp_path}
        call(stage, changed, **files)
    assert [objective.label_smoothing for objective in made] == [0.25] * 5


def test_clipped_gradients_are_those_of_a_run(call, images, tmp_path):
    """Three steps of at most 0.05 · 1e-6 each leave the weights where they were, but for weight decay, which is none."""
    plain = {"name": "sgd", "momentum": 0.0, "nesterov": False, "weight_decay": 0.0}
    recipe = robust(REGULARIZER, optimizer=plain)
    recipe["training"]["gradient_clipping"] = 1e-6
    call(train_robust_network, recipe, **observed(tmp_path))
    stored = weights(tmp_path)
    moved = torch.cat([(stored[name] - one).flatten() for name, one in untrained(images, 0, 2).named_parameters()])
    assert 0 < moved.norm() <= 3.01 * 0.05e-6 + 1e-7  # of rounding


# --- several networks in one job ------------------------------------------------------------------------------------


@pytest.fixture
def trainings(settings, call, tmp_path):
    """Return stages by name, each with a recipe without a seed, and the files that it reads and writes besides the usual."""
    teacher = tmp_path / "teacher" / "model.safetensors"
    call(train_network, recipes.train_teacher(settings.distillation).settings, **outputs(teacher.parent))
    defended = robust(ADVERSARIAL, REGULARIZER, PARSEVAL)
    del defended["seed"]
    return {
        "student": (train_network, recipes.train_student(settings.distillation).settings, {}, {}),
        "gkd": (
            distill_student,
            recipes.distill_student(settings.distillation, "gkd").settings,
            {"teacher": teacher},
            {},
        ),
        "embedding": (train_embedding, recipes.train_embedding(settings.embedding, "triplet").settings, {}, {}),
        "robust": (train_robust_network, defended, {}, {"label_variation": "csv"}),
    }


@pytest.mark.parametrize("name", ["student", "gkd", "embedding", "robust"])
def test_networks_of_one_job_are_bit_by_bit_those_of_several(trainings, call, tmp_path, name):
    stage, recipe, read, more = trainings[name]
    folders = {seed: tmp_path / f"together{seed}" for seed in (5, 3)}
    call(stage, recipe, seeds=folders, **read, **outputs(*folders.values(), **more))
    assert not same(*map(weights, folders.values()))
    for seed, folder in folders.items():
        alone = tmp_path / f"alone{seed}"
        call(stage, recipe, seeds=[seed], **read, **outputs(alone, **more))
        assert {path.name for path in folder.iterdir()} == {path.name for path in alone.iterdir()}
        assert same(weights(folder), weights(alone))
        histories = [pd.read_csv(one / "history.csv").drop(columns="seconds") for one in (folder, alone)]
        pd.testing.assert_frame_equal(*histories, check_exact=True)
        for file in more:
            assert (folder / f"{file}.csv").read_bytes() == (alone / f"{file}.csv").read_bytes()
        metrics, expected = (json.loads((one / "metrics.json").read_text("utf-8")) for one in (folder, alone))
        assert metrics.pop("trained_together") == [5, 3]
        assert metrics["recipe"] == (json.loads(recipe) if isinstance(recipe, str) else recipe) | {"seed": seed}
        for one in (metrics, expected):
            del one["seconds"], one["last_epoch"]["seconds"]
        assert metrics == expected


def test_a_network_of_a_job_that_ended_too_soon_goes_on_alone_to_the_same_bits(
    trainings, call, tmp_path, monkeypatch, capfd
):
    """The job is stopped when both are trained and nothing is written: 24 images in batches of 8 are 3 steps an epoch."""
    stage, recipe, read, _ = trainings["gkd"]
    folders = {seed: tmp_path / f"seed{seed}" for seed in (3, 5)}

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(ResultFiles, "write", stop)
    with pytest.raises(KeyboardInterrupt):
        call(stage, recipe, folders, {"epochs": 1}, **read, **outputs(*folders.values()))
    monkeypatch.undo()
    assert not any((folder / "model.safetensors").exists() for folder in folders.values())
    capfd.readouterr()
    # the first had ended, the second has a checkpoint of its first epoch
    for (seed, folder), epoch in zip(folders.items(), (2, 1), strict=True):
        call(stage, recipe, [seed], **read, **outputs(folder))
        assert f"Resuming after epoch {epoch}, from the checkpoint {folder}" in capfd.readouterr().err
        assert not list(folder.glob("checkpoint*"))
        call(stage, recipe, [seed], **read, **outputs(tmp_path / "alone"))
        assert same(weights(folder), weights(tmp_path / "alone"))


# --- what is trained with -----------------------------------------------------------------------------------------


def test_the_optimizer_is_that_of_the_recipe(call, images, tmp_path):
    """A step on all images, as torch's own AdamW makes it."""
    optimizer = {"name": "adamw", "betas": [0.8, 0.9], "epsilon": 0.01, "weight_decay": 0.1}
    recipe = robust(schedule=[{"epochs": 1, "learning_rate": 0.05}], optimizer=optimizer)
    recipe["training"]["batch_size"] = 24
    call(train_robust_network, recipe, **observed(tmp_path))
    expected, data = untrained(images, 0, 2).train(), read_images(images / "train.safetensors")
    step = torch.optim.AdamW(expected.parameters(), lr=0.05, betas=(0.8, 0.9), eps=0.01, weight_decay=0.1)
    pixels = torch.from_numpy(data.images).permute(0, 3, 1, 2) / 255
    torch.nn.functional.cross_entropy(expected(pixels), torch.from_numpy(data.labels)).backward()
    step.step()
    for name, parameter in expected.named_parameters():
        torch.testing.assert_close(weights(tmp_path)[name], parameter.detach(), rtol=1e-4, atol=1e-5, msg=name)


def test_steps_of_every_section_are_timed(call, tmp_path, monkeypatch):
    built = []
    build = models.build
    monkeypatch.setattr(models, "build", lambda *names, **options: built.append(options) or build(*names, **options))
    plain, architecture = robust(), robust()["architecture"]
    kinds = {
        "robustness.all": ("robustness", robust(REGULARIZER, PARSEVAL, ADVERSARIAL), None),
        "embedding.triplet": ("embedding", plain | {"loss": "triplet", "options": {}, "weight": 1.0}, None),
        "distillation.baseline": ("distillation", plain, None),
        "distillation.gkd": (
            "distillation",
            plain | {"loss": "graph_distillation", "options": {}, "weight": 1.0, "layers": None},
            architecture | {"base_width": 2},
        ),
    }
    rows = []
    for name, (section, recipe, teacher) in kinds.items():
        own = recipe | {"training": {key: value for key, value in recipe["training"].items() if key != "schedule"}}
        rows.append({"name": name, "section": section, "recipe": own, "teacher": teacher})
    files = {"out_times": tmp_path / "times.csv", "out_machine": tmp_path / "machine.json"}
    call(measure_times, {"rows": rows, "rounds": 2, "steps": 1}, **files)
    times = pd.read_csv(files["out_times"])
    assert sorted(zip(times["name"], times["round"], strict=True)) == sorted(product(kinds, range(2)))
    assert (times["seconds_per_step"] > 0).all()
    assert [options.get("parseval", False) for options in built] == [True, False, False, False, False]
    machine = json.loads(files["out_machine"].read_text("utf-8"))
    assert machine["precision"] == dict.fromkeys(kinds, "float32")
    assert machine["images"] == 24 and machine["device"].startswith("CPU")
    assert machine["captured"] == []


@pytest.mark.parametrize(
    ("captured", "note"),
    [([], None), (["a"], "graphs (resources.captured_steps): First."), (["a", "b"], "captured_steps): all methods.")],
)
def test_the_legend_of_table_a1_says_which_steps_were_replayed(call, tmp_path, captured, note):
    methods = {"a": "First", "b": "Second"}
    times = [{"name": name, "round": number, "seconds_per_step": 0.5} for name in methods for number in range(2)]
    write_rows(tmp_path / "times.csv", times)
    machine = dict.fromkeys(("device", "processor", "cores", "threads", "torch", "system", "rounds", "steps"), 1)
    write_json(
        tmp_path / "machine.json", machine | {"precision": dict.fromkeys(methods, "float32"), "captured": captured}
    )
    rows = [
        {"name": name, "label": label, "baseline": "a", "batch_size": 8, "epochs": 1, "paper": {}}
        | {"network": {"name": "preact_resnet18", "base_width": 1}}
        for name, label in methods.items()
    ]
    files = {f"out_{form}": tmp_path / f"table.{form}" for form in (*FORMS, "pdf", "png")}
    given = {name: tmp_path / f"{name}.{kind}" for name, kind in (("times", "csv"), ("machine", "json"))}
    call(assemble_table_a1, {"rows": rows, "adversarial": None}, **given, **files)
    legend = files["out_md"].read_text("utf-8")
    assert ("replayed as CUDA" in legend) == (note is not None) and (note or "") in legend


FOURTH = """
from lgg.defences.base import Defence, Term


class SmallRepresentations(Defence):
    architecture = {"bottleneck": 3}

    def __init__(self, weight, noise=0.1):
        self.weight, self.noise = weight, noise

    def inputs(self, model, images, labels):
        import torch

        noise = torch.randn(images.shape, generator=self.generator, device=images.device)
        return images + self.noise * noise

    def term(self, outputs):
        return Term("size", outputs.representations[-1].square().mean(), self.weight)

    @property
    def sentence(self):
        return f"small representations with weight {self.weight:g}, noise {self.noise:g}"
"""


@pytest.fixture
def fourth(tmp_path, monkeypatch):
    """A copy of the package with a file and a line more: the defence "small_representations"."""
    folder = tmp_path / "lgg"
    shutil.copytree(Path(defences.__file__).parent, folder / "defences", ignore=shutil.ignore_patterns("__pycache__"))
    table, path = folder / "defences/__init__.py", folder / "defences/small_representations.py"
    line = '    "SmallRepresentations": ".small_representations",\n'
    table.write_text(table.read_text("utf-8").replace("_EXPORTS = {\n", "_EXPORTS = {\n" + line, 1), "utf-8")
    path.write_text(FOURTH, "utf-8")
    for name, module in lazy_exports(table).items():
        monkeypatch.setitem(defences._EXPORTS, name, module)
    monkeypatch.setattr(defences, "__path__", [*defences.__path__, str(folder / "defences")])
    yield "small_representations"
    sys.modules.pop("lgg.defences.small_representations", None)


def test_a_fourth_defence_is_a_file_a_line_and_an_entry(fourth, call, images, tmp_path):
    """Its architecture, its inputs, its term and its sentence, in steps of size zero on all images at once."""
    entry = {"name": fourth, "options": {"weight": 0.5, "noise": 0.2}}
    recipe = robust(PARSEVAL, entry, schedule=NO_CHANGE)
    recipe["training"]["batch_size"] = 24
    call(train_robust_network, recipe, **observed(tmp_path))
    history = pd.read_csv(tmp_path / "history.csv")
    network = untrained(images, 0, 2, parseval=True, bottleneck=3)
    data = read_images(images / "train.safetensors")
    # the noise is drawn by the seed of the run, which the weights' draws precede, in the order of the batch
    random = torch.Generator().manual_seed(Run(network, None, None, None).seed)
    ((batch, labels),) = Batches(*map(torch.from_numpy, (data.images, data.labels)), batch_size=24, seed=0).epoch(0)
    logits, representations = network.train()(
        batch + 0.2 * torch.randn(batch.shape, generator=random), return_representations=True
    )
    size = representations[-1].square().mean().item()
    task = torch.nn.functional.cross_entropy(logits, labels).item()
    assert list(history)[2:5] == ["loss", "task", "size"]
    assert history["size"][0] == pytest.approx(size, rel=1e-4)
    assert history["loss"][0] == pytest.approx(task + 0.5 * size, rel=1e-4)
    assert load_model(tmp_path / "model.safetensors", expected={"bottleneck": 3, "parseval": True})
    assert defences.build(fourth, **entry["options"]).sentence == "small representations with weight 0.5, noise 0.2"
