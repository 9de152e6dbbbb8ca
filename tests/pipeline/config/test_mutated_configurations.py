"""A thousand mutated configurations: each is accepted and can be run, or refused with the name of the key."""

import contextlib
import copy
import datetime
import os
import re
from typing import Any

import pytest
from configurations import CONFIG, OVERLAYS, ROOT, overlaid, read
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from snakemake.api import SnakemakeApi
from snakemake.exceptions import WorkflowError
from snakemake.io import WILDCARD_REGEX
from snakemake.settings.types import ConfigSettings, OutputSettings, Quietness, ResourceSettings

from lgg.errors import ConfigError
from lgg.pipeline import recipes
from lgg.pipeline.config import Config, load, read_paper
from lgg.pipeline.config.annotations import KINDS, branches, child

PAPER = read_paper(CONFIG / "paper.yaml", load(read()))
WHOLE = [overlaid(), *(overlaid(read(name)) for name in OVERLAYS)]
NUMBERS = [
    0,
    1,
    -1,
    2,
    3,
    10**6,
    2**31,
    2**64,
    -(10**30),
    10**400,
    0.5,
    1e-30,
    1e308,
    -1e308,
    float("nan"),
    float("inf"),
]
HOSTILE = ["'", '"', "two\nlines", "$(touch x)", "`touch x`", "; touch x", "../..", "/etc", "{x}", "%s", "\0", "é 漢"]
OTHERS = ["", "null", "~", "true", "1e400", "9" * 5000, "nan", "x" * 5000, True, False, None, datetime.date(2020, 1, 1)]
VALUES = st.one_of(
    st.sampled_from(NUMBERS),
    st.sampled_from(HOSTILE),
    st.sampled_from(OTHERS),
    st.sampled_from([[], {}, [[]], [None], {"x": 1}, [1, "a"], {None: 1}, {3: 4}]),
)
KEYS = st.one_of(
    st.sampled_from([*HOSTILE, "", "weight", "lr", "label", "methods", 5, None, True, 1.5]), st.text(max_size=5)
)


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every key and entry in a configuration."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [found for key, value in items for found in ((*path, key), *places(value, (*path, key)))]


def inside(node: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        node = node[key]
    return node


@st.composite
def mutated(draw) -> tuple[dict[str, Any], list[tuple[Any, ...]]]:
    """Draw a configuration with one to three mistakes, and their locations."""
    raw = copy.deepcopy(draw(st.sampled_from(WHOLE)))
    touched = []
    for _ in range(draw(st.integers(1, 3))):
        *parent, key = draw(st.sampled_from(places(raw)))
        section = inside(raw, tuple(parent))
        kind = draw(st.sampled_from(["change", "nudge", "nudge", "nudge", "delete", "add", "borrow"]))
        if kind == "delete":
            del section[key]
        elif kind == "add" and isinstance(section, dict):
            key = draw(KEYS)
            section[key] = copy.deepcopy(draw(VALUES))
        elif kind == "borrow":  # right elsewhere
            section[key] = copy.deepcopy(inside(WHOLE[0], draw(st.sampled_from(places(WHOLE[0])))))
        elif kind == "nudge" and isinstance(section[key], str):
            section[key] += draw(st.sampled_from(HOSTILE))
        elif kind == "nudge" and type(section[key]) in (int, float):
            section[key] = draw(st.sampled_from([section[key] * 2, section[key] + 1, section[key] // 2]))
        else:
            section[key] = copy.deepcopy(draw(VALUES))
        touched.append((*parent, key))
    return raw, touched


def every_recipe(config: Config) -> list[recipes.Recipe]:
    """Return the recipe of every job of a run."""
    made = [recipes.prepare_data(config)]
    if config.corruptions:
        made += [recipes.keep_corruptions(config.corruptions), recipes.draw_corruptions(config.corruptions)]
    if geometry := config.geometry:
        made += [recipes.train_reference_network(geometry), recipes.evaluate_geometry(geometry)]
        made += [recipes.draw_figure1(geometry)]
    if distillation := config.distillation:
        made += [recipes.assemble_table1(distillation, PAPER)]
        made += [recipes.train_teacher(distillation)] if distillation.teacher else []
        for name, method in distillation.active_methods.items():
            taught = method.learns_from_teacher
            made += [recipes.distill_student(distillation, name) if taught else recipes.train_student(distillation)]
    if embedding := config.embedding:
        made += [recipes.assemble_table2(embedding, config.corruptions, PAPER), recipes.draw_figure_a1(embedding)]
        for name in embedding.active_methods:
            made += [recipes.train_embedding(embedding, name)]
            seed = config.seeds_of("embedding")[0]
            made += [recipes.evaluate_embedding(embedding, config.corruptions, name, seed)]
        made += [recipes.train_plane_embedding(embedding, name) for name in embedding.figure_methods]
    if robustness := config.robustness:
        for name in robustness.active_methods:
            made += [recipes.train_robust_network(robustness, name)]
        tables = ("table3", "table3_supplement", "robustness")
        made += [recipes.evaluate_robustness(robustness)]
        made += [recipes.assemble_table3(robustness, config.corruptions, table, PAPER) for table in tables]
        made += [recipes.draw_snr_curves(robustness), recipes.draw_weight_sweep(robustness)]
    if config.timed_methods:
        made += [recipes.measure_times(config), recipes.assemble_table_a1(config, PAPER)]
    return made


def thousand(check):
    return settings(
        max_examples=1000,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )(given(mutated())(check))


@thousand
def test_a_mutated_configuration_is_accepted_or_refused_with_its_key(case):
    raw, touched = case
    try:
        config = load(raw)
    except ConfigError as error:
        message = str(error)
        first, *lines, advice = message.split("\n")
        assert re.fullmatch(r"The configuration has (a mistake|\d+ mistakes):", first)
        assert advice.endswith("Nothing was run.")
        assert lines and all(line.startswith("  ") for line in lines), message  # no key tears its line
        assert any(str(key) in message or repr(key) in message for path in touched for key in path), (touched, message)
    else:
        for recipe in every_recipe(config):
            assert recipe.settings.isascii() and not WILDCARD_REGEX.search(recipe.settings)


def declaration(raw, path):
    """Return what is equal for two keys that are declared in one place: the models there, the entry's kind, the key."""
    options, node = [Config], raw
    for part in path[:-1]:
        options, node = branches(child(options, part)), node[part]
    if isinstance(node, list):
        return tuple(map(id, options)), "an item"
    return tuple(map(id, options)), *(str(node.get(kind)) for kind in KINDS), path[-1]


def around(key):
    """Return the demonstration for values of a top-level key: of the paper's sections that one alone, so that it loads fast."""
    whole = copy.deepcopy(WHOLE[0])
    sections = {"geometry", "distillation", "embedding", "robustness"}
    return whole | dict.fromkeys((sections | {"timing"}) - {key}) if key in sections else whole


def test_no_single_value_is_too_much_for_any_key():
    """Every key of the shipped configuration, once for each place that declares it, with every harmful value."""
    once = {declaration(WHOLE[0], path): path for path in places(WHOLE[0])}
    for *parent, key in once.values():
        raw = around([*parent, key][0])
        before = copy.deepcopy(raw)
        section = inside(raw, tuple(parent))
        right = section[key]
        for value in [*NUMBERS, *HOSTILE, *OTHERS, [], {}, [None], {"x": 1}, {None: 1}, {3: 4}]:
            section[key] = copy.deepcopy(value)
            with contextlib.suppress(ConfigError):
                load(raw)
        section[key] = right
        assert raw == before  # what is loaded is left as it was


@pytest.mark.pipeline
def test_accepted_ones_give_a_list_of_jobs(tmp_path, monkeypatch):
    accepted = []

    @thousand
    def collect(case):
        with contextlib.suppress(ConfigError):
            load(case[0])
            accepted.append(case[0])

    collect()
    assert len(accepted) >= 40
    (tmp_path / "config").symlink_to(CONFIG)
    monkeypatch.chdir(tmp_path)
    for name in ("PATH", "PYTHONPATH"):  # reading the Snakefile sets them
        monkeypatch.setenv(name, os.environ.get(name, ""))
    for raw in accepted[:: len(accepted) // 20]:
        try:
            with SnakemakeApi(OutputSettings(dryrun=True, quiet={Quietness.ALL})) as api:
                workflow = api.workflow(
                    resource_settings=ResourceSettings(cores=1),
                    config_settings=ConfigSettings(config=raw, replace_workflow_config=True),
                    snakefile=ROOT / "Snakefile",
                    workdir=tmp_path,
                )
                workflow.dag().execute_workflow(executor="dryrun")
        except WorkflowError as error:  # of the base, over which Snakemake lays it, a deleted key comes back
            assert "data.path: there is no folder" in str(error) or "The configuration has" in str(error), raw
    assert [path.name for path in tmp_path.iterdir() if path.name != ".snakemake"] == ["config"]
    assert not (tmp_path / "x").exists()
