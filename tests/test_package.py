"""The package as installed by `pip install .`, without the workflow's packages."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from dependencies import installed_with, modules, promised

ROOT = Path(__file__).resolve().parents[1]


USER_CODE = """
import torch
import lgg
from lgg.losses import GraphDistillation, HintonDistillation, LabelVariation, LabelVariationRegularizer, RelationalDistillation
from lgg.losses import Triplet

x, labels = torch.rand(8, 4, 2, 2), torch.arange(8) % 2
graph: torch.Tensor = lgg.similarity_graph(x, similarity="rbf", k=3)
total = lgg.label_variation(graph, labels) + lgg.cosine_label_variation(x, labels) + lgg.laplacian(graph).sum()
total = total + lgg.total_variation(graph, x.flatten(1)) + lgg.laplacian_eigenmaps(graph).sum()
total = total + GraphDistillation(k=3)([x], [x], labels) + RelationalDistillation()([x], [x])
total = total + HintonDistillation(4.0)(x.flatten(1), x.flatten(1)) + LabelVariation()(x.flatten(1), labels)
total = total + LabelVariationRegularizer()([x, x], labels) + Triplet()(x.flatten(1), labels)
model = lgg.models.build("wide_resnet", num_classes=2, depth=10, width=0.25)
images = torch.rand(8, 3, 16, 16)
with lgg.tap(model, ["classifier"]) as representations:
    model(images)
    first: torch.Tensor = representations[0]
attacked: torch.Tensor = lgg.attacks.fgsm(model, images, labels)
attacked = lgg.attacks.pgd(model, images, labels, epsilon=0.1, step_size=0.05, steps=2)
print(tuple(first.shape), tuple(attacked.shape))
"""


def test_the_package_works_without_the_workflow_s_packages():
    absent = modules(promised("pipeline") - installed_with(promised()))
    assert {"pandas", "torchvision", "pydantic", "snakemake", "foolbox"} <= absent
    block = f"import sys\nfor name in {sorted(absent)!r}:\n    sys.modules[name] = None\n"
    done = subprocess.run([sys.executable, "-c", block + USER_CODE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "(8, 2) (8, 3, 16, 16)\n"


#: a stub of torch's types; reading the types of all installed packages takes a checker twenty times as long
TORCH = """
from typing import Any

def __getattr__(name: str) -> Any: ...

class Tensor:
    def __getattr__(self, name: str) -> Any: ...
    def __add__(self, other: Any) -> Tensor: ...
"""


@pytest.mark.system
def test_a_type_checker_finds_the_package_s_types(tmp_path):
    pytest.importorskip("mypy", reason="mypy is not installed; it is in the extra `dev`")
    (tmp_path / "user.py").write_text(USER_CODE + "wrong: int = lgg.similarity_graph(x)\n", encoding="utf-8")
    (tmp_path / "types" / "torch").mkdir(parents=True)
    (tmp_path / "types" / "torch" / "__init__.pyi").write_text(TORCH, encoding="utf-8")
    paths = os.pathsep.join([str(ROOT), str(tmp_path / "types")])
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--config-file",
        "",
        "--follow-imports",
        "silent",
        "--no-site-packages",
        "user.py",
    ]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ | {"MYPYPATH": paths}, capture_output=True, text=True)
    lines = textwrap.dedent(done.stdout).splitlines()
    assert len(lines) == 2, done.stdout
    assert "Incompatible types in assignment" in lines[0]
    assert (ROOT / "lgg" / "py.typed").is_file()


@pytest.mark.parametrize("package", ["lgg", "lgg.losses", "lgg.data.corruptions"])
def test_dir_lists_the_public_names_loaded_or_not(package):
    """As tab completion and `help` need, before any of them was used."""
    program = (
        f"import {package} as package; public, loaded = set(package.__all__), set(vars(package)); "
        "print({name for name in dir(package) if not name.startswith('__')} == public, public <= loaded)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "True False\n", done.stderr


def test_every_public_name_is_documented():
    import lgg

    places = [lgg, lgg.losses, lgg.attacks, lgg.models]
    for place in places:
        assert place.__doc__
        for name in getattr(place, "__all__", [key for key in vars(place) if not key.startswith("_")]):
            thing = getattr(place, name)
            if getattr(thing, "__module__", "").startswith("lgg"):
                assert thing.__doc__ and len(thing.__doc__.split()) > 5, f"{place.__name__}.{name}"
