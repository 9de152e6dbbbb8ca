import subprocess
import sys

import pytest
import torch

from lgg.models.base import PointwiseConvolution


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("side", [7, 8])
def test_it_is_the_strided_convolution(stride, side):
    torch.manual_seed(0)
    layer = PointwiseConvolution(5, 3, stride).double()
    reference = torch.nn.Conv2d(5, 3, 1, stride, bias=False).double()
    reference.load_state_dict(layer.state_dict())
    x = torch.randn(2, 5, side, side, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(layer(x), reference(x))
    ours = torch.autograd.grad(layer(x).square().sum(), [x, layer.weight])
    theirs = torch.autograd.grad(reference(x).square().sum(), [x, reference.weight])
    torch.testing.assert_close(ours, theirs)


def test_narrow_networks_train_without_corrupting_memory():
    """In a separate process, which would crash on a write out of bounds."""
    code = (
        "import torch; from lgg import models; from lgg.data.batches import Batches; "
        "from lgg.training.fit import fit; from lgg.training.objectives import CrossEntropy; "
        "b = Batches(torch.zeros(20, 32, 32, 3, dtype=torch.uint8), torch.arange(20) % 2, batch_size=10, seed=0); "
        "[fit(m, CrossEntropy(), b, schedule=[{'epochs': 1, 'learning_rate': 0.01}]) for m in ("
        "models.build('wide_resnet', num_classes=2, depth=10, width=0.125), "
        "models.build('wide_resnet', num_classes=2, depth=10, width=0.25), "
        "models.build('preact_resnet18', num_classes=2, base_width=2))]"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
