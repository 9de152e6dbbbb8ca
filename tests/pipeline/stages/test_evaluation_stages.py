import json

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from lgg import attacks, models
from lgg.data.batches import to_model_input
from lgg.data.corruptions import corrupt
from lgg.data.draws import draw_evenly
from lgg.data.storage import read_images
from lgg.errors import ModelFileError, SignedRepresentations
from lgg.evaluation.accuracy import error_percent
from lgg.evaluation.robustness import deepfool_norms
from lgg.files import read_json
from lgg.pipeline import recipes
from lgg.pipeline.stages import (
    assemble_table2,
    assemble_table3,
    draw_corruptions,
    draw_embedding_training,
    draw_figure1,
    draw_figure2,
    draw_figure_a1,
    draw_weight_sweep,
    evaluate_corruptions,
    evaluate_embedding,
    evaluate_geometry,
    evaluate_robustness,
)
from lgg.pipeline.stages.train_plane_embedding import record_positions
from lgg.training.checkpoint import load_model, save_model


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """Return the files of four networks for two classes, with seeds 0 to 3."""
    folder = tmp_path_factory.mktemp("networks")
    return [stored(folder / f"{seed}.safetensors", seed) for seed in range(4)]


def stored(path, seed, factors=1.0, **options):
    """Save a network drawn by `seed`, whose outputs are multiplied by `factors`."""
    usual = {} if "name" in options else {"name": "preact_resnet18", "base_width": 1}
    architecture = {"num_classes": 2, **usual, **options}
    torch.manual_seed(seed)
    model = models.build(**architecture)
    *_, output = (module for module in model.modules() if isinstance(module, torch.nn.Linear))
    with torch.no_grad():
        output.weight *= torch.tensor(factors)[..., None]
        output.bias *= torch.tensor(factors)
    save_model(path, model, architecture, {})
    return path


def robustness_of(settings, call, path, model, source):
    """Return the table that the stage writes for `model`, also attacked by images crafted on `source`."""
    recipe = recipes.evaluate_robustness(settings.robustness).settings
    call(evaluate_robustness, recipe, model=model, source=source, out_evaluation=path)
    return pd.read_csv(path)


# --- attacks ------------------------------------------------------------------------------------------------------


def error_on_images_against(source, target, settings, images):
    """Return the error of `target` on images crafted by FGSM on `source`."""
    tests = settings.robustness.tests
    data = read_images(images / "test.safetensors")
    part = draw_evenly(data.labels, tests.images, tests.seed, "images")
    pixels, labels = to_model_input(torch.from_numpy(data.images[part])), torch.from_numpy(data.labels[part])
    attacked = attacks.fgsm(load_model(source), pixels, labels, tests.fgsm_snr)
    return error_percent(load_model(target)(attacked).argmax(dim=1), labels)


def test_transferred_images_are_crafted_on_the_source(settings, call, images, networks, tmp_path):
    for source in networks[1:3]:
        found = robustness_of(settings, call, tmp_path / "e.csv", networks[0], source).set_index("test")["value"]
        assert found["transfer_fgsm"] == error_on_images_against(source, networks[0], settings, images)


def test_networks_of_other_architectures_are_tested_and_attacked_alike(settings, call, networks, tmp_path):
    other = stored(tmp_path / "other.safetensors", 0, name="wide_resnet", depth=10, width=0.25)
    usual, found, transferred = (
        robustness_of(settings, call, tmp_path / "e.csv", own, source)
        for own, source in ((networks[0], networks[1]), (other, networks[1]), (networks[1], other))
    )
    assert found["test"].tolist() == usual["test"].tolist() == transferred["test"].tolist()
    assert found["value"].notna().all()


def test_each_test_is_on_its_images_and_at_its_level(settings, call, networks, tmp_path):
    found = robustness_of(settings, call, tmp_path / "e.csv", networks[0], networks[1])
    tests = settings.robustness.tests
    rows = found.set_index("test")
    assert rows["images"].drop_duplicates().sort_values().tolist() == [tests.images, 20]
    assert rows["level"][["gaussian_noise", "dropout", "quantized_weights", "pgd"]].tolist() == [
        tests.noise_std,
        tests.dropout_rate,
        tests.weight_bits,
        tests.pgd.epsilon,
    ]
    assert found["level"][found["test"] == "fgsm_pixels"].tolist() == [30, 10]
    assert rows["restarts"][["pgd", "strong_pgd"]].tolist() == [1, 2]
    # no DeepFool without images for it
    assert "deepfool" not in rows.index


def test_the_share_of_images_without_a_gradient_is_written(settings, call, networks, tmp_path):
    """A network with far larger logits makes as many errors, and some images get no gradient."""
    network = load_model(networks[0])
    with torch.no_grad():
        for parameter in network.classifier.parameters():
            parameter *= 1e7
    architecture = {"name": "preact_resnet18", "base_width": 1, "num_classes": 2}
    save_model(tmp_path / "sure.safetensors", network, architecture, {})
    own, sure = (
        robustness_of(settings, call, tmp_path / "e.csv", path, networks[1]).drop_duplicates("test").set_index("test")
        for path in (networks[0], tmp_path / "sure.safetensors")
    )
    assert own["value"]["without_gradient"] == 0
    assert sure["value"]["without_gradient"] > 0
    assert sure["measure"]["without_gradient"] == "share"
    assert sure["images"]["without_gradient"] == settings.robustness.tests.images
    assert sure["value"]["clean"] == own["value"]["clean"]


def test_deepfool_counts_all_its_images_and_nothing_for_those_that_are_wrong_without_it(
    settings, call, images, networks, tmp_path
):
    tests = settings.robustness.tests.model_copy(update={"deepfool_images": 6})
    robustness = settings.robustness.model_copy(update={"tests": tests})
    found = robustness_of(
        settings.model_copy(update={"robustness": robustness}),
        call,
        tmp_path / "e.csv",
        *networks[:2],
    ).set_index("test")
    data = read_images(images / "test.safetensors")
    part = draw_evenly(data.labels, 6, tests.seed, "images")
    logits = load_model(networks[0])(to_model_input(torch.from_numpy(data.images[part])))
    right = (logits.argmax(dim=1) == torch.from_numpy(data.labels[part])).sum().item()
    assert found["measure"]["deepfool"] == "relative_norm"
    assert found["images"]["deepfool"] == 6
    norms = deepfool_norms(
        load_model(networks[0]), *(torch.from_numpy(part) for part in (data.images[part], data.labels[part]))
    )
    assert norms.isnan().sum() == 6 - right
    # the median of six numbers by torch's convention, the third
    assert found["value"]["deepfool"] == pytest.approx(sorted(norms.nan_to_num(nan=0.0).tolist())[2], rel=1e-4)


# --- networks that do not belong ----------------------------------------------------------------------------------


def test_networks_of_other_classes_are_refused_with_their_file(settings, call, networks, tmp_path):
    strange = stored(tmp_path / "strange.safetensors", 0, num_classes=3)
    message = r"strange\.safetensors: holds a network with num_classes = 3, but 2 is expected"
    for own, source in ((strange, networks[0]), (networks[0], strange)):
        with pytest.raises(ModelFileError, match=message):
            robustness_of(settings, call, tmp_path / "e.csv", own, source)
    recipe = recipes.evaluate_corruptions(settings.robustness, settings.corruptions).settings
    with pytest.raises(ModelFileError, match=message):
        call(evaluate_corruptions, recipe, model=strange, corruptions=None, out_corruptions=tmp_path / "c.csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["strange.safetensors"]


# --- geometry -----------------------------------------------------------------------------------------------------


GEOMETRY = {"classes": 2, "images_per_class": 4, "k": 3, "draws": 2, "draw_seed": 0}


def test_geometry_of_a_network_of_other_layers_is_measured_and_drawn(call, tmp_path):
    architecture = {"name": "wide_resnet", "depth": 10, "width": 0.25}
    network = stored(tmp_path / "other.safetensors", 0, **architecture)
    found = {}
    for similarity in ("cosine", "rbf"):
        recipe = GEOMETRY | {"similarity": similarity}
        call(evaluate_geometry, recipe, model=network, out_geometry=tmp_path / f"{similarity}.json")
        found[similarity] = read_json(tmp_path / f"{similarity}.json")
    for geometry in found.values():
        assert list(geometry["label_variation"]) == list(geometry["shown"]["graphs"]) == ["image", "stage1", "pool"]
        assert all(len(values) == 2 for values in geometry["label_variation"].values())
        assert list(geometry["shown"]["depths"]) == ["image", "stage1", "stage2", "pool"]
    assert found["cosine"]["label_variation"] != found["rbf"]["label_variation"]
    names = {
        f"out_{part}{form}": tmp_path / f"{part}figure.{form}" for part in ("", "draws_") for form in ("pdf", "png")
    }
    call(draw_figure2, {}, geometry=tmp_path / "rbf.json", **names)
    forms = {f"out_{form}": tmp_path / f"depths.{form}" for form in ("pdf", "png")}
    call(draw_figure1, {"architecture": architecture}, **forms)
    for path in [*names.values(), *forms.values()]:
        assert path.stat().st_size > 1000


def test_cosine_graphs_of_negative_values_are_refused_with_the_layer(call, tmp_path):
    network = stored(tmp_path / "signed.safetensors", 0, name="wide_resnet", depth=10, width=0.25, bottleneck=3)
    files = {"model": network, "out_geometry": tmp_path / "geometry.json"}
    with pytest.raises(SignedRepresentations, match="'bottleneck' has negative values"):
        call(evaluate_geometry, GEOMETRY | {"similarity": "cosine"}, **files)
    call(evaluate_geometry, GEOMETRY | {"similarity": "rbf"}, **files)
    assert list(read_json(tmp_path / "geometry.json")["label_variation"]) == ["image", "stage2", "bottleneck"]


# --- embeddings ---------------------------------------------------------------------------------------------------


def judged(settings, call, folder, method, network):
    recipe = recipes.evaluate_embedding(settings.embedding, settings.corruptions, method, 0).settings
    files = {f"out_{name}": folder / f"{name}.csv" for name in ("evaluation", "corruptions")}
    call(evaluate_embedding, recipe, model=network, corruptions=None, **files)
    return pd.read_csv(folder / "evaluation.csv"), pd.read_csv(folder / "corruptions.csv")


def test_outputs_are_classes_for_cross_entropy_alone(settings, call, networks, tmp_path):
    classifiers = {"nearest_neighbours", "svm", "logistic_regression", "nearest_centroid"}
    for method, more in (("cross_entropy", {"own"}), ("triplet", set())):
        for table in judged(settings, call, tmp_path, method, networks[0]):
            assert set(table["classifier"]) == classifiers | more


def test_embeddings_that_are_scaled_to_length_one_are_so_for_classifiers_too(settings, call, tmp_path):
    """A network with one output: at unit length only its sign is left, so two outputs of the same sign are equal."""
    network = stored(tmp_path / "one.safetensors", 0, num_classes=1)
    for name, scaled in (("label_variation", True), ("triplet", False)):
        assert getattr(settings.embedding.active_methods[name], "normalize_embeddings") == scaled  # noqa: B009
    (errors, _), (others, _) = (
        judged(settings, call, tmp_path, name, network) for name in ("label_variation", "triplet")
    )
    by_name = [table.set_index("classifier")["error"] for table in (errors, others)]
    # all outputs of this network have one sign: half of the images are dark, and half are not
    assert (by_name[0] == 50).all()
    assert by_name[1].min() < 50


def test_embeddings_that_are_standardised_are_so_for_classifiers_too(settings, call, images, tmp_path):
    """A network whose second output is scaled by a thousand, which then decides alone who is whose neighbour, or not."""
    recipe = json.loads(recipes.evaluate_embedding(settings.embedding, None, "label_variation", 0).settings)
    errors = {}
    for factor in (1.0, 1000.0):
        # of a network of one channel they vary little
        network = stored(tmp_path / f"{factor}.safetensors", 0, num_classes=2, factors=[1e3, 1e3 * factor])
        for normalization in ("batch", False):
            files = {"out_evaluation": tmp_path / "evaluation.csv", "out_corruptions": None}
            changed = recipe | {"normalize_embeddings": normalization}
            call(evaluate_embedding, changed, model=network, corruptions=None, **files)
            errors[normalization, factor] = pd.read_csv(tmp_path / "evaluation.csv")["error"].tolist()
    assert errors["batch", 1.0] == errors["batch", 1000.0]
    assert errors[False, 1.0] != errors[False, 1000.0]


@pytest.mark.parametrize(("recipe", "outputs"), [({}, 4), ({"dimensions": 2}, 2)])
def test_positions_in_the_plane_are_outputs_unless_they_are_logits(images, tmp_path, recipe, outputs):
    """Also of networks that have a bottleneck of their own."""
    torch.manual_seed(0)
    model = models.build("wide_resnet", num_classes=outputs, depth=10, width=0.25, bottleneck=2)
    data = read_images(images / "train.safetensors")
    given = images / "test.safetensors", tmp_path / "positions", data, torch.device("cpu")
    recorder = record_positions({"epochs": [0], "normalize_embeddings": False, **recipe}, *given)
    recorder.record(model, 0)
    recorder.write()
    logits, representations = model.eval()(to_model_input(torch.from_numpy(data.images)), return_representations=True)
    found = load_file(tmp_path / "positions")["epoch0"]
    torch.testing.assert_close(found, logits if recipe else representations[-1])


def test_errors_in_the_plane_are_those_of_ten_neighbours(settings, call, images, tmp_path):
    """In one row test images lie among training images of their class, in the other among those of the other class."""
    labels = {split: read_images(images / f"{split}.safetensors").labels for split in ("train", "test")}
    rows, paths = recipes.draw_figure_a1(settings.embedding).settings, []
    for name, sign in (("label_variation", 1), ("cross_entropy", -1)):
        places = {split: torch.from_numpy(np.stack([own, own], axis=1)).float() for split, own in labels.items()}
        at = {"epoch": places["train"], "test_epoch": places["test"] if sign > 0 else 1 - places["test"]}
        paths.append(tmp_path / f"{name}.safetensors")
        save_file({f"{kind}{epoch}": points.clone() for kind, points in at.items() for epoch in range(3)}, paths[-1])
    files = {f"out_{kind}": tmp_path / f"a1.{kind}" for kind in ("errors", "pdf", "png")}
    call(draw_figure_a1, rows, positions=paths, **files)
    errors = pd.read_csv(files["out_errors"])
    assert errors.groupby("method")["error"].unique().to_dict() == {"label_variation": [0.0], "cross_entropy": [100.0]}
    assert errors["epoch"].tolist() == [0, 1, 2] * 2
    assert set(errors["images"]) == {20}


def test_the_curves_of_embeddings_have_the_reference_levels_of_their_loss(settings, call, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(draw_embedding_training, "draw_training_curves", lambda *_, levels: drawn.append(levels))
    monkeypatch.setattr(draw_embedding_training, "save_figure", lambda *_: None)
    path = tmp_path / "label_variation/seed0/history.csv"
    path.parent.mkdir(parents=True)
    path.write_text("epoch,embedding\n1,0.5\n", encoding="utf-8")
    files = {f"out_{kind}": tmp_path / f"t.{kind}" for kind in ("pdf", "png")}
    call(
        draw_embedding_training, recipes.draw_embedding_training(settings.embedding).settings, histories=[path], **files
    )
    (levels,) = drawn
    # two classes are apart at the ends of a diameter; triplets and cross-entropy have no levels
    assert list(levels) == [settings.embedding.active_methods["label_variation"].label]
    assert levels["Label variation"].apart == pytest.approx(-0.25 * 2.0, rel=1e-3)


def test_the_image_with_the_most_contrast_is_shown_under_corruptions(settings, call, images, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(draw_corruptions, "draw_corruption_examples", lambda made, clean: shown.append((made, clean)))
    monkeypatch.setattr(draw_corruptions, "save_figure", lambda *_: None)
    files = {f"out_{kind}": tmp_path / f"c.{kind}" for kind in ("pdf", "png")}
    call(draw_corruptions, recipes.draw_corruptions(settings.corruptions).settings, corruptions=None, **files)
    ((made, clean),) = shown
    data = read_images(images / "test.safetensors")
    chosen = draw_evenly(data.labels, settings.corruptions.images, settings.corruptions.seed, "images")
    assert clean.std() == max(data.images[position].std() for position in chosen)
    (position,) = [position for position in chosen if np.array_equal(data.images[position], clean)]
    one = {"seed": settings.corruptions.seed, "positions": np.array([position])}
    assert list(made["gaussian_noise"]) == settings.corruptions.severities
    for severity, image in made["gaussian_noise"].items():
        np.testing.assert_array_equal(image, corrupt(clean[None], "gaussian_noise", severity, **one)[0])


# --- figures and tables from small files --------------------------------------------------------------------------


def test_a_sweep_of_the_weight_is_drawn(call, tmp_path):
    rows = []
    for name, error in (("baseline", 30.0), ("regularizer_1e5", 32.0), ("regularizer", 40.0)):
        values = [("clean", np.nan, error), ("fgsm_normalized", 10.0, error + 20), ("fgsm_normalized", 30.0, error + 1)]
        for seed in (0, 1):
            rows.append(tmp_path / name / f"seed{seed}" / "evaluation.csv")
            rows[-1].parent.mkdir(parents=True)
            pd.DataFrame(values, columns=["test", "level", "value"]).to_csv(rows[-1], index=False)
    weights = {"baseline": 0.0, "regularizer_1e5": 1e-5, "regularizer": 1e-4}
    recipe = {"rows": [{"name": name, "weight": weight} for name, weight in weights.items()], "fgsm_snr": 10.0}
    call(
        draw_weight_sweep,
        recipe,
        evaluations=rows,
        out_pdf=tmp_path / "s.pdf",
        out_png=tmp_path / "s.png",
    )
    with Image.open(tmp_path / "s.png") as image:
        image.verify()
    assert (tmp_path / "s.pdf").read_bytes().startswith(b"%PDF")


OPTIONS = {"weight": 1e-4, "power": 2, "reduction": "mean", "k": None, "normalize": False, "similarity": "cosine"}
REGULARIZER = {"name": "regularizer", "options": OPTIONS | {"rbf_scale": 2.0}}
PARSEVAL = {"name": "parseval", "options": {"beta": 0.01}}
DEFENCES = {"baseline": [], "both": [REGULARIZER, PARSEVAL]}
NETWORK = {"name": "preact_resnet18", "base_width": 1}
TRAINED = {"architectures": [NETWORK], "epochs": 1, "batch_size": 8, "augmentation": "none"}


def recipe_of_table3(settings, table, methods):
    rows = [{"name": name, "label": name.title(), "paper": {}, "defences": DEFENCES[name]} for name in methods]
    tests = settings.robustness.tests.model_dump(mode="json")
    return {"table": table, "rows": rows, "baseline": "baseline", "tests": tests, "trained": TRAINED}


@pytest.mark.parametrize("methods", [["baseline"], ["baseline", "both"]], ids=" and ".join)
def test_a_single_seed_gives_every_table_of_section_4_3(settings, call, networks, tmp_path, methods):
    evaluations = [tmp_path / name / "seed0/evaluation.csv" for name in methods]
    errors = [tmp_path / name / "seed0/corruptions.csv" for name in methods]
    for network, evaluation, error in zip(networks, evaluations, errors, strict=False):
        evaluation.parent.mkdir(parents=True)
        robustness_of(settings, call, evaluation, network, networks[2])
        recipe = recipes.evaluate_corruptions(settings.robustness, settings.corruptions).settings
        call(evaluate_corruptions, recipe, model=network, corruptions=None, out_corruptions=error)
    for name in ("table3", "table3_supplement", "robustness"):
        files = {f"out_{kind}": tmp_path / f"{name}.{kind}" for kind in ("csv", "md", "tex", "html")}
        recipe = recipe_of_table3(settings, name, methods)
        call(assemble_table3, recipe, evaluations=evaluations, corruptions=errors, **files)
        text = (tmp_path / f"{name}.md").read_text(encoding="utf-8")
        assert "preact_resnet18 (base_width 1), 1 epoch of 24 images in batches of 8, without augmentation" in text
        assert "train images without meaning" in text and "test images without meaning" in text
        said = "Both: regularizer with γ = 0.0001, p = 2, mean over layers; Parseval with β = 0.01."
        assert (said in text) == ("both" in methods)
        table = pd.read_csv(tmp_path / f"{name}.csv").set_index("name")
        assert table.index.tolist() == methods
        assert (table["seeds"] == 1).all()
        assert ("without_gradient_mean" in table) == (name == "table3_supplement")
        assert table.filter(regex="_std$").isna().all(axis=None)


def test_without_corruptions_there_are_tables_of_all_else(settings, call, networks, tmp_path):
    classifiers = {"cross_entropy": "own", "triplet": "nearest_neighbours"}
    evaluations = [tmp_path / name / "seed0/evaluation.csv" for name in classifiers]
    for name, evaluation, network in zip(classifiers, evaluations, networks, strict=False):
        evaluation.parent.mkdir(parents=True)
        recipe = recipes.evaluate_embedding(settings.embedding, None, name, 0).settings
        files = {"out_evaluation": evaluation, "out_corruptions": None}
        call(evaluate_embedding, recipe, model=network, corruptions=None, **files)
    forms = ("csv", "md", "tex", "html")
    files = {f"out_{part}{form}": tmp_path / f"{part}{form}" for part in ("", "supplement_") for form in forms}
    rows = [{"name": name, "label": name.title(), "classifier": own, "paper": {}} for name, own in classifiers.items()]
    recipe = {"rows": rows, "baseline": "cross_entropy", "trained": TRAINED}
    call(assemble_table2, recipe, evaluations=evaluations, corruptions=[], **files)
    for table, count in (("csv", 2), ("supplement_csv", 9)):
        found = pd.read_csv(tmp_path / table)
        assert len(found) == count
        assert found["clean_error_mean"].notna().all()
        assert not found.filter(regex="mce|corruption").size
    assert "MCE" not in (tmp_path / "md").read_text("utf-8")
