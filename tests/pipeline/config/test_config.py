import inspect
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, get_args

import jsonschema
import numpy as np
import pytest
import yaml
from configurations import CONFIG, OVERLAYS, configured, content, overlaid, read

from lgg import attacks, defences, losses
from lgg.data import corruption_names
from lgg.errors import ConfigError
from lgg.graph import Similarity
from lgg.models.preact_resnet import PreActResNet18
from lgg.models.wide_resnet import WideResNet
from lgg.pipeline import config as declared
from lgg.pipeline.config import json_schema, keys_table, load, networks, plan
from lgg.training.fit import fit

#: terms of the validation library, which mean nothing to the user
JARGON = re.compile(r"should (be|have)|\bunions?\b|\btags?\b|https?:|pydantic|validation error|NoneType", re.IGNORECASE)

#: sections of the configuration with their own tables and figures
SECTIONS = ("geometry", "distillation", "embedding", "robustness")

#: an overlay, the path of the invalid key, and what else the message must contain
MISTAKES = [
    # keys that do not exist
    ("sseds: [0]", "sseds:", "'seeds'"),
    ("data: {dataset: cifar10}", "data.dataset:", "'source'"),
    ("data: {train_image: 100}", "data.train_image:", "'train_images'"),
    ("resources: {train: {thread: 1}}", "resources.train.thread:", "'threads'"),
    ("geometry: {architecture: {width: 4}}", "geometry.architecture.width:", "'base_width'"),
    ("distillation: {teacher: {architecture: {dept: 10}}}", "distillation.teacher.architecture.dept:", "'depth'"),
    ("distillation: {training: {batchsize: 32}}", "distillation.training.batchsize:", "'batch_size'"),
    (
        "distillation: {training: {schedule: [{epochs: 1, learning_rate: 0.1}, {epochs: 1, lr: 0.1}]}}",
        "distillation.training.schedule[1].lr:",
        "'learning_rate'",
    ),
    ("distillation: {methods: {gkd: {lambda: 3}}}", "distillation.methods.gkd.lambda:", "'weight'"),
    ("distillation: {methods: {gkd: {p: 4}}}", "distillation.methods.gkd.p:", "'power'"),
    ("distillation: {methods: {gkd: {edge: inter}}}", "distillation.methods.gkd.edge:", "'edges'"),
    ("distillation: {methods: {hinton: {T: 4}}}", "distillation.methods.hinton.T:", "'temperature'"),
    ("distillation: {methods: {baseline: {weight: 3}}}", "distillation.methods.baseline.weight:", "unknown key"),
    ("seeds: [1000]", "robustness.tests.transfer_seed: 1000 is among `seeds`", "choose another"),
    ("robustness: {seeds: [1000]}", "robustness.tests.transfer_seed: 1000 is among `seeds`", "choose another"),
    ("embedding: {seeds: [4, 4]}", "embedding.seeds: 4 is listed twice", "list each seed once"),
    ("distillation: {seeds: []}", "distillation.seeds:", "at least 1"),
    # words that do not exist
    ("data: {source: cifar}", "data.source:", "'cifar10'"),
    ("data: {source: 5}", "data.source:", "photo_patches, digits, cifar10"),
    ("data: {source: null}", "data.source:", "photo_patches, digits, cifar10"),
    ("resources: {device: gpu}", "resources.device:", "did you mean 'cuda'?"),
    ("resources: {device: GPU}", "resources.device:", "did you mean 'cuda'?"),
    ("resources: {device: CUDA}", "resources.device:", "did you mean 'cuda'?"),
    ("resources: {device: nvidia}", "resources.device:", "did you mean 'cuda'?"),
    ("resources: {device: 'cuda:1'}", "resources.device:", "write 'cuda', and choose", "CUDA_VISIBLE_DEVICES"),
    ("resources: {device: 0}", "resources.device:", "write 'cuda', and choose", "CUDA_VISIBLE_DEVICES"),
    ("resources: {device: mps}", "resources.device:", "CPUs, or on GPUs"),
    ("resources: {device: cup}", "resources.device:", "did you mean 'cpu'?"),
    ("resources: {device: true}", "resources.device:", "auto, cpu, cuda"),
    ("resources: {device: null}", "resources.device:", "auto, cpu, cuda"),
    ("geometry: {architecture: {name: resnet18}}", "geometry.architecture.name:", "'preact_resnet18'"),
    ("geometry: {architecture: {name: wide_resnet}}", "geometry.architecture.depth:", "required"),
    (
        "distillation: {student: {architecture: {name: wide_resnt}}}",
        "distillation.student.architecture.name:",
        "'wide_resnet'",
    ),
    ("distillation: {training: {augmentation: flip}}", "distillation.training.augmentation:", "'crop_and_flip'"),
    ("distillation: {training: {label_smoothing: 1}}", "distillation.training.label_smoothing:", "less than 1"),
    ("distillation: {training: {gradient_clipping: 0}}", "distillation.training.gradient_clipping:", "greater than 0"),
    ("distillation: {training: {precision: float16}}", "distillation.training.precision:", "'bfloat16'"),
    (
        "distillation: {training: {schedule: [{epochs: 1, learning_rate: 0.1, shape: linaer}]}}",
        "distillation.training.schedule[0].shape:",
        "'linear'",
    ),
    ("distillation: {methods: {gkd: {edges: outer}}}", "distillation.methods.gkd.edges:", "all, inter, intra"),
    ("distillation: {methods: {gkd: {loss: graph}}}", "distillation.methods.gkd.loss:", "'graph_distillation'"),
    # values of the wrong type or out of bounds
    ("run: null", "run:", "found nothing"),
    ("seeds: 3", "seeds:", "list"),
    ("seeds: [0, x]", "seeds[1]:", "'x'"),
    ("seeds: [0, 1.5]", "seeds[1]:", "1.5"),
    ("seeds: [true]", "seeds[0]:", "True"),
    ("seeds: [0, -1]", "seeds[1]:", "-1"),
    ("data: {seed: 2147483648}", "data.seed:", "2147483648"),
    ("data: {mean: 0.5, std: 0.5}", "data.mean:", "list"),
    ("data: {mean: [0.5, 0.5, 0.5], std: [0.5, 0, 0.5]}", "data.std[1]:", "greater than 0"),
    ("resources: {train: {threads: 0}}", "resources.train.threads:", "at least 1|equal to 1"),
    ("resources: {train: {threads: two}}", "resources.train.threads:", "'two'"),
    ("geometry: {classes: 1}", "geometry.classes:", "found 1"),
    ("geometry: {draws: 0}", "geometry.draws:", "found 0"),
    ("distillation: {training: {optimizer: {nesterov: 'yes'}}}", "distillation.training.optimizer.nesterov:", "'yes'"),
    (
        "distillation: {training: {optimizer: {momentum: 1}}}",
        "distillation.training.optimizer.momentum:",
        "less than 1",
    ),
    ("distillation: {training: {optimizer: {name: adam}}}", "training.optimizer.name:", "'adamw'", "sgd, adamw"),
    ("distillation: {training: {optimizer: adamw}}", "training.optimizer:", "section", "'adamw'"),
    (
        "geometry: {training: {optimizer: {name: adamw, momentum: 0.9}}}",
        "training.optimizer.momentum:",
        "betas, epsilon",
    ),
    ("geometry: {training: {optimizer: {name: adamw, betas: [0.9]}}}", "training.optimizer.betas:", "two", "found 1"),
    (
        "geometry: {training: {optimizer: {name: adamw, betas: [0.9, 1]}}}",
        "training.optimizer.betas[1]:",
        "less than 1",
    ),
    ("geometry: {training: {optimizer: {name: adamw, epsilon: 0}}}", "training.optimizer.epsilon:", "greater than 0"),
    ("distillation: {training: {batch_size: 1}}", "distillation.training.batch_size:", "found 1"),
    ("distillation: {training: {optimizer: {weight_decay: .inf}}}", "training.optimizer.weight_decay:", "finite"),
    ("distillation: {training: {optimizer: {weight_decay: .nan}}}", "training.optimizer.weight_decay:", "nan"),
    (
        "distillation: {training: {schedule: [{epochs: 1, learning_rate: fast}]}}",
        "distillation.training.schedule[0].learning_rate:",
        "'fast'",
    ),
    ("distillation: {methods: {gkd: {weight: heavy}}}", "distillation.methods.gkd.weight:", "number", "'heavy'"),
    ("distillation: {methods: {gkd: {label: 3}}}", "distillation.methods.gkd.label:", "found 3"),
    ("distillation: {methods: {gkd: {k: 0}}}", "distillation.methods.gkd.k:", "found 0"),
    ("distillation: {methods: {gkd: {power: 0}}}", "distillation.methods.gkd.power:", "found 0"),
    ("distillation: {methods: {gkd: {layers: pool}}}", "distillation.methods.gkd.layers:", "list"),
    ("distillation: {student: {architecture: {depth: 4}}}", "distillation.student.architecture.depth:", "found 4"),
    ("distillation: {student: {architecture: {width: 0}}}", "distillation.student.architecture.width:", "found 0"),
    # values that are not sections
    ("data: null", "data:", "section", "found nothing"),
    ("data: [digits]", "data:", "section", "digits"),
    ("resources: {light: null}", "resources.light:", "section", "found nothing"),
    ("geometry: []", "geometry:", "section"),
    ("geometry: {architecture: null}", "geometry.architecture:", "section"),
    ("distillation: {student: null}", "distillation.student:", "section"),
    ("distillation: {teacher: {architecture: wide_resnet}}", "distillation.teacher.architecture:", "'wide_resnet'"),
    ("distillation: {methods: [gkd]}", "distillation.methods:", "section"),
    ("distillation: {methods: {gkd: 5}}", "distillation.methods.gkd:", "section", "found 5"),
    # keys that are missing
    ("distillation: {methods: {new: {label: New}}}", "distillation.methods.new", "loss", "required"),
    ("distillation: {methods: {new: {loss: hinton}}}", "distillation.methods.new.label:", "required"),
    (
        "distillation: {training: {schedule: [{learning_rate: 0.1}]}}",
        "distillation.training.schedule[0].epochs:",
        "required",
    ),
    # names
    ("run: ../x", "run:", "'../x'", "no slashes"),
    ("run: a b", "run:", "'a b'"),
    ("run: ''", "run:", "''"),
    ("run: .hidden", "run:", "'.hidden'"),
    ('run: "x\\n"', "run:"),
    ("distillation: {methods: {GKD: {label: X, loss: none}}}", "distillation.methods.GKD:", "lower-case"),
    ("distillation: {methods: {gkd-2: {label: X, loss: none}}}", "distillation.methods.gkd-2:", "underscores"),
    ("distillation: {methods: {../x: {label: X, loss: none}}}", "distillation.methods.../x:", "underscores"),
    ("distillation: {methods: {'': {label: X, loss: none}}}", "distillation.methods", "''"),
    ("distillation: {methods: {teacher: {label: X, loss: none}}}", "distillation", "methods", "teacher"),
    # settings that do not work together
    ("seeds: [3, 1, 3]", "seeds:", "3", "twice"),
    ("data: {source: arrays}", "data", "path", "arrays"),
    ("data: {source: image_folder}", "data", "path", "image_folder"),
    ("data: {path: here}", "data", "path", "photo_patches"),
    ("data: {image_size: 7}", "data.image_size:", "8", "7"),
    ("data: {source: torchvision}", "data.dataset:", "set this to one of MNIST", "Food101"),
    ("data: {dataset: SVHN}", "data.dataset:", "only for source torchvision", "photo_patches"),
    ("data: {source: torchvision, dataset: svhn}", "data.dataset:", "did you mean 'SVHN'"),
    ("data: {source: torchvision, dataset: Food-101}", "data.dataset:", "did you mean 'Food101'"),
    ("data: {source: torchvision, dataset: DTD, test_images: 46}", "data.test_images:", "fewer than the 47 classes"),
    ("data: {source: torchvision, dataset: DTD, train_images: 1900}", "data.train_images:", "the 1,880 images of DTD"),
    ("data: {source: torchvision, dataset: SVHN, cifar10: true}", "data.cifar10:", "source torchvision does not"),
    ("data: {image_size: 2000}", "data.image_size:", "1024", "2000"),
    ("data: {mean: [0.5, 0.5, 0.5]}", "data", "mean", "std"),
    ("data: {std: [0.5, 0.5, 0.5]}", "data", "mean", "std"),
    ("data: {mean: [0.5], std: [0.5]}", "data", "mean", "three"),
    ("data: {mean: [0.5, 0.5, 0.5], std: [0.5]}", "data", "std", "three"),
    ("data: {class_names: [a, b]}", "data", "class_names", "2 names", "10 classes"),
    ("data: {class_names: [a, a, c, d, e, f, g, h, i, j]}", "data", "class_names", "twice"),
    ("data: {train_images: 20010}", "data", "train_images", "20,000"),
    ("data: {test_images: 1005}", "data", "test_images", "multiple of 10"),
    ("data: {train_images: 5}", "data", "train_images", "10 classes"),
    ("data: {source: digits, train_images: 1439}", "data", "train_images", "1,438"),
    ("data: {source: digits, test_images: 360}", "data", "test_images", "359"),
    ("data: {test_images: 100, validation_images: 100}", "data", "validation_images", "set `test_images` to null"),
    ("data: {validation_images: 9}", "data", "validation_images", "fewer than the 10 classes"),
    ("data: {source: digits, validation_images: 1429}", "data", "validation_images", "at most 1,428"),
    ("data: {source: cifar100, train_images: 50001}", "data", "train_images", "50,000"),
    ("data: {source: cifar100, test_images: 99}", "data", "test_images", "100 classes"),
    ("data: {source: arrays, path: x, train_images: 1}", "data", "train_images", "2 classes"),
    ("geometry: {k: 20}", "geometry", "k", "20 images", "19"),
    ("geometry: {classes: 11}", "geometry.classes:", "10 classes"),
    ("geometry: {training: {batch_size: 2001}}", "geometry.training.batch_size:", "2000|2,000"),
    ("distillation: {training: {batch_size: 2001}}", "distillation.training.batch_size:", "2000|2,000"),
    ("data: {train_images: 40}", "training.batch_size:", "40"),
    ("distillation: {teacher: null}", "distillation.methods.hinton", "teacher", "null"),
    ("distillation: {baseline: basline}", "distillation", "baseline", "did you mean 'baseline'"),
    ("distillation: {methods: {baseline: null}}", "distillation", "baseline", "not in"),
    (
        "distillation: {methods: {baseline: null, hinton: null, rkd_d: null, gkd: null, gkd_inter: null}}",
        "distillation.methods: it is empty",
    ),
    ("distillation: {methods: {gkd: {label: RKD-D}}}", "distillation.methods.rkd_d.label:", "'RKD-D'"),
    ("distillation: {methods: {gkd: {k: 33}}}", "distillation.methods.gkd.k:", "33", "32"),
    ("distillation: {methods: {gkd: {layers: [stage3]}}}", "distillation.methods.gkd.layers:", "'stage2'", "pool"),
    ("distillation: {methods: {gkd: {layers: [pool, pool]}}}", "distillation.methods.gkd.layers:", "twice"),
    ("distillation: {student: {architecture: {depth: 12}}}", "distillation.student.architecture", "12", "6n + 4"),
    ("distillation: {student: {architecture: {width: 0.05}}}", "distillation.student.architecture", "0.0625"),
    (
        "distillation: {training: {schedule: [{epochs: 1.5, learning_rate: 0.1}]}}",
        "distillation.training",
        "schedule",
        "1.5 epochs",
    ),
    (
        "distillation: {training: {schedule: [{epochs: 1e-9, learning_rate: 0.1}]}}",
        "distillation.training.schedule:",
        "at least 1",
    ),
    (
        "distillation: {training: {schedule: [{epochs: 1e-3, learning_rate: 0.1}, {epochs: 0.999, learning_rate: 0.1}]}}",
        "distillation.training.schedule:",
        "and an epoch has 63 steps",
    ),
    (
        "distillation: {training: {schedule: [{epochs: 1, learning_rate: [0.1, 0.2, 0.3]}]}}",
        "distillation.training.schedule[0]",
        "learning_rate",
        "[first, last]",
    ),
    ("distillation: {training: {optimizer: {momentum: 0}}}", "distillation.training.optimizer.nesterov:", "momentum"),
    # corruptions
    ("corruptions: {severity: [1]}", "corruptions.severity:", "'severities'"),
    ("timing: {methods: [parseval]}", "timing.methods:", "'parseval'", "SECTION.METHOD"),
    ("timing: {methods: [geometry.k]}", "timing.methods:", "'geometry.k'", "distillation, embedding, robustness"),
    ("timing: {methods: [robustness.parsval]}", "timing.methods:", "'parsval'", "did you mean 'parseval'"),
    ("timing: {rounds: 1}", "timing.rounds:", "2", "1"),
    ("corruptions: {source: cifar10c}", "corruptions.source:", "'cifar10_c'"),
    ("corruptions: {source: cifar10_c}", "corruptions.source:", "photo_patches", "generated"),
    ("{data: {source: cifar100}, corruptions: {source: cifar10_c}}", "corruptions.source:", "cifar100"),
    (
        "{data: {source: cifar10, validation_images: 5000}, corruptions: {source: cifar10_c}}",
        "corruptions.source:",
        "cifar10_c",
        "use generated",
    ),
    (
        "{data: {source: cifar10, image_size: 64}, corruptions: {source: cifar10_c}}",
        "corruptions.source:",
        "data.image_size is 64",
        "use generated",
    ),
    ("{data: {validation_images: 50}, corruptions: {images: 60}}", "corruptions.images:", "60", "50 test images"),
    (
        "{data: {source: cifar10, test_images: 1000}, corruptions: {source: cifar10_c}}",
        "data.test_images:",
        "null",
        "corruptions.images",
    ),
    ("{data: {source: cifar10}, corruptions: {source: cifar10_c, keep: true}}", "corruptions.keep:", "generated"),
    ("corruptions: {path: archive.tar}", "corruptions.path:", "null"),
    ("corruptions: {names: [gausian_noise]}", "corruptions.names[0]:", "did you mean 'gaussian_noise'"),
    ("corruptions: {names: [fog, 5]}", "corruptions.names[1]:", "5 is not a valid choice"),
    ("corruptions: {names: fog}", "corruptions.names:", "list"),
    ("corruptions: {names: [fog, snow, fog]}", "corruptions.names:", "twice"),
    ("corruptions: {severities: [5, 6]}", "corruptions.severities[1]:", "found 6"),
    ("corruptions: {severities: [0]}", "corruptions.severities[0]:", "found 0"),
    ("corruptions: {severities: 5}", "corruptions.severities:", "list"),
    ("corruptions: {severities: [1, 1]}", "corruptions.severities:", "twice"),
    ("corruptions: {images: 1001}", "corruptions.images:", "1001", "1000 test images"),
    ("{data: {test_images: 30}, corruptions: {images: 40}}", "corruptions.images:", "40", "30 test images"),
    ("corruptions: {images: 9}", "corruptions.images:", "9 images", "10 classes"),
    ("corruptions: {keep: sometimes}", "corruptions.keep:", "'sometimes'"),
    # embeddings
    ("embedding: {methods: {label_variation: {similarty: rbf}}}", "label_variation.similarty:", "'similarity'"),
    (
        "embedding: {methods: {label_variation: {similarity: euclidean}}}",
        "embedding.methods.label_variation.similarity:",
        "rbf, rbf_squared",
    ),
    (
        "embedding: {methods: {label_variation: {similarity: cosine}}}",
        "embedding.methods.label_variation.similarity:",
        "needs non-negative values",
        "use rbf or rbf_squared",
    ),
    ("embedding: {methods: {label_variation: {margin: 1}}}", "label_variation.margin:", "unknown key"),
    ("embedding: {methods: {triplet: {k: 5}}}", "embedding.methods.triplet.k:", "unknown key"),
    ("embedding: {methods: {cross_entropy: {weight: 5}}}", "embedding.methods.cross_entropy.weight:", "unknown key"),
    ("embedding: {methods: {triplet: {margin: hard}}}", "triplet.margin:", "number", "'soft', found 'hard'"),
    ("embedding: {methods: {triplet: {margin: 0}}}", "triplet.margin:", "greater than 0", "'soft', found 0"),
    ("embedding: {methods: {triplet: {margin: null}}}", "triplet.margin:", "'soft', found nothing"),
    ("embedding: {methods: {triplet: {weight: 0}}}", "embedding.methods.triplet.weight:", "found 0"),
    ("embedding: {methods: {triplet: {classifier: own}}}", "embedding.methods.triplet.classifier:", "svm"),
    ("embedding: {methods: {triplet: {loss: triplets}}}", "embedding.methods.triplet.loss:", "'triplet'"),
    ("embedding: {methods: {new: {label: New}}}", "embedding.methods.new", "loss", "required"),
    ("embedding: {methods: {label_variation: {k: 33}}}", "embedding.methods.label_variation.k:", "33", "32"),
    (
        "embedding: {methods: {label_variation: {self_loops: true}}}",
        "embedding.methods.label_variation.self_loops",
        "`normalize`",
    ),
    (
        "embedding: {methods: {triplet: {label: Cross-entropy}}}",
        "embedding.methods.cross_entropy.label:",
        "'Cross-entropy'",
    ),
    ("embedding: {baseline: cross_entrpy}", "embedding", "baseline", "did you mean 'cross_entropy'"),
    ("embedding: {methods: {cross_entropy: null}}", "embedding", "baseline", "not in"),
    (
        "embedding: {methods: {cross_entropy: null, label_variation: null, triplet: null}}",
        "embedding.methods: it is empty",
    ),
    ("embedding: {figure: {methods: [triplet]}}", "embedding.figure.methods:", "methods by name, with their settings"),
    (
        "embedding: {figure: {methods: {cross_entropy: null, label_variation: null}}}",
        "embedding.figure.methods: it is empty",
        "`figure` to null",
    ),
    (
        "embedding: {figure: {methods: {label_variation: {label: Cross-entropy}}}}",
        "embedding.figure.methods.cross_entropy.label:",
        "'Cross-entropy'",
    ),
    (
        "embedding: {figure: {methods: {label_variation: {k: 33, reduction: mean}}}}",
        "embedding.figure.methods.label_variation.k:",
        "32",
    ),
    (
        "embedding: {figure: {schedule: [{epochs: 1.5, learning_rate: 0.1}]}}",
        "embedding.figure.schedule:",
        "whole",
    ),
    (
        "embedding: {figure: {schedule: [{epochs: 1, learning_rate: 0.1}]}}",
        "embedding.figure.epochs:",
        "2 is after the last epoch, 1",
    ),
    (
        "embedding: {methods: {label_variation: {attraction: 0.5, reduction: log_mean}}}",
        "embedding.methods.label_variation.attraction:",
        "`reduction: mean`",
    ),
    (
        "embedding: {figure: {methods: {label_variation: {reduction: log_mean, k: 5}}}}",
        "embedding.figure.methods.label_variation.reduction:",
        "set `k` to null",
    ),
    (
        "embedding: {methods: {label_variation: {normalize_embeddings: unit}}}",
        "embedding.methods.label_variation.normalize_embeddings",
        "'batch'",
    ),
    ("embedding: {figure: {epochs: [1, 400]}}", "embedding.figure.epochs:", "400", "the last epoch"),
    ("embedding: {figure: {epochs: [-1]}}", "embedding.figure.epochs[0]:", "found -1"),
    ("embedding: {figure: {epochs: 2}}", "embedding.figure.epochs:", "list"),
    ("embedding: {dimensions: 0}", "embedding.dimensions:", "found 0"),
    ("embedding: {training: {batch_size: 2001}}", "embedding.training.batch_size:", "2000|2,000"),
    # robustness
    (
        "robustness: {methods: {regularizer: {defences: [{name: regularizer, weigth: 1}]}}}",
        "robustness.methods.regularizer.defences[0].weigth:",
        "'weight'",
    ),
    (
        "robustness: {methods: {both: {defences: [{name: parseval}, {name: regularizer, lambda: 1}]}}}",
        "robustness.methods.both.defences[1].lambda:",
        "'weight'",
    ),
    ("robustness: {methods: {both: {defence: []}}}", "robustness.methods.both.defence:", "'defences'"),
    ("robustness: {methods: {both: {defences: [{beta: 0.01}]}}}", "both.defences[0]: the key 'name' is required"),
    ("robustness: {methods: {both: {defences: [{name: regulariser}]}}}", "both.defences[0].name:", "'regularizer'"),
    ("robustness: {methods: {both: {defences: [parseval]}}}", "both.defences[0]:", "section", "found 'parseval'"),
    ("robustness: {methods: {both: {defences: parseval}}}", "both.defences:", "list", "found 'parseval'"),
    ("robustness: {methods: {both: {defences: {name: parseval}}}}", "both.defences:", "list", "found a section"),
    ("robustness: {methods: {both: {defences: null}}}", "both.defences:", "list", "found nothing"),
    (
        "robustness: {methods: {both: {defences: [{name: parseval}, {name: parseval}]}}}",
        "both.defences: 'parseval' is listed twice",
        "list each defence once",
    ),
    (
        "robustness: {methods: {both: {defences: [{name: parseval}, {name: other, module: parseval}]}}}",
        "both.defences: 'parseval' is listed twice",
    ),
    (
        "robustness: {methods: {both: {defences: [{name: other}]}}}",
        "defences[0].module: this key is required",
    ),
    (
        "robustness: {methods: {both: {defences: [{name: other, module: parsval}]}}}",
        "defences[0].module: 'parsval' is not registered; did you mean 'parseval'",
        "lgg/defences/__init__.py",
    ),
    (
        "robustness: {methods: {both: {defences: [{name: other, module: parseval, arguments: {bta: 1}}]}}}",
        "defences[0].arguments.bta:",
        "did you mean 'beta'",
    ),
    ("robustness: {methods: {parseval: {defences: [{name: parseval, beta: 0.6}]}}}", "defences[0].beta:", "0.5"),
    ("robustness: {methods: {parseval: {loss: none}}}", "robustness.methods.parseval.loss:", "unknown key"),
    (
        "robustness: {methods: {adversarial: {defences: [{name: adversarial, steps: 0}]}}}",
        "robustness.methods.adversarial.defences[0].steps:",
        "found 0",
    ),
    # 8 of 255 in units of [0, 1]
    (
        "robustness: {methods: {adversarial: {defences: [{name: adversarial, epsilon: 8}]}}}",
        "robustness.methods.adversarial.defences[0].epsilon:",
        "equal to 1",
    ),
    (
        "robustness: {methods: {both: {defences: [{name: parseval}, {name: regularizer, k: 101}]}}}",
        "robustness.methods.both.defences[1].k:",
        "101",
        "100",
    ),
    ("timing: {adversarial: {name: adversarial}}", "timing.adversarial.name:", "unknown key"),
    # keys that have moved
    *(
        (f"geometry: {{training: {{{key}: {value}}}}}", f"geometry.training.{key}: ", f"{{name: sgd, {key}: …}}")
        for key, value in (("momentum", 0.9), ("nesterov", "true"), ("weight_decay", "null"))
    ),
    *(
        (
            f"{section}: {{training: {{compilation: {mode}}}}}",
            f"{section}.training.compilation: ",
            "captured_steps: true",
        )
        for section, mode in (("distillation", "none"), ("embedding", "reduce-overhead"))
    ),
    ("distillation: {seeds_per_job: 2}", "distillation.seeds_per_job: ", "resources: {networks_per_job: …}"),
    ("resources: {networks_per_job: 0}", "resources.networks_per_job: ", "greater than or equal to 1"),
    ("resources: {captured_steps: 1}", "resources.captured_steps: ", "boolean"),
    *(
        (f"robustness: {{methods: {{both: {{{key}: {value}}}}}}}", f"methods.both.{key}: ", f"[{{name: {name}, …}}]")
        for key, name, value in (
            ("smoothness", "regularizer", "{weight: 1}"),
            ("parseval", "parseval", "null"),
            ("adversarial", "adversarial", "{}"),
        )
    ),
    *(
        (
            f"{section}: {{methods: {{{method}: {{{key}: 1}}}}}}",
            f"{section}.methods.{method}.{key}: ",
            "config/paper.yaml",
        )
        for section, method, keys in (
            ("distillation", "gkd", ("paper_error", "paper_gain")),
            ("embedding", "triplet", ("paper_clean_error", "paper_relative_mce")),
            ("robustness", "both", ("paper_fgsm_error", "paper_epoch_seconds", "published")),
        )
        for key in keys
    ),
    ("distillation: {teacher: {paper_error: 7}}", "distillation.teacher.paper_error: ", "config/paper.yaml"),
    ("robustness: {methods: {parseval: {label: Baseline}}}", "robustness.methods.baseline.label:", "'Baseline'"),
    ("robustness: {baseline: base}", "robustness", "baseline", "did you mean 'baseline'"),
    ("robustness: {methods: {baseline: null}}", "robustness", "baseline", "not in"),
    ("robustness: {methods: {baseline: {supplement: true}}}", "robustness.methods.baseline.supplement:", "Table 3"),
    ("robustness: {training: {batch_size: 2001}}", "robustness.training.batch_size:", "2000|2,000"),
    ("robustness: {tests: {images: 1001}}", "robustness.tests.images:", "1001", "1000 test images"),
    ("robustness: {tests: {images: 9}}", "robustness.tests.images:", "9 images", "10 classes"),
    ("robustness: {tests: {deepfool_images: 1001}}", "robustness.tests.deepfool_images:", "1000 test images"),
    ("robustness: {tests: {deepfool_images: 9}}", "robustness.tests.deepfool_images:", "10 classes"),
    ("robustness: {tests: {deepfool_images: -1}}", "robustness.tests.deepfool_images:", "found -1"),
    ("robustness: {tests: {curve_snrs: [300]}}", "robustness.tests.curve_snrs[0]:", "200"),
    ("robustness: {tests: {weight_bits: 1}}", "robustness.tests.weight_bits:", "found 1"),
    ("robustness: {tests: {dropout_rate: 1}}", "robustness.tests.dropout_rate:", "less than 1"),
    ("robustness: {tests: {pgd: {step_size: -0.1}}}", "robustness.tests.pgd.step_size:", "-0.1"),
    ("robustness: {tests: {pgd: null}}", "robustness.tests.pgd:", "section", "found nothing"),
]


def message(*overlays: str | dict[str, Any]) -> str:
    """Return the message for `overlays` laid over config/config.yaml."""
    with pytest.raises(ConfigError) as caught:
        configured(*overlays)
    return str(caught.value)


# --- what is accepted ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("overlays", [[], *([name] for name in OVERLAYS)])
def test_every_committed_configuration_loads(overlays):
    configuration = configured(*map(read, overlays))
    assert all(getattr(configuration, section) is not None for section in SECTIONS)


def test_each_committed_configuration_has_its_own_run():
    assert len({configured(*map(read, names)).run for names in ([], *([name] for name in OVERLAYS))}) == 3


def test_the_paper_s_settings_are_in_its_configuration():
    paper = configured(read("cifar10.yaml"))
    assert len(paper.seeds) == 10
    assert paper.distillation is not None and paper.distillation.teacher is not None
    assert paper.distillation.training.epochs == 200
    assert [paper.distillation.teacher.architecture.width, paper.distillation.student.architecture.width] == [1.0, 0.5]
    assert paper.distillation.active_methods["gkd"].weight == 25.0
    assert paper.embedding is not None and paper.robustness is not None
    assert paper.embedding.architecture.base_width == paper.robustness.architecture.base_width == 64
    label_variation = paper.embedding.active_methods["label_variation"]
    assert isinstance(label_variation, declared.LabelVariationEmbedding)
    # Section 4.2: rbf, every edge, the paper's objective without attraction; classified by the 10 nearest neighbours
    assert (label_variation.similarity, label_variation.k, label_variation.attraction) == ("rbf", None, 0.0)
    assert label_variation.classifier == "nearest_neighbours"
    # Section 4.3: 50 epochs at 0.1 and 50 at 0.001, batches of 100, γ = 0.01² with p = 2, β = 0.01, FGSM at 33 dB
    assert [(phase.epochs, phase.learning_rate) for phase in paper.robustness.training.schedule] == [
        (50.0, 0.1),
        (50.0, 0.001),
    ]
    assert paper.robustness.training.batch_size == 100
    both = paper.robustness.active_methods["both"]
    parseval, regularizer = both.defences
    assert (regularizer.weight, regularizer.power, parseval.beta) == (1e-4, 2, 0.01)
    assert paper.robustness.tests.fgsm_snr == 33.0
    assert len(paper.corruptions.names) == 15
    assert paper.corruptions.severities == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("section", [*SECTIONS, "corruptions"])
def test_a_section_of_the_paper_may_be_null(section):
    assert getattr(configured(f"{section}: null"), section) is None


def test_null_removes_a_method():
    distillation = configured("distillation: {methods: {hinton: null, rkd_d: null}}").distillation
    assert distillation is not None
    assert list(distillation.active_methods) == ["baseline", "gkd", "gkd_inter"]


def test_without_a_teacher_the_baseline_stays():
    removed = dict.fromkeys(("hinton", "rkd_d", "gkd", "gkd_inter"))
    distillation = configured({"distillation": {"teacher": None, "methods": removed}}).distillation
    assert distillation is not None
    assert list(distillation.active_methods) == ["baseline"]


def test_a_new_method_is_a_new_row():
    distillation = configured("distillation: {methods: {gkd_k5: {label: five, loss: graph_distillation, k: 5}}}")
    assert distillation.distillation is not None
    assert list(distillation.distillation.active_methods)[-1] == "gkd_k5"


def test_rows_are_taken_away_and_added_in_every_section():
    configuration = configured(
        "embedding: {methods: {triplet: null, soft: {label: Soft, loss: triplet, margin: soft}}}",
        "robustness: {methods: {both: null, new: {label: New, defences: [{name: adversarial}]}}}",
    )
    assert configuration.embedding is not None and configuration.robustness is not None
    assert list(configuration.embedding.active_methods) == ["cross_entropy", "label_variation", "soft"]
    defences = configuration.robustness.active_methods
    assert "both" not in defences
    assert list(defences)[-1] == "new"


def test_a_supplement_s_rows_are_not_in_table_3():
    robustness = configured("robustness: {methods: {both: {supplement: true}}}").robustness
    assert robustness is not None
    assert robustness.active_methods.keys() - robustness.table_methods.keys() >= {"both"}
    assert not any(method.supplement for method in robustness.table_methods.values())


def test_a_sweep_is_the_baseline_and_the_regularizer_alone_and_alike_but_for_its_weight():
    methods = """
      low: {label: Low, defences: [{name: regularizer, weight: 0.001}]}
      high: {label: High, defences: [{name: regularizer, weight: 0.1}], supplement: true}
      power: {label: Power, defences: [{name: regularizer, weight: 0.01, power: 1}]}
      with_parseval: {label: With, defences: [{name: regularizer, weight: 0.2}, {name: parseval}]}
      attacked: {label: Attacked, defences: [{name: adversarial}, {name: regularizer, weight: 0.3}]}
      without: {label: Without}
      nothing: {label: Nothing, defences: [{name: regularizer, weight: 0}]}
      again: {label: Again, defences: [{name: regularizer, weight: 0.1}]}
    """
    raw = read()
    raw["robustness"] |= {"baseline": "without", "methods": yaml.safe_load(methods)}
    raw["timing"] = None
    robustness = load(raw).robustness
    assert robustness is not None
    assert robustness.sweep == {"without": 0.0, "low": 0.001, "high": 0.1}


def test_an_overlay_s_defences_replace_the_whole_list():
    robustness = configured("robustness: {methods: {both: {defences: [{name: adversarial, steps: 3}]}}}").robustness
    (only,) = robustness.active_methods["both"].defences
    assert (only.name, only.steps, only.epsilon) == ("adversarial", 3, 8 / 255)
    undefended = configured("robustness: {methods: {both: {defences: []}}}").robustness.active_methods["both"]
    assert undefended.defences == []


def test_another_optimizer_has_its_own_keys_and_defaults():
    adamw = configured("geometry: {training: {optimizer: {name: adamw}}}").geometry.training.optimizer
    assert adamw.model_dump() == {
        "name": "adamw",
        "betas": [0.9, 0.999],
        "epsilon": 1e-8,
        "weight_decay": 0.01,
        "decay_norms": True,
    }
    back = configured(
        "geometry: {training: {optimizer: {name: adamw}}}", "geometry: {training: {optimizer: {name: sgd}}}"
    ).geometry.training.optimizer
    assert back == declared.Sgd(name="sgd") and not back.nesterov
    kept = configured("geometry: {training: {optimizer: {name: sgd, weight_decay: 0.1}}}").geometry.training.optimizer
    assert kept.nesterov  # the same kind again keeps the others


def test_rows_of_table_a1_go_with_their_methods_and_bring_their_baselines():
    assert configured("timing: {methods: [robustness.parseval, distillation.gkd, robustness.both]}").timed_methods == [
        ("robustness", "baseline"),
        ("robustness", "parseval"),
        ("distillation", "baseline"),
        ("distillation", "gkd"),
        ("robustness", "both"),
    ]
    without = configured("{robustness: null, distillation: {methods: {gkd: null}}}").timed_methods
    assert without == [
        ("distillation", "baseline"),
        ("distillation", "rkd_d"),
        ("embedding", "cross_entropy"),
        ("embedding", "label_variation"),
    ]
    assert configured("timing: null").timed_methods == []


def test_rows_of_figure_a1_have_settings_of_their_own():
    embedding = configured("embedding: {methods: {label_variation: {rbf_scale: 3}}}").embedding
    assert embedding.active_methods["label_variation"].rbf_scale == 3
    assert embedding.figure_methods == configured().embedding.figure_methods
    circle = (
        "embedding: {figure: {methods: {label_variation: {normalize_embeddings: true, reduction: mean, rbf_scale: 2}}}}"
    )
    assert configured(circle).embedding.figure_methods["label_variation"].normalize_embeddings is True
    without = configured("embedding: {figure: {methods: {cross_entropy: null}}}").embedding
    assert list(without.figure_methods) == ["label_variation"]
    assert configured("embedding: {figure: null}").embedding.figure_methods == {}


def test_figure_a1_can_be_trained_for_longer_than_the_table():
    embedding = configured("embedding: {figure: {schedule: [{epochs: 9, learning_rate: 0.1}], epochs: [5]}}").embedding
    assert embedding.figure_epochs == [0, 5, 9]
    assert embedding.training.epochs == configured().embedding.training.epochs
    without_schedule = embedding.training.model_dump(exclude={"schedule"})
    assert embedding.figure_training.model_dump(exclude={"schedule"}) == without_schedule


@pytest.mark.parametrize(("epochs", "drawn"), [([1, 2], [0, 1, 2, 3]), ([3, 0, 0], [0, 3]), ([2], [0, 2, 3])])
def test_figure_a1_is_drawn_at_the_beginning_and_at_the_end_too(epochs, drawn):
    schedule = [{"epochs": 3, "learning_rate": 0.1}]
    embedding = configured({"embedding": {"training": {"schedule": schedule}, "figure": {"epochs": epochs}}}).embedding
    assert embedding is not None
    assert embedding.figure_epochs == drawn


def test_by_default_the_corruptions_are_those_of_the_benchmark_at_every_severity():
    corruptions = declared.Corruptions()
    assert tuple(corruptions.names) == corruption_names.NAMES
    assert tuple(corruptions.severities) == corruption_names.SEVERITIES
    assert (corruptions.source, corruptions.images) == ("generated", None)


@pytest.mark.parametrize("source", ["cifar10", "arrays"])
def test_the_archive_goes_with_cifar10_however_it_is_read(source):
    data = {"source": source, "path": "images"}
    corruptions = configured({"data": data, "corruptions": {"source": "cifar10_c", "path": "my.tar"}}).corruptions
    assert (corruptions.source, corruptions.path) == ("cifar10_c", "my.tar")


@pytest.mark.parametrize(
    "overlay",
    [
        "corruptions: {images: 1000}",
        "corruptions: {images: 10}",
        "robustness: {tests: {images: 1000, deepfool_images: 10}}",
        "robustness: {tests: {deepfool_images: 0}}",
        "robustness: {methods: {regularizer: {defences: [{name: regularizer, k: 50}]}}}",
        "embedding: {methods: {label_variation: {reduction: mean, k: 32, normalize: true, self_loops: true}}}",
    ],
)
def test_bounds_are_inside(overlay):
    configured(overlay)


@pytest.mark.parametrize(
    ("path", "text", "value"),
    [
        ("data.seed", "0", 0),
        ("data.seed", "+7", 7),
        ("data.train_images", "400", 400),
        ("data.train_images", "null", None),
        ("data.path", "null", None),
        ("seeds", ["0", "5"], [0, 5]),
        ("geometry.draws", "10", 10),
        ("distillation.training.optimizer.momentum", "0.5", 0.5),
        ("distillation.training.optimizer.weight_decay", "5e-4", 5e-4),
        ("distillation.training.optimizer.weight_decay", "1", 1.0),
        ("distillation.training.optimizer.weight_decay", ".1E-2", 1e-3),
        ("distillation.training.optimizer.nesterov", "true", True),
        ("distillation.training.optimizer.nesterov", "False", False),
        ("distillation.methods.gkd.k", "null", None),
        ("distillation.methods.gkd.k", "12", 12),
        ("distillation.methods.gkd.normalize", "false", False),
        ("distillation.methods.gkd", "null", None),
        ("geometry", "null", None),
        ("resources.train.threads", "2", 2),
        ("corruptions.images", "20", 20),
        ("corruptions.images", "null", None),
        ("corruptions.severities", ["1", "5"], [1, 5]),
        ("corruptions.keep", "true", True),
        ("embedding.dimensions", "3", 3),
        ("embedding.dimensions", "null", None),
        ("embedding.figure", "null", None),
        ("embedding.figure.epochs", ["1"], [1]),
        ("embedding.methods.triplet.margin", "soft", "soft"),
        ("embedding.methods.triplet.margin", "0.5", 0.5),
        ("embedding.methods.label_variation.rbf_scale", "1", 1.0),
        ("embedding.methods.label_variation.self_loops", "false", False),
        ("robustness.methods.both.supplement", "true", True),
        ("robustness.tests.curve_snrs", ["30", "-3.5"], [30.0, -3.5]),
        ("robustness.tests.deepfool_images", "0", 0),
        ("robustness.tests.strong_pgd.epsilon", ".05", 0.05),
    ],
)
def test_text_that_config_on_the_command_line_hands_over_is_read(path, text, value):
    overlay: Any = text
    for key in reversed(path.split(".")):
        overlay = {key: overlay}
    found: Any = configured(overlay).model_dump()
    for key in path.split("."):
        found = found[key]
    assert found == value
    assert type(found) is type(value)


def test_numbers_of_a_schedule_may_be_text():
    phases = [
        {"epochs": "0.5", "learning_rate": ["0", "1e-1"]},
        {"epochs": ".5", "learning_rate": "0.1", "fresh_optimizer": "false"},
    ]
    configuration = configured({"geometry": {"training": {"schedule": phases}}})
    assert configuration.geometry is not None
    schedule = configuration.geometry.training.schedule
    assert [phase.epochs for phase in schedule] == [0.5, 0.5]
    assert [phase.learning_rate for phase in schedule] == [[0.0, 0.1], 0.1]


def test_numbers_of_a_list_s_sections_may_be_text():
    defences = [{"name": "regularizer", "weight": "1e-3", "k": "null"}, {"name": "parseval", "beta": ".5"}]
    robustness = configured({"robustness": {"methods": {"both": {"defences": defences}}}}).robustness
    regularizer, parseval = robustness.active_methods["both"].defences
    assert (regularizer.weight, regularizer.k, parseval.beta) == (1e-3, None, 0.5)


@pytest.mark.parametrize("text", ["1e", "0x10", "1_000", "1,5", "", "nan", "inf", "one"])
def test_text_that_is_not_a_number_is_refused(text):
    assert repr(text) in message({"distillation": {"training": {"optimizer": {"momentum": text}}}})


# --- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overlay", "fragments"), [(row[0], row[1:]) for row in MISTAKES], ids=[r[0] for r in MISTAKES]
)
def test_a_mistake_is_named_with_its_key_and_what_would_be_right(overlay, fragments):
    text = message(overlay)
    for fragment in fragments:
        assert any(choice in text for choice in fragment.split("|")), text
    assert not JARGON.search(text), text


@pytest.mark.parametrize(
    ("overlay", "path"),
    [
        ("seeds: []", "seeds"),
        ("run: " + 65 * "x", "run"),
        ("5: digits", "5"),
        ("data: {source: null}", "data.source"),
        ("distillation: {training: {schedule: []}}", "distillation.training.schedule"),
        ("distillation: {methods: {gkd: {layers: []}}}", "distillation.methods.gkd.layers"),
        ("corruptions: {names: []}", "corruptions.names"),
        ("corruptions: {severities: []}", "corruptions.severities"),
        ("embedding: {figure: {epochs: []}}", "embedding.figure.epochs"),
        ("robustness: {tests: {curve_snrs: []}}", "robustness.tests.curve_snrs"),
    ],
)
def test_lengths_and_missing_values_are_described_in_plain_words(overlay, path):
    text = message(overlay)
    assert f"{path}: " in text
    assert not JARGON.search(text)
    assert "None" not in text


def test_one_bad_learning_rate_of_two_is_one_mistake():
    text = message("distillation: {training: {schedule: [{epochs: 1, learning_rate: [0.1, fast]}]}}")
    assert "has a mistake:\n  distillation.training.schedule[0].learning_rate[1]: " in text


def test_a_margin_that_is_neither_number_nor_word_is_one_mistake():
    assert "has a mistake:\n" in message("embedding: {methods: {triplet: {margin: hard}}}")


def test_an_empty_loss_is_shown_as_it_was_written():
    assert "distillation.methods.gkd.loss: ''" in message("distillation: {methods: {gkd: {loss: ''}}}")


@pytest.mark.parametrize("number", [".nan", ".inf", "125.3"])
def test_a_mean_is_a_number_from_0_to_1(number):
    assert "data.mean[0]:" in message(f"data: {{mean: [{number}, 0.5, 0.5], std: [0.2, 0.2, 0.2]}}")


def test_an_entry_that_is_new_and_lacks_its_kind_may_be_a_word_misspelt():
    assert "methods.gkd_iner: the key 'loss' is required in this new entry; did you mean 'gkd_inter'?" in message(
        "distillation: {methods: {gkd_iner: {weight: 5}}}"
    )


def test_an_overlay_can_choose_another_network():
    student = "{architecture: {name: preact_resnet18, base_width: 8, depth: null, width: null}}"
    configured(
        f"distillation: {{student: {student}, teacher: null, methods: {{hinton: null, rkd_d: null, "
        "gkd: null, gkd_inter: null}}"
    )


@pytest.mark.parametrize("key", ["run", "seeds", "data", "resources"])
def test_a_missing_needed_key_is_named(key):
    raw = read()
    del raw[key]
    with pytest.raises(ConfigError, match=rf"{key}: this key is required"):
        load(raw)


@pytest.mark.parametrize("key", ["teacher", "student", "training", "methods"])
def test_a_missing_needed_key_of_distillation_is_named(key):
    raw = read()
    del raw["distillation"][key]
    with pytest.raises(ConfigError, match=rf"distillation\.{key}: this key is required"):
        load(raw)


def test_an_empty_configuration_names_all_it_lacks():
    with pytest.raises(ConfigError, match="4 mistakes"):
        load({})


def test_every_mistake_of_a_section_is_reported_at_once():
    text = message(
        """
        data: {path: here, mean: [0.5], train_images: 2005, class_names: [a, a]}
        distillation: {teacher: null, baseline: base, methods: {gkd: {k: 99}}, training: {optimizer: {momentum: 0}}}
        corruptions: {path: x, names: [fog, fog]}
        """
    )
    reported = [line.split(":")[0].strip() for line in text.split("\n")[1:-1]]
    assert sorted(reported) == sorted(
        ["data.path", "data.std", "data.mean", "data.train_images", "data.class_names", "data.class_names"]
        + ["distillation.baseline", "distillation.methods.gkd.k", "distillation.training.optimizer.nesterov"]
        + [f"distillation.methods.{name}" for name in ("hinton", "rkd_d", "gkd", "gkd_inter")]
        + ["corruptions.path", "corruptions.names"]
    )


def test_mistakes_in_other_sections_are_reported_with_a_key_that_cannot_be_read():
    reported = message("geometry: {k: many}", "distillation: {teacher: null}", "corruptions: {images: 5000}")
    for path in ("geometry.k", "distillation.methods.hinton", "corruptions.images"):
        assert f"\n  {path}: " in reported


@pytest.mark.parametrize("label", ["''", "'  '", '"\\t"', '"\\u200b"'])
@pytest.mark.parametrize(
    "path",
    [
        "distillation.teacher.label",
        "distillation.methods.gkd.label",
        "embedding.methods.triplet.label",
        "robustness.methods.both.label",
        "data.class_names",
    ],
)
def test_a_label_shows_something(path, label):
    value = yaml.safe_load(label)
    overlay: Any = [value, *"bcdefghij"] if path.endswith("names") else value
    for key in reversed(path.split(".")):
        overlay = {key: overlay}
    assert f"  {path}" in message(overlay)


@pytest.mark.parametrize("name", ["GKD", " GKD ", "GKD\u2003"])
def test_labels_that_read_the_same_are_refused_the_teacher_s_among_them(name):
    reported = message({"distillation": {"teacher": {"label": name}}})
    assert "distillation.methods.gkd.label: two rows are labelled 'GKD'" in reported
    assert "hinton" not in reported
    reported = message({"distillation": {"methods": {"hinton": {"label": "GKD  (inter-class\u2003edges)"}}}})
    assert "methods.hinton.label" in reported and "methods.gkd_inter.label" in reported


def test_two_mistakes_are_reported_together():
    text = message("sseds: [0]", "distillation: {methods: {gkd: {edges: outer}}}")
    assert "2 mistakes" in text
    assert "sseds: " in text
    assert "distillation.methods.gkd.edges: " in text


def test_mistakes_that_validators_find_in_two_sections_are_reported_together():
    text = message("data: {path: here}", "geometry: {k: 20}")
    assert "2 mistakes" in text


def test_a_single_mistake_is_counted_as_one():
    text = message("seeds: [-1]")
    assert text.startswith("The configuration has a mistake:\n  seeds[0]: ")
    assert text.endswith("Nothing was run.")


def test_the_message_says_where_every_key_is_described():
    assert "config/README.md" in message("seeds: [-1]")


def test_k_may_be_as_large_as_the_batch():
    configured("distillation: {methods: {gkd: {k: 32}}}")


def test_layers_must_be_named_where_teacher_and_student_have_different_ones():
    raw = read()
    raw["distillation"]["teacher"]["architecture"] = {"name": "preact_resnet18", "base_width": 8}
    with pytest.raises(ConfigError, match=r"distillation\.methods\.rkd_d\.layers: .*different layers"):
        load(raw)


def test_a_layer_that_only_the_teacher_has_is_refused():
    raw = read()
    raw["distillation"]["teacher"]["architecture"] = {"name": "preact_resnet18", "base_width": 8}
    raw["distillation"]["methods"]["rkd_d"]["layers"] = ["final.relu"]
    with pytest.raises(ConfigError, match=r"methods\.rkd_d\.layers: the student, a wide_resnet, has no layer"):
        load(raw)


# --- what is to be run --------------------------------------------------------------------------------------------


def planned(folder, *overlays):
    return plan(read(), *map(content, overlays), folder=folder)


def refusal(folder, *overlays):
    """Return the mistakes that are reported when `overlays` are run in `folder`."""
    with pytest.raises(ConfigError) as caught:
        planned(folder, *overlays)
    first, *lines, last = str(caught.value).split("\n")
    assert first.startswith("The configuration has ")
    assert last.endswith("Nothing was run.")
    return [line.strip() for line in lines]


def draw_pictures(folder, train, test, classes="abc", suffix=".PNG"):
    """Create files with the names of images; nothing reads their content."""
    for split, count in (("train", train), ("test", test)):
        for name in classes:
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                (folder / split / name / f"{number}{suffix}").touch()


@pytest.mark.parametrize("source", ["arrays", "image_folder"])
def test_a_missing_folder_is_refused_before_anything_runs(source, tmp_path):
    (line,) = refusal(tmp_path, {"data": {"source": source, "path": "images"}})
    assert line.startswith(f"data.path: there is no folder {tmp_path / 'images'}")


def test_a_file_in_place_of_a_folder_is_refused(tmp_path):
    (tmp_path / "images").write_text("")
    (line,) = refusal(tmp_path, "data: {source: arrays, path: images}")
    assert line.startswith("data.path:")


def test_folders_are_relative_to_the_one_given_or_absolute(tmp_path):
    (tmp_path / "images").mkdir()
    for name in ("train", "test"):
        (tmp_path / "images" / f"{name}.npz").touch()
    planned(tmp_path, "data: {source: arrays, path: images}")
    planned(tmp_path / "elsewhere", {"data": {"source": "arrays", "path": str(tmp_path / "images")}})


def test_all_that_pictures_are_too_few_for_is_reported_at_once_with_other_mistakes(tmp_path):
    draw_pictures(tmp_path / "mine", train=40, test=20)
    settings = """
      seeds: [1, 1]
      data: {source: image_folder, path: mine, test_images: 61}
      distillation: {training: {batch_size: 121}}
      geometry: {images_per_class: 41, k: 500}
      robustness: {tests: {images: 62, pgd: {steps: 1000}}, methods: {both: {label: ""}}}
      embedding: {figure: null, training: {schedule: [{epochs: 0.001, learning_rate: 0}, {epochs: 0.999, learning_rate: 0}]}}
    """
    lines = refusal(tmp_path, settings)
    reported = {line.partition(":")[0]: line for line in lines}
    assert len(reported) == len(lines)
    # of a section that cannot be read, robustness here, what does not go together is left to the next round
    assert set(reported) == {
        "seeds",
        "robustness.methods.both.label",
        "data.test_images",
        "distillation.training.batch_size",
        "embedding.training.schedule",
        "geometry.k",
        "geometry.classes",
        "geometry.images_per_class",
        "corruptions.images",
    }
    for key, words in {
        "data.test_images": "61 is more than the 60 images of image_folder",
        "distillation.training.batch_size": "121 is more than the 120 training images",
        "corruptions.images": "100 is more than the 61 test images",
        "geometry.classes": "4 is more than the 3 classes",
        "geometry.images_per_class": "41 is more than the 40 training",
        "embedding.training.schedule": "phase 0 is too short",
    }.items():
        assert words in reported[key]


def test_enough_pictures_are_accepted(tmp_path):
    draw_pictures(tmp_path, train=25, test=25, classes="abcd", suffix=".jpg")
    planned(tmp_path, {"data": {"source": "image_folder", "path": str(tmp_path)}})


def test_a_folder_without_pictures_is_refused_before_anything_runs(tmp_path):
    (line,) = refusal(tmp_path, {"data": {"source": "image_folder", "path": str(tmp_path)}})
    assert line.startswith(f"data.path: there is no folder {tmp_path / 'train'}")


def test_files_that_are_not_read_are_named(tmp_path):
    for split in ("train", "test"):
        for name in "abcd":
            (tmp_path / split / name).mkdir(parents=True)
            for number in range(26):
                (tmp_path / split / name / f"{number}.{'jpg' if number else 'txt'}").touch()
    lines = planned(tmp_path, {"data": {"source": "image_folder", "path": str(tmp_path)}}).data.notices
    assert [line.partition(": ")[2] for line in lines] == [
        "4 other files are not read: a/0.txt, b/0.txt, c/0.txt, d/0.txt"
    ] * 2


def write_arrays(folder, train, test):
    for name, count in (("train", train), ("test", test)):
        np.savez(folder / f"{name}.npz", images=np.zeros((count, 2, 2), np.uint8), labels=np.arange(count) % 3)
    return {"data": {"source": "arrays", "path": str(folder)}, "geometry": {"classes": 3}}


@pytest.mark.parametrize(
    ("train", "settings", "words"),
    [
        (33, "{}", "batch_size: 100 is more than the 33 training images"),
        (600, "{data: {class_names: [a, b]}}", "class_names: 2 names, but arrays has 3 classes"),
        (600, "{geometry: {classes: 4}}", "geometry.classes: 4 is more than the 3 classes"),
        (600, "{geometry: {images_per_class: 201}}", "201 is more than the 200 training"),
    ],
)
def test_arrays_that_are_too_few_are_found_out_before_anything_runs(tmp_path, train, settings, words):
    assert words in " ".join(refusal(tmp_path, write_arrays(tmp_path, train, 600), settings))


def test_a_small_class_is_found_out_before_anything_runs(tmp_path):
    settings = write_arrays(tmp_path, 600, 600)
    labels = np.repeat([0, 1, 2], [300, 296, 4])
    np.savez(tmp_path / "train.npz", images=np.zeros((600, 2, 2), np.uint8), labels=labels)
    assert refusal(tmp_path, settings) == ["geometry.images_per_class: 5 is more than the 4 training images of a class"]


def test_where_nothing_is_corrupted_no_images_are_too_few_for_it(tmp_path):
    draw_pictures(tmp_path, train=25, test=5, classes="abcd")
    folder = {"data": {"source": "image_folder", "path": str(tmp_path)}, "timing": None}
    planned(tmp_path, folder, "{embedding: null, robustness: null}")
    assert refusal(tmp_path, folder, "{robustness: null}") == [
        "corruptions.images: 100 is more than the 20 test images"
    ]


def test_sources_that_need_no_folder_of_ours_are_not_looked_for(tmp_path):
    planned(tmp_path)
    planned(tmp_path, "data: {source: cifar10, path: not_yet_downloaded}")


def test_a_run_needs_a_place_of_its_own(tmp_path):
    (tmp_path / "results" / "old").mkdir(parents=True)
    planned(tmp_path, "run: old")
    (tmp_path / "results" / "README.md").touch()
    (tmp_path / "results" / "gone").symlink_to(tmp_path / "nowhere")
    for name, words in (
        ("README.md", "is a file"),
        ("gone", "is a file"),
        ("published", "choose another"),
        ("Published", ""),
    ):
        (line,) = refusal(tmp_path, {"run": name})
        assert line.startswith("run: ")
        assert words in line


def test_no_run_is_written_where_results_are_a_file(tmp_path):
    (tmp_path / "results").touch()
    (line,) = refusal(tmp_path)
    assert line.startswith(f"run: {tmp_path / 'results'} is a file")


@pytest.mark.parametrize(
    ("attack", "accepted"),
    [
        ({"steps": 20, "restarts": 1}, False),  # the same
        ({"steps": 20, "restarts": 1, "step_size": 0.001}, False),  # other steps, not more
        ({"steps": 100, "restarts": 1, "epsilon": 0.009}, False),
        ({"steps": 19, "restarts": 9}, False),
        ({"steps": 21, "restarts": 1}, True),
        ({"steps": 20, "restarts": 2}, True),
        ({"steps": 20, "restarts": 1, "epsilon": 0.02}, True),
    ],
)
def test_the_stronger_attack_must_be_stronger_in_new_runs(attack, accepted, tmp_path):
    overlay = {"robustness": {"tests": {"strong_pgd": attack}}}
    configured(overlay)  # as a finished run may have been configured
    if accepted:
        planned(tmp_path, overlay)
    else:
        (line,) = refusal(tmp_path, overlay)
        assert line.startswith("robustness.tests.strong_pgd: it must be stronger")


@pytest.mark.parametrize(
    "overlays",
    [
        ["config.yaml"],
        *([name] for name in OVERLAYS),
        ["cifar10-cpu.yaml", "full-width.yaml"],
        ["cifar10-cpu.yaml", "more-seeds.yaml"],
        ["cifar10.yaml", "paper-length.yaml"],
    ],
)
def test_every_committed_configuration_can_be_run(overlays, tmp_path):
    planned(tmp_path, *map(read, overlays))


# --- schema and documentation -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def schema() -> jsonschema.Draft202012Validator:
    content = json.loads(json_schema())
    jsonschema.Draft202012Validator.check_schema(content)
    return jsonschema.Draft202012Validator(content)


@pytest.mark.parametrize("name", ["config.yaml", *OVERLAYS, "full-width.yaml", "more-seeds.yaml", "paper-length.yaml"])
def test_the_schema_accepts_every_committed_file(name, schema):
    schema.validate(read(name))


@pytest.mark.parametrize(
    "overlay",
    [
        {"seeds": [5]},
        {"distillation": {"methods": {"gkd": None}}},
        {"distillation": {"methods": {"gkd": {"edges": "inter"}}}},
        {"distillation": {"student": {"architecture": {"width": 0.25}}}},
        {"geometry": None},
        {"embedding": {"methods": {"triplet": {"margin": "soft"}}}},
        {"embedding": {"figure": {"epochs": [1]}}},
        {"robustness": {"methods": {"regularizer": {"defences": [{"name": "regularizer", "k": 5}]}}}},
        {"geometry": {"training": {"optimizer": {"nesterov": False}}}},
        {"geometry": {"training": {"optimizer": {"name": "adamw", "betas": [0.8, 0.9]}}}},
        {"robustness": {"tests": {"strong_pgd": {"restarts": 5}}}},
        {"corruptions": {"names": ["fog"], "keep": True}},
    ],
    ids=str,
)
def test_the_schema_accepts_overlays_with_part_of_the_keys(overlay, schema):
    configured(overlay)
    schema.validate(overlay)


def test_the_schema_accepts_an_overlay_that_several_methods_could_be(schema):
    overlay = {"distillation": {"methods": {"gkd": {"weight": 5}}}}
    configured(overlay)
    schema.validate(overlay)


@pytest.mark.parametrize(
    "overlay",
    [
        {"sseds": [0]},
        {"data": {"dataset": "digits"}},
        {"data": {"source": "cifar"}},
        {"run": "../x"},
        {"distillation": {"methods": {"gkd": {"loss": "graph_distillation", "lambda": 3}}}},
        {"distillation": {"training": {"schedule": [{"epochs": 1, "lr": 0.1}]}}},
        pytest.param(
            {"geometry": {"classes": 1}},
        ),
        {"corruptions": {"severities": [6]}},
        {"corruptions": {"names": ["gausian_noise"]}},
        {"embedding": {"methods": {"triplet": {"loss": "triplet", "margin": "hard"}}}},
        {"robustness": {"methods": {"parseval": {"defences": [{"name": "parseval", "beta": 0.6}]}}}},
        {"geometry": {"training": {"momentum": 0.9}}},
    ],
    ids=str,
)
def test_the_schema_refuses_what_the_loader_refuses(overlay, schema):
    message(overlay)
    assert not schema.is_valid(overlay)


def test_the_committed_schema_is_up_to_date():
    assert (CONFIG / "schema.json").read_text(encoding="utf-8") == json_schema()


def test_the_committed_table_of_keys_is_up_to_date():
    assert keys_table() in (CONFIG / "README.md").read_text(encoding="utf-8")


def test_the_table_has_every_key():
    def keys(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            yield from node.get("properties", ())
            for item in node.values():
                yield from keys(item)
        elif isinstance(node, list):
            for item in node:
                yield from keys(item)

    table = keys_table()
    assert all(f"| `{key}` |" in table for key in keys(json.loads(json_schema())))


def test_the_documentation_is_written_below_its_mark(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"Prose.\n\n{declared.TABLES_BELOW}\n\nold tables\n", encoding="utf-8")
    declared.write_documentation(tmp_path)
    assert readme.read_text(encoding="utf-8") == f"Prose.\n\n{declared.TABLES_BELOW}\n\n{keys_table()}"
    assert (tmp_path / "schema.json").read_text(encoding="utf-8") == json_schema()


# --- agreement with the rest of the package -----------------------------------------------------------------------


@pytest.mark.parametrize("module", ["config", "recipes", "provenance", "digest", "workflow"])
def test_reading_the_workflow_imports_no_torch(module):
    code = f"import sys, lgg.pipeline.{module}; print(sorted({{'torch', 'torchvision', 'numpy'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_layers_are_those_of_the_networks():
    assert networks.WideResNet(name="wide_resnet", depth=10, width=1).layers_known == WideResNet.layers
    assert networks.PreActResNet18(name="preact_resnet18").layers_known == PreActResNet18.layers
    assert len(PreActResNet18.layers) == 17


def test_training_settings_match_the_arguments_of_fit_and_batches():
    keywords = {
        name
        for name, parameter in inspect.signature(fit).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    settings = set(declared.Training.model_fields) - {"optimizer", "batch_size", "augmentation", "label_smoothing"}
    assert settings <= keywords
    parameters = inspect.signature(fit).parameters
    for name in settings - {"schedule"}:
        assert declared.Training.model_fields[name].default == parameters[name].default


@pytest.mark.parametrize(("section", "optimizer"), [(declared.Sgd, "SGD"), (declared.AdamW, "AdamW")])
def test_keys_of_an_optimizer_are_arguments_of_its_class_with_the_same_defaults(section, optimizer):
    optimizers = pytest.importorskip("lgg.training.optimizers")
    parameters = inspect.signature(getattr(optimizers, optimizer)).parameters
    defaults = {name: one.default for name, one in parameters.items() if one.kind is one.KEYWORD_ONLY}
    given = section(name=optimizer.lower()).model_dump(exclude={"name"})
    assert given == {name: list(value) if isinstance(value, tuple) else value for name, value in defaults.items()}


@pytest.mark.parametrize("name", ["hinton", "rkd_d", "gkd", "gkd_inter"])
def test_options_of_a_method_are_arguments_of_its_loss_with_the_same_defaults(name):
    distillation = configured().distillation
    assert distillation is not None
    method = distillation.active_methods[name]
    loss = losses.build(method.loss, **method.options)
    fields = type(method).model_fields
    parameters = inspect.signature(type(loss)).parameters if method.options else {}
    assert set(method.options) == set(parameters)
    for option, parameter in parameters.items():
        if parameter.default is not parameter.empty:
            assert fields[option].default == parameter.default


@pytest.mark.parametrize("method", [declared.LabelVariationEmbedding, declared.TripletEmbedding])
def test_options_of_an_embedding_are_arguments_of_its_loss_with_the_same_defaults(method):
    (name,) = get_args(method.model_fields["loss"].annotation)
    options = method(label="x", loss=name).options
    parameters = inspect.signature(type(losses.build(name, **options))).parameters
    assert set(options) == set(parameters)
    assert options == {option: parameter.default for option, parameter in parameters.items()}


def test_cross_entropy_has_no_options():
    assert declared.CrossEntropyEmbedding(label="x", loss="cross_entropy").options == {}


@pytest.mark.parametrize("section", [declared.Regularizer, declared.Parseval, declared.AdversarialTraining])
def test_keys_of_a_defence_are_arguments_of_its_class_with_the_same_defaults(section):
    (name,) = get_args(section.model_fields["name"].annotation)
    options = section(name=name).options
    parameters = inspect.signature(type(defences.build(name, **options))).parameters
    assert options == {option: parameter.default for option, parameter in parameters.items()}


@pytest.mark.parametrize("section", [declared.AdversarialTraining, declared.PgdTest])
def test_keys_of_pgd_are_arguments_of_the_attack(section):
    keywords = {
        name
        for name, parameter in inspect.signature(attacks.pgd).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    assert set(section.model_fields) - {"name"} <= keywords
    required = {name for name in keywords if inspect.signature(attacks.pgd).parameters[name].default is inspect._empty}
    assert required <= set(section.model_fields)


def test_attacks_of_the_tests_have_the_defaults_of_the_library():
    for section, attack in ((declared.PgdTest, attacks.pgd), (declared.AdversarialTraining, attacks.pgd)):
        for name, parameter in inspect.signature(attack).parameters.items():
            # adversarial training starts at random, as Madry et al. do; a test starts at the image
            if parameter.default is not parameter.empty and name in section.model_fields and name != "random_start":
                assert section.model_fields[name].default == parameter.default
    snr = inspect.signature(attacks.fgsm).parameters["snr"].default
    assert declared.RobustnessTests.model_fields["fgsm_snr"].default == snr


@pytest.mark.parametrize("option", ["similarity", "reduction"])
def test_choices_of_label_variation_are_those_of_its_loss(option):
    from lgg.losses import label_variation

    choices = set(get_args(getattr(label_variation, option.capitalize())))
    # embeddings are outputs of a linear layer, so they can be negative
    assert set(get_args(declared.LabelVariationEmbedding.model_fields[option].annotation)) == choices - {"cosine"}


@pytest.mark.parametrize("name", ["similarity", "edges", "neighbours", "order"])
def test_choices_of_graph_distillation_are_those_of_its_loss(name):
    from lgg.losses import graph_distillation

    choices = get_args(getattr(graph_distillation, name.capitalize()))
    assert get_args(declared.GraphMethod.model_fields[name].annotation) == choices


@pytest.mark.parametrize("section", [declared.GraphMethod, declared.Regularizer])
def test_choices_of_similarity_are_those_of_graphs(section):
    assert get_args(section.model_fields["similarity"].annotation) == get_args(Similarity)


def test_attack_losses_match_those_of_lgg_attacks():
    assert get_args(declared.PgdTest.model_fields["loss"].annotation) == get_args(attacks.Loss)


def test_classifiers_are_those_of_the_evaluation():
    from lgg.evaluation.classifiers import CLASSIFIERS, OWN

    assert get_args(declared.Classifier) == CLASSIFIERS
    assert get_args(declared.CrossEntropyEmbedding.model_fields["classifier"].annotation) == (OWN, *CLASSIFIERS)


def test_corruptions_are_those_that_can_be_made():
    names = [*corruption_names.NAMES, *corruption_names.EXTRA_NAMES]
    assert configured({"corruptions": {"names": names}}).corruptions.names == names


@pytest.mark.parametrize("option", ["edges", "neighbours", "order"])
def test_choices_of_a_graph_method_are_those_of_its_loss(option):
    from lgg.losses import graph_distillation

    choices = get_args(getattr(graph_distillation, option.capitalize()))
    assert get_args(declared.GraphMethod.model_fields[option].annotation) == choices


def test_overlays_are_merged_key_by_key():
    merged = overlaid("geometry: {training: {batch_size: 8}}")
    assert merged["geometry"]["training"]["batch_size"] == 8
    assert merged["geometry"]["training"]["schedule"] == read()["geometry"]["training"]["schedule"]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{module: relationel}", "methods.own.module: 'relationel' is not registered; did you mean 'relational'"),
        ("{module: graph_distillation, arguments: {pover: 2}}", "takes no 'pover'; did you mean 'power'"),
        ("{module: hinton}", "HintonDistillation needs temperature"),
    ],
)
def test_a_loss_of_your_own_is_checked_before_anything_runs(entry, message):
    own = {"label": "Own", "loss": "other"} | yaml.safe_load(entry)
    with pytest.raises(ConfigError, match=message):
        configured({"distillation": {"methods": {"own": own}}})


def test_a_loss_of_your_own_is_made_with_its_arguments():
    own = {"label": "Own", "loss": "other", "module": "graph_distillation", "arguments": {"power": 2, "edges": "inter"}}
    for section, arguments in (
        ("distillation", {}),
        ("embedding", {"module": "triplet", "arguments": {"margin": 0.5}}),
    ):
        method = getattr(configured({section: {"methods": {"own": own | arguments}}}), section).active_methods["own"]
        assert method.loss_module == (arguments or own)["module"]
        assert method.options == (arguments or own)["arguments"]
        losses.build(method.loss_module, **method.options)


UNSHOWN = [
    "two\nlines",
    "a\rb",
    "tab\there",
    "bell\x07",
    "a\u2028b",
    "turned\u202eround",
    "half \ud800",
    "private \ue000",
]


@pytest.mark.parametrize("text", UNSHOWN, ids=ascii)
@pytest.mark.parametrize(
    ("path", "overlay"),
    [
        ("distillation.methods.gkd.label", lambda text: {"distillation": {"methods": {"gkd": {"label": text}}}}),
        ("distillation.teacher.label", lambda text: {"distillation": {"teacher": {"label": text}}}),
        ("embedding.methods.triplet.label", lambda text: {"embedding": {"methods": {"triplet": {"label": text}}}}),
        ("robustness.methods.both.label", lambda text: {"robustness": {"methods": {"both": {"label": text}}}}),
        ("data.class_names[0]", lambda text: {"data": {"class_names": [text, *map(str, range(9))]}}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_label_that_no_line_can_show_is_refused(text, path, overlay):
    with pytest.raises(ConfigError) as caught:
        configured(overlay(text))
    assert f"{path}: {text!r} contains " in str(caught.value) and "one line" in str(caught.value)


@pytest.mark.parametrize(
    "text", [r"GKD with $\lambda_$", "_a|b", "100 % & #1 \\ <i>", "גרף", "🙂 👩\u200d🔬", "می\u200cخواهم", "x" * 300]
)
def test_any_other_label_is_taken_as_it_is(text):
    assert configured({"distillation": {"methods": {"gkd": {"label": text}}}}).distillation.methods["gkd"].label == text


def test_a_defence_of_your_own_is_made_with_its_arguments():
    own = {"name": "other", "module": "adversarial", "arguments": {"steps": 2}}
    robustness = configured({"robustness": {"methods": {"own": {"label": "Own", "defences": [own]}}}}).robustness
    (defence,) = robustness.active_methods["own"].defences
    assert (defence.module, defence.options) == ("adversarial", {"steps": 2})
    assert defences.build(defence.module, **defence.options).steps == 2


def test_only_sources_of_your_own_files_can_hold_cifar_10():
    assert "source photo_patches does not read any" in message("data: {cifar10: true}")
