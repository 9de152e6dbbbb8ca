"""The page's example of a defence of your own: one file, one line, one entry."""

import re
import shutil
import sys
import types

import pytest
import torch
import yaml
from configurations import ROOT, configured
from torch.nn.functional import cross_entropy

from lgg import defences, models
from lgg.errors import ConfigError
from lgg.pipeline import registry
from lgg.training.objectives import Robust

PAGE = (ROOT / "docs/own_data_and_methods.md").read_text("utf-8")


def block(title):
    return re.search(rf'^```\w+ title="{re.escape(title)}"\n(.*?)^```$', PAGE, re.M | re.S)[1]


FILE = block("lgg/defences/logit_squeezing.py")
LINE = block("lgg/defences/__init__.py")
OVERLAY = yaml.safe_load(block("config/squeezing.yaml"))
[ENTRY] = OVERLAY["robustness"]["methods"]["squeezing"]["defences"]


@pytest.fixture
def defence(monkeypatch):
    """The page's class, registered by the page's line and made by the page's entry."""
    module = types.ModuleType("lgg.defences.logit_squeezing")
    exec(compile(FILE, "logit_squeezing.py", "exec"), vars(module))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(defences._EXPORTS, *re.findall(r'"([\w.]+)"', LINE))
    return defences.build(ENTRY["module"], **ENTRY["arguments"])


def test_it_trains_on_noisy_images_and_penalises_large_logits(defence):
    torch.manual_seed(0)
    images, labels = torch.rand(6, 3, 32, 32), torch.arange(6) % 4
    model = models.build("preact_resnet18", num_classes=4, base_width=2).eval()
    torch.manual_seed(3)
    step = Robust([defence])(model, images, labels)
    torch.manual_seed(3)
    logits = model((images + 0.1 * torch.randn(6, 3, 32, 32)).clamp(0, 1))
    expected = cross_entropy(logits, labels) + 0.02 * sum(float(row @ row) for row in logits.detach()) / 6
    torch.testing.assert_close(step.loss, expected)
    assert "0.02" in defence.sentence


def test_its_entry_is_checked(tmp_path, monkeypatch):
    folder = tmp_path / "lgg"
    shutil.copytree(ROOT / "lgg", folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "defences/logit_squeezing.py").write_text(FILE, "utf-8")
    table = folder / "defences/__init__.py"
    table.write_text(table.read_text("utf-8").replace("_EXPORTS = {\n", "_EXPORTS = {\n" + LINE, 1), "utf-8")
    monkeypatch.setattr(registry, "PACKAGE", folder)
    caches = (registry.defences, registry.defence_arguments)
    for cache in caches:
        cache.cache_clear()
    try:
        [found] = configured(OVERLAY).robustness.methods["squeezing"].defences
        assert (found.module, found.options) == ("logit_squeezing", {"weight": 0.02})
        entry = ENTRY | {"arguments": {"wait": 0.02}}
        with pytest.raises(ConfigError, match="did you mean 'weight'"):
            configured({"robustness": {"methods": {"squeezing": {"label": "Squeezing", "defences": [entry]}}}})
    finally:
        for cache in caches:
            cache.cache_clear()
