"""Every key of the configuration: its type, default, unit and bounds, declared here and nowhere else.

One file per section of the paper; `run` has the whole. ``python -m lgg.pipeline.config config`` writes what is generated
from it: the JSON schema for editors and the tables of keys in ``config/README.md``. Nothing here imports torch or
torchvision, so that reading the Snakefile stays fast.
"""

from lgg.pipeline.config.corruptions import BENCHMARK_CORRUPTIONS, CorruptionName, Corruptions
from lgg.pipeline.config.data import CLASSES_OF_SOURCE, IMAGES_OF_SOURCE, Data
from lgg.pipeline.config.distillation import Distillation, GraphMethod
from lgg.pipeline.config.embedding import (
    Classifier,
    CrossEntropyEmbedding,
    Embedding,
    LabelVariationEmbedding,
    TripletEmbedding,
)
from lgg.pipeline.config.geometry import Geometry
from lgg.pipeline.config.networks import PREACT_RESNET18_LAYERS, WIDE_RESNET_LAYERS
from lgg.pipeline.config.read import load, plan
from lgg.pipeline.config.reference import TABLES_BELOW, json_schema, keys_table, write_documentation
from lgg.pipeline.config.robustness import (
    AdversarialTraining,
    Parseval,
    PgdTest,
    RobustMethod,
    Robustness,
    RobustnessTests,
    Smoothness,
)
from lgg.pipeline.config.run import Config
from lgg.pipeline.config.timing import Timing
from lgg.pipeline.config.training import Training

__all__ = [
    "BENCHMARK_CORRUPTIONS",
    "CLASSES_OF_SOURCE",
    "IMAGES_OF_SOURCE",
    "PREACT_RESNET18_LAYERS",
    "TABLES_BELOW",
    "WIDE_RESNET_LAYERS",
    "AdversarialTraining",
    "Classifier",
    "Config",
    "CorruptionName",
    "Corruptions",
    "CrossEntropyEmbedding",
    "Data",
    "Distillation",
    "Embedding",
    "Geometry",
    "GraphMethod",
    "LabelVariationEmbedding",
    "Parseval",
    "PgdTest",
    "RobustMethod",
    "Robustness",
    "RobustnessTests",
    "Smoothness",
    "Timing",
    "Training",
    "TripletEmbedding",
    "json_schema",
    "keys_table",
    "load",
    "plan",
    "write_documentation",
]
