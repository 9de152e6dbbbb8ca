import pytest
import torch

from lgg.devices import prepare
from lgg.errors import LggError


@pytest.fixture(autouse=True)
def restore_torch_settings():
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)


def test_without_gpus_the_cpu_with_so_many_threads():
    assert prepare(0, 1) == torch.device("cpu")
    assert torch.get_num_threads() == 1
    assert torch.are_deterministic_algorithms_enabled()


def test_a_promised_gpu_is_used(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert prepare(1, 1) == torch.device("cuda")


def test_a_promised_gpu_that_is_not_there_is_an_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(LggError, match=r"given a GPU, but PyTorch finds none.*resources\.device to cpu"):
        prepare(1, 1)
