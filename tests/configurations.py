"""The committed configurations, and overlays laid over them as Snakemake does."""

from pathlib import Path
from typing import Any

import yaml

from lgg.pipeline.config import Config, load
from lgg.pipeline.config.overlays import lay_over

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "config"
OVERLAYS = ("cifar10.yaml", "cifar10-cpu.yaml")


def read(name: str = "config.yaml") -> dict[str, Any]:
    return yaml.safe_load((CONFIG / name).read_text(encoding="utf-8"))


def content(overlay: str | dict[str, Any]) -> dict[str, Any]:
    return yaml.safe_load(overlay) if isinstance(overlay, str) else overlay


def overlaid(*overlays: str | dict[str, Any]) -> dict[str, Any]:
    """Return config/config.yaml with `overlays`, YAML text or its content, laid over it one after the other."""
    whole = read()
    for overlay in overlays:
        whole, missed = lay_over(whole, content(overlay), Config)
        assert not missed
    return whole


def configured(*overlays: str | dict[str, Any]) -> Config:
    return load(read(), *map(content, overlays))
