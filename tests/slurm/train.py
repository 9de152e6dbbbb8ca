"""A real training run that sleeps in its steps so that it exceeds its first time limit; without an output it does not sleep."""

import sys
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

from lgg import models
from lgg.data.batches import Batches
from lgg.errors import Interrupted
from lgg.training.fit import fit
from lgg.training.objectives import CrossEntropy
from lgg.training.resume import Checkpoints

# 50 seconds: more than the 40 until the warning of the first time limit, and half of what the second one leaves
EPOCHS, STEPS, WAIT = 8, 50, 0.125


def train(checkpoints=None, wait=0.0):
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = models.build("wide_resnet", num_classes=2, depth=10, width=0.125)
    images = torch.randint(256, (2 * STEPS, 8, 8, 3), dtype=torch.uint8)
    batches = Batches(images, torch.arange(2 * STEPS) % 2, batch_size=2, seed=0, augmentation="crop_and_flip")
    objective = CrossEntropy()

    def slowly(*arguments):
        time.sleep(wait)
        return objective(*arguments)

    fit(model, slowly, batches, schedule=[{"epochs": EPOCHS, "learning_rate": 0.01}], checkpoints=checkpoints)
    return model.state_dict()


if __name__ == "__main__":
    output = Path(sys.argv[1])
    try:
        weights = train(Checkpoints(output.with_name("checkpoint.safetensors"), "training"), WAIT)
    except Interrupted as interruption:
        sys.exit(str(interruption))
    save_file({name: value.contiguous() for name, value in weights.items()}, output)
