"""Every key of the configuration: its type, default, unit and bounds, declared here and nowhere else.

One file per section of the paper; `run` has the complete model. ``python -m lgg.pipeline.config config`` generates the JSON
schema for editors and the tables of keys in ``config/README.md``. Nothing here imports torch or torchvision, so that reading
the Snakefile stays fast.
"""

from lgg.pipeline.config.corruptions import Corruptions
from lgg.pipeline.config.data import CLASSES_OF_SOURCE, IMAGES_OF_SOURCE, Data
from lgg.pipeline.config.defences import AdversarialTraining, Parseval, Regularizer, TrainingAttack
from lgg.pipeline.config.distillation import TEACHER, Distillation, GraphMethod
from lgg.pipeline.config.embedding import (
    Classifier,
    CrossEntropyEmbedding,
    Embedding,
    LabelVariationEmbedding,
    TripletEmbedding,
)
from lgg.pipeline.config.geometry import Geometry
from lgg.pipeline.config.paper import Paper, read_paper
from lgg.pipeline.config.read import load, plan
from lgg.pipeline.config.reference import TABLES_BELOW, json_schema, keys_table, write_documentation
from lgg.pipeline.config.robustness import PgdTest, RobustMethod, Robustness, RobustnessTests
from lgg.pipeline.config.run import Config
from lgg.pipeline.config.timing import Timing
from lgg.pipeline.config.training import AdamW, Sgd, Training

__all__ = [
    "CLASSES_OF_SOURCE",
    "IMAGES_OF_SOURCE",
    "TABLES_BELOW",
    "TEACHER",
    "AdamW",
    "AdversarialTraining",
    "Classifier",
    "Config",
    "Corruptions",
    "CrossEntropyEmbedding",
    "Data",
    "Distillation",
    "Embedding",
    "Geometry",
    "GraphMethod",
    "LabelVariationEmbedding",
    "Paper",
    "Parseval",
    "PgdTest",
    "Regularizer",
    "RobustMethod",
    "Robustness",
    "RobustnessTests",
    "Sgd",
    "Timing",
    "Training",
    "TrainingAttack",
    "TripletEmbedding",
    "json_schema",
    "keys_table",
    "load",
    "plan",
    "read_paper",
    "write_documentation",
]
