"""Networks of graph_kd become model files that give the same logits, and nothing of a pickle is run."""

import collections
import io
import os
import pickle
import random
import struct
import zipfile
from pathlib import Path

import convert_weights
import pickled_tensors
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from lgg.errors import ModelFileError
from lgg.models import CIFAR10_MEAN, CIFAR10_STD
from lgg.training.checkpoint import load_model

DEPTH, WIDTH, CLASSES = 16, 0.25, 7


class Block(nn.Module):
    """A block with the names of graph_kd."""

    def __init__(self, before, after, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.shortcut = nn.Sequential()
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x):
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + self.shortcut(x))


class Theirs(nn.Module):
    """A wide residual network with the names of graph_kd: a function of normalised images."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(16)
        widths = [16, *(int(16 * WIDTH) * factor for factor in (1, 2, 4))]
        for stage, stride in enumerate((1, 2, 2), start=1):
            before, after = widths[stage - 1 : stage + 1]
            blocks = [Block(before, after, stride), *(Block(after, after, 1) for _ in range((DEPTH - 4) // 6 - 1))]
            self.add_module(f"layer{stage}", nn.Sequential(*blocks))
        self.linear = nn.Linear(widths[-1], CLASSES)

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(F.relu(self.bn(self.conv1(x))))))
        return self.linear(x.mean(dim=(2, 3)))


@pytest.fixture(scope="module")
def theirs():
    torch.manual_seed(0)
    network = Theirs()
    network(torch.randn(16, 3, 32, 32))  # so that running statistics are not the initial ones
    return network.eval()


def as_module(network, path):
    torch.save(network, path)


def as_old_module(network, path):
    torch.save(nn.DataParallel(network), path, _use_new_zipfile_serialization=False)


def as_checkpoint(network, path):
    torch.save({"net": {f"module.{name}": value for name, value in network.state_dict().items()}, "epoch": 200}, path)


def as_old_checkpoint(network, path):
    torch.save({"state_dict": network.state_dict()}, path, _use_new_zipfile_serialization=False)


def as_newer_pickle(network, path):
    torch.save(network, path, pickle_protocol=4)


def as_safetensors(network, path):
    save_file(network.state_dict(), path)


FORMATS = (as_module, as_old_module, as_checkpoint, as_old_checkpoint, as_newer_pickle, as_safetensors)


@pytest.mark.parametrize("write", FORMATS, ids=lambda write: write.__name__)
def test_a_converted_network_gives_the_logits_of_the_original(theirs, tmp_path, write, capsys):
    source = tmp_path / f"net.{'safetensors' if write is as_safetensors else 'pth'}"
    write(theirs, source)
    assert convert_weights.main([str(source), "--to", str(tmp_path / "out")]) == 0
    assert "WideResNet-16-0.25, 7 classes" in capsys.readouterr().out
    ours = load_model(tmp_path / "out" / "net.safetensors", expected={"name": "wide_resnet", "num_classes": CLASSES})
    images = torch.rand(4, 3, 32, 32)
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (CIFAR10_MEAN, CIFAR10_STD))
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs((images - mean) / std), atol=1e-4, rtol=1e-4)


def test_tensors_are_read_as_pytorch_reads_them(tmp_path):
    """Also views of one storage, with offsets and strides, of every type, and empty ones."""
    base = torch.arange(24.0).view(4, 6)
    kinds = (
        torch.float64,
        torch.float16,
        torch.bfloat16,
        torch.int64,
        torch.int16,
        torch.int8,
        torch.uint8,
        torch.bool,
    )
    saved = {"base": base, "columns": base.t()[1:3], "one": base[2, 3], "none": torch.empty(0, 3)}
    saved |= {str(kind): torch.tensor([0, 1, 3]).to(kind) for kind in kinds}
    for zipped in (True, False):
        torch.save(saved, tmp_path / "views.pt", _use_new_zipfile_serialization=zipped)
        read = {name: tensor.read() for name, tensor in pickled_tensors.read_tensors(tmp_path / "views.pt").items()}
        assert list(read) == list(saved) if zipped else set(read) == set(saved)
        for name, value in saved.items():
            torch.testing.assert_close(read[name], value, rtol=0, atol=0)
            assert read[name].is_contiguous()


class Calls:
    """Its pickle calls a function when it is loaded."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def hostile(mark: Path):
    """Return objects whose loading would leave the file `mark`, if anything were run."""
    command = f"open({str(mark)!r}, 'w').close()"
    state = {"_parameters": {}, "_buffers": {}, "_modules": {}}
    return {
        "os.system": Calls(os.system, f"touch {mark}"),
        "eval": Calls(eval, command),
        "exec": Calls(exec, command),
        "a chain": Calls(Calls(getattr, Calls(__import__, "os"), "system"), f"touch {mark}"),
        "in a state": {"net": {"weight": Calls(eval, command)} | state},
        "as a key's value": collections.OrderedDict(weight=Calls(eval, command)),
        "as a size": Calls(torch._utils._rebuild_tensor_v2, Calls(eval, command), 0, (1,), (1,), False, {}),
    }


class AnyPickler(pickle._Pickler):
    """Pickles a reduction whose function is one, too."""

    def save_reduce(self, function, arguments, *_, **__):
        self.save(function)
        self.save(arguments)
        self.write(pickle.REDUCE)


def write_archive(path: Path, pickled: bytes, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("net/data.pkl", pickled)
        archive.writestr("net/byteorder", "little")
        archive.writestr("net/data/0", bytes(64))


@pytest.mark.parametrize("name", list(hostile(Path())))
def test_nothing_in_a_pickle_is_run(tmp_path, name):
    mark = tmp_path / "was_run"
    file = io.BytesIO()
    AnyPickler(file, protocol=2).dump(hostile(mark)[name])
    write_archive(tmp_path / "net.pth", file.getvalue())
    header = b"".join(pickle.dumps(each, 2) for each in (pickled_tensors.LEGACY_MAGIC, 1001, {"little_endian": True}))
    (tmp_path / "old.pth").write_bytes(header + file.getvalue() + pickle.dumps([], 2))
    for source in ("net.pth", "old.pth"):
        with pytest.raises(ModelFileError, match=source):
            convert_weights.convert(tmp_path / source, tmp_path / "out.safetensors")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["net.pth", "old.pth"]
    if name in ("os.system", "eval", "exec"):  # it would have been: the test can fail
        pickle.loads(file.getvalue())
        assert mark.exists()


#: what is wrong of an archive's pickle, and what the message states
DAMAGED = {
    "empty": (b"", "damaged"),
    "cut off": (b"\x80\x02}", "damaged"),
    "a huge array": (b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b".", "damaged"),
    "an instruction that torch.save does not use": (b"\x80\x05\x96" + struct.pack("<Q", 1) + b"a.", "BYTEARRAY8"),
    "a huge place in the memo": (b"\x80\x02}r\xff\xff\xff\xff.", "no network in it"),
    "no network": (pickle.dumps({"epoch": 3}, 2), "no network in it"),
    "a nested key": (b"\x80\x02}))\x86)\x86Ns.", "key of a dictionary"),
    "itself": (b"\x80\x02}q\x00X\x03\x00\x00\x00neth\x00s.", "no network in it"),
}


@pytest.mark.parametrize("case", list(DAMAGED))
def test_damaged_and_absurd_pickles_are_refused(tmp_path, case):
    pickled, message = DAMAGED[case]
    write_archive(tmp_path / "net.pth", pickled)
    with pytest.raises(ModelFileError, match=message):
        pickled_tensors.read_tensors(tmp_path / "net.pth")


def test_whatever_bytes_are_changed_a_file_is_read_or_refused(tmp_path):
    torch.save(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), tmp_path / "net.pth")
    with zipfile.ZipFile(tmp_path / "net.pth") as archive:
        pickled = archive.read("net/data.pkl")
    draw, outcomes = random.Random(0), set()
    for _ in range(150):
        changed = bytearray(pickled)
        for _ in range(draw.randint(1, 3)):
            place = draw.randrange(len(changed))
            changed[place : place + draw.randint(0, 3)] = draw.randbytes(draw.randint(0, 3))
        write_archive(tmp_path / "changed.pth", bytes(changed))
        try:
            pickled_tensors.read_tensors(tmp_path / "changed.pth")
            outcomes.add("read")
        except ModelFileError as error:
            assert str(error).isprintable()
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [(0, (2**39,), (0,)), (0, (17,), (1,)), (10, (4, 2), (2, 1)), (0, (-1,), (1,)), (0, (2,), ())],
)
def test_a_tensor_that_leaves_its_storage_is_refused(offset, size, stride):
    numbers = pickled_tensors.Storage(torch.float32, "0", 16)
    with pytest.raises(ValueError, match="tensor"):
        pickled_tensors._describe(numbers, offset, size, stride)


def test_a_compressed_archive_is_refused(theirs, tmp_path):
    """It could become any size."""
    torch.save(theirs.state_dict(), tmp_path / "net.pth")
    with zipfile.ZipFile(tmp_path / "net.pth") as archive:
        pickled = archive.read("net/data.pkl")
    write_archive(tmp_path / "net.pth", pickled, zipfile.ZIP_DEFLATED)
    with pytest.raises(ModelFileError, match="compressed"):
        pickled_tensors.read_tensors(tmp_path / "net.pth")


def test_numbers_that_are_missing_are_refused(theirs, tmp_path):
    torch.save(theirs, tmp_path / "net.pth", _use_new_zipfile_serialization=False)
    (tmp_path / "net.pth").write_bytes((tmp_path / "net.pth").read_bytes()[:-100])
    with pytest.raises(ModelFileError, match=r"net.pth: .*(bytes|numbers)"):
        convert_weights.convert(tmp_path / "net.pth", tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


def state_of(theirs, **changes):
    state = theirs.state_dict() | changes
    return {name: value for name, value in state.items() if value is not None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bn.weight": None}, "bn.weight is missing"),
        ({"layer2.0.shortcut.1.more": torch.ones(3)}, "shortcut.1.more is left over"),
        ({"linear.bias": torch.ones(3)}, r"classifier.bias has the shape \(3,\), not \(7,\)"),
        ({"linear.weight": None}, "the classifier is missing"),
        ({"layer4.0.conv1.weight": torch.ones(3)}, "'layer4.0.conv1.weight' is not one of graph_kd"),
        ({"linear.bias": torch.full((7,), torch.nan)}, "classifier.bias has values that are not finite"),
    ],
)
def test_a_network_that_does_not_fit_is_refused_and_the_others_converted(theirs, tmp_path, capsys, changes, message):
    torch.save(state_of(theirs, **changes), tmp_path / "odd.pth")
    torch.save(theirs, tmp_path / "good.pth")
    (tmp_path / "text.pth").write_text("no network")
    files = [str(tmp_path / name) for name in ("odd.pth", "text.pth", "absent.pth", "good.pth")]
    assert convert_weights.main([*files, "--to", str(tmp_path / "out")]) == 1
    errors = capsys.readouterr().err
    assert len(errors.splitlines()) == 3 and all(file in errors for file in files[:3])
    with pytest.raises(ModelFileError, match=message):
        convert_weights.convert(tmp_path / "odd.pth", tmp_path / "out" / "odd.safetensors")
    assert [each.name for each in (tmp_path / "out").iterdir()] == ["good.safetensors"]


def test_no_file_is_written_over(theirs, tmp_path):
    as_safetensors(theirs, tmp_path / "net.safetensors")
    torch.save(theirs, tmp_path / "net.pth")
    for files in (["net.safetensors"], ["net.pth", "net.safetensors"]):
        with pytest.raises(SystemExit):
            convert_weights.main([*(str(tmp_path / name) for name in files), "--to", str(tmp_path)])


PUBLISHED = os.environ.get("LGG_GRAPH_KD")


@pytest.mark.skipif(PUBLISHED is None, reason="needs the networks of graph_kd: LGG_GRAPH_KD=folder")
def test_the_published_networks_are_converted(tmp_path):
    sources = sorted(each for each in Path(PUBLISHED).iterdir() if each.suffix in (".pth", ".pt", ".safetensors"))
    assert sources
    assert convert_weights.main([*map(str, sources), "--to", str(tmp_path)]) == 0
    for source in sources:
        model = load_model(tmp_path / f"{source.stem}.safetensors")
        assert model(torch.rand(2, 3, 32, 32)).isfinite().all()
