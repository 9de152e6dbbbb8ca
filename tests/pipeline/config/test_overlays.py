"""Merging of configurations: kinds of entries, null, and text that stands for numbers or booleans."""

import copy
from typing import Any

import pytest
import yaml
from configurations import content, read
from hypothesis import given
from hypothesis import strategies as st
from snakemake.cli import parse_config
from snakemake.utils import update_config

from lgg.errors import ConfigError
from lgg.pipeline.config import Config, load
from lgg.pipeline.config.messages import nearest
from lgg.pipeline.config.overlays import Plain, as_declared, lay_over, read_arguments

# --- kinds --------------------------------------------------------------------------------------------------------

INTER = {"loss", "label", "weight"}


@pytest.mark.parametrize(
    ("overlays", "path", "keys"),
    [
        (["distillation: {student: {architecture: {name: preact_resnet18}}}"], "student.architecture", {"name"}),
        (["distillation: {methods: {gkd: {loss: none}}}"], "methods.gkd", {"loss", "label"}),
        (["distillation: {methods: {gkd: {loss: none, weight: null}}}"], "methods.gkd", {"loss", "label"}),
        (["distillation: {methods: {hinton: {loss: relational}}}"], "methods.hinton", {"loss", "label", "weight"}),
        # choosing the same kind again changes nothing
        (["distillation: {methods: {gkd_inter: {loss: graph_distillation}}}"], "methods.gkd_inter", {*INTER, "edges"}),
        # there and back: dropped keys do not return
        (
            [f"distillation: {{methods: {{gkd_inter: {{loss: {kind}}}}}}}" for kind in ("hinton", "graph_distillation")],
            "methods.gkd_inter",
            INTER,
        ),
    ],
)  # fmt: skip
def test_another_kind_has_none_of_the_former_s_keys(overlays, path, keys):
    whole = read()
    for overlay in overlays:
        whole, missed = lay_over(whole, content(overlay), Config)
        assert not missed
    entry = whole["distillation"]
    for key in path.split("."):
        entry = entry[key]
    assert set(entry) == keys


@pytest.mark.parametrize(
    "overlays",
    [
        ["data: {source: arrays, path: here}", "data: {source: digits}"],
        ["{data: {source: cifar10}, corruptions: {source: cifar10_c, path: a.tar}}", "corruptions: {source: generated}"],
        ["corruptions: {keep: true}", "{data: {source: cifar10}, corruptions: {source: cifar10_c, images: null}}"],
        ["embedding: {methods: {triplet: {loss: cross_entropy}}}"],
        [f"embedding: {{methods: {{label_variation: {{{key}}}}}}}" for key in ("similarity: cosine", "loss: triplet")],
        ["distillation: {teacher: null, methods: {hinton: null, rkd_d: null, gkd: null, gkd_inter: null}, "
         "student: {architecture: {name: preact_resnet18}}}"],
        ["distillation: {methods: {hinton: {loss: other, module: hinton, arguments: {temperature: 4.0}}}}"],
    ],
)  # fmt: skip
def test_a_source_a_network_or_a_loss_can_be_changed_by_its_name_alone(overlays):
    load(read(), *map(content, overlays))


@pytest.mark.parametrize(
    ("overlay", "key"),
    [
        ("distillation: {student: {architecture: {name: preact_resnet18, depth: 10}}}", "student.architecture.depth"),
        ("distillation: {methods: {gkd: {loss: hinton, edges: inter}}}", "methods.gkd.edges"),
        ("data: {source: digits, path: here}", "data.path"),
        ("{data: {source: cifar10}, corruptions: {source: cifar10_c, images: null, keep: true}}", "corruptions.keep"),
    ],
)
def test_keys_of_the_former_kind_next_to_another_are_refused(overlay, key):
    with pytest.raises(ConfigError, match=key):
        load(read(), content(overlay))


# --- null ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overlay", "line"),
    [
        ("distillation: {methods: {gkd_iner: null}}", "distillation.methods.gkd_iner: null .*'gkd_inter'"),
        ("embedding: {methods: {triplets: null}}", "embedding.methods.triplets: null .*'triplet'"),
        ("robustness: {methods: {baselin: null}}", "robustness.methods.baselin: null .*'baseline'"),
        ("sseds: null", "sseds: unknown key; did you mean 'seeds'"),
        ("geometri: null", "geometri: unknown key; did you mean 'geometry'"),
        ("distillation: {student: {architecture: {dept: null}}}", "architecture.dept: unknown key.*'depth'"),
        ("distillation: {methods: {gkd: {lambda: null}}}", "methods.gkd.lambda: unknown key.*'weight'"),
        ("robustness: {methods: {both: {defenses: null}}}", "both.defenses: unknown key.*'defences'"),
        ("robustness: {tests: {pgdd: null}}", "tests.pgdd: unknown key.*'pgd'"),
    ],
)
def test_null_for_an_unknown_name_is_refused_with_a_suggestion(overlay, line):
    with pytest.raises(ConfigError, match=rf"has a mistake:\n  \S*{line}"):
        load(read(), content(overlay))


@pytest.mark.parametrize(
    "overlays",
    [
        ["distillation: {methods: {gkd: null}}", "distillation: {methods: {gkd: null}}"],  # gone already
        ["distillation: {methods: {new: {label: New, loss: none}}}", "distillation: {methods: {new: null}}"],
        ["distillation: {methods: {gkd: {edges: null, loss: hinton}}}"],  # of the former kind
        ["geometry: null", "geometry: null"],
        ["geometry: {training: {optimizer: {name: adamw, nesterov: null}}}"],
    ],
)
def test_null_removes_an_entry(overlays):
    load(read(), *map(content, overlays))


def test_a_removed_method_is_not_a_row_and_can_be_added_again():
    gone = "distillation: {methods: {gkd: null}}"
    assert "gkd" not in load(read(), content(gone)).distillation.active_methods
    again = load(read(), content(gone), content("distillation: {methods: {gkd: {label: Again, loss: none}}}"))
    assert again.distillation.active_methods["gkd"].label == "Again"


def leaves(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all values that are not sections or lists."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else None
    return [path] if items is None else [leaf for key, value in items for leaf in leaves(value, (*path, key))]


BASE = read()
#: but for items of lists, and words that choose a kind
PLAIN_KEYS = [
    path
    for path in leaves(BASE)
    if all(isinstance(key, str) for key in path) and path[-1] not in ("name", "loss", "source")
]


@given(st.sampled_from(PLAIN_KEYS), st.integers())
def test_without_kinds_and_null_merging_equals_snakemake_s(path, value):
    overlay: Any = value
    for key in reversed(path):
        overlay = {key: overlay}
    expected, found = copy.deepcopy(BASE), lay_over(BASE, overlay, Config)
    update_config(expected, overlay)
    assert found == (expected, [])


# --- texts --------------------------------------------------------------------------------------------------------


def as_text(node: Any) -> Any:
    """Return a configuration with a text for each value, as YAML writes it."""
    if isinstance(node, dict):
        return {key: as_text(value) for key, value in node.items()}
    if isinstance(node, list):
        return [as_text(value) for value in node]
    return "null" if node is None else str(node).lower() if isinstance(node, bool) else str(node)


@pytest.mark.parametrize("name", [None, "cifar10.yaml", "cifar10-cpu.yaml"])
def test_every_key_reads_its_value_from_text(name):
    whole = load(read(), *([read(name)] if name else [])).model_dump(mode="json")
    assert load(as_text(whole)).model_dump(mode="json") == whole


def from_command_line(*arguments: str) -> Any:
    return as_declared(read_arguments(arguments, parse_config(arguments)), Config)


@pytest.mark.parametrize("name", ["config.yaml", "cifar10.yaml", "cifar10-cpu.yaml"])
def test_every_section_of_a_file_can_be_given_on_the_command_line(name):
    whole = read(name)
    arguments = [f"{key}={yaml.safe_dump(value, default_flow_style=True)}" for key, value in whole.items()]
    found = load(read(), from_command_line(*arguments))
    assert found == load(read(), whole)


WORDS = ["007", "1e3", "5e-4", "yes", "no", "null", "~", "0x10", "1_000", "12:30", "2020-01-01", "1.5", "true", "x", ""]


@given(
    st.dictionaries(st.sampled_from("abcd"), st.sampled_from([*WORDS, *(f"'{word}'" for word in WORDS)]), min_size=1)
)
def test_arguments_of_your_own_loss_are_read_as_in_a_file(arguments):
    text = ", ".join(f"{key}: {value}" for key, value in arguments.items())
    text = f"{{methods: {{own: {{arguments: {{{text}}}}}}}}}"
    in_a_file = as_declared({"distillation": yaml.safe_load(text)}, Config)
    assert from_command_line(f"distillation={text}") == in_a_file


@pytest.mark.parametrize("word", [word for word in WORDS if word not in ("null", "~", "")])
def test_where_only_text_is_taken_a_word_stays_as_it_was_written(word):
    text = f"{{teacher: {{label: {word}}}}}"
    assert from_command_line(f"distillation={text}")["distillation"]["teacher"]["label"] == word
    assert from_command_line(f"run={word}")["run"] == word


@pytest.mark.parametrize(
    ("written", "found"), [("007", "007"), ('"007"', "007"), ("'1'", "1"), ("null", None), ("True", "True")]
)
def test_a_run_s_name_is_kept_as_text(written, found):
    assert from_command_line(f"run={written}")["run"] == found


@pytest.mark.parametrize("argument", ["run={", "run=[a", "run=2020-13-45", "run='", "run=*a", "data={path: 9"])
def test_invalid_yaml_is_text_as_in_snakemake(argument):
    assert from_command_line(argument) == parse_config([argument])


def test_keys_are_text():
    found = read_arguments(["data={1: 2, true: no}"], parse_config(["data={1: 2, true: no}"]))
    assert found == {"data": {"1": Plain("2", 2), "true": Plain("no", False)}}


def test_two_arguments_of_one_section_add_up():
    arguments = ("data={seed: 1}", "data={train_images: 2}")
    assert from_command_line(*arguments) == {"data": {"seed": 1, "train_images": 2}}


def test_nothing_that_is_laid_over_is_changed():
    base, overlay = read(), content("distillation: {methods: {gkd: {loss: hinton}}}")
    before = copy.deepcopy((base, overlay))
    lay_over(base, overlay, Config)
    assert (base, overlay) == before


def test_the_nearest_word_is_asked_for():
    assert nearest("gkd_iner", {"gkd": 1, "gkd_inter": 2}) == "; did you mean 'gkd_inter'?"
    assert nearest("lambda", ["label", "weight"]) == "; did you mean 'weight'?"
    assert nearest(5, ["label"]) == "."
