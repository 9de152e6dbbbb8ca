import hashlib
import io
import tarfile
import threading
from collections import namedtuple
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import numpy as np
import pytest

from lgg.data import corruption_archive
from lgg.data.corruption_archive import CorruptionArchive, download, write_archive
from lgg.data.corruptions import SEVERITIES, corrupt
from lgg.errors import DataError
from lgg.files import seconds_writing

COUNT = 7
NAMES = ("fog", "pixelate", "gaussian_noise")
LABELS = np.arange(COUNT, dtype=np.int64) % 3


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (COUNT, 32, 32, 3), dtype=np.uint8)


@pytest.fixture
def file(tmp_path, images):
    path = tmp_path / "kept.tar"
    write_archive(path, images, LABELS, NAMES, seed=3, workers=2)
    return path


def bytes_of(array, allow_pickle=False):
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=allow_pickle)
    return buffer.getvalue()


def write_tar(path, members):
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(f"CIFAR-10-C/{name}.npy")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


GOOD = {
    "labels": bytes_of(np.tile(np.arange(4, dtype=np.uint8), 5)),
    "fog": bytes_of(np.zeros((20, 32, 32, 3), np.uint8)),
}


# --- writing and reading ------------------------------------------------------------------------------------------


def test_images_read_are_those_of_corrupt(file, images):
    archive = CorruptionArchive(file)
    assert archive.labels.dtype == np.int64 and np.array_equal(archive.labels, LABELS)
    for name in NAMES:
        for severity in SEVERITIES:
            assert np.array_equal(archive.images(name, severity), corrupt(images, name, severity, seed=3))


def test_names_are_in_the_order_of_the_paper(file):
    assert CorruptionArchive(file).names == ("gaussian_noise", "fog", "pixelate")


def test_content_does_not_depend_on_the_parts_written(file, images, tmp_path, monkeypatch):
    monkeypatch.setattr(corruption_archive, "BYTES_AT_ONCE", 3 * 32 * 32 * 3)
    write_archive(tmp_path / "parts.tar", images, LABELS, NAMES, seed=3)
    assert (tmp_path / "parts.tar").read_bytes() == file.read_bytes()
    whole = CorruptionArchive(file).images("fog", 2)
    for positions in ([0, 1, 2, 3, 4, 5, 6], [2], [1, 2, 6], [3, 4], []):
        some = CorruptionArchive(file).images("fog", 2, np.array(positions, dtype=np.int64))
        assert np.array_equal(some, whole[positions])


@pytest.mark.parametrize(("side", "folder"), [(64, "Tiny-ImageNet-C"), (130, "ImageNet-C")])
def test_larger_images_are_kept_under_the_name_of_their_constants(tmp_path, monkeypatch, side, folder):
    images = np.random.default_rng(0).integers(0, 256, (2, side, side, 3), dtype=np.uint8)
    # from 8 GB on, a set needs another form of tar
    monkeypatch.setattr(corruption_archive, "LARGEST_USTAR", 1)
    write_archive(tmp_path / "kept.tar", images, LABELS[:2], ["contrast"])
    with tarfile.open(tmp_path / "kept.tar", "r:") as archive:
        assert archive.getnames() == [f"{folder}/labels.npy", f"{folder}/contrast.npy"]
    archive = CorruptionArchive(tmp_path / "kept.tar")
    assert archive.shape() == (side, side, 3)
    assert np.array_equal(archive.images("contrast", 5), corrupt(images, "contrast", 5))
    # the size of the largest file that the official form takes, and one that only the other does
    for size, fits in ((8**11 - 1, True), (8**11, False)):
        entry = tarfile.TarInfo("images")
        entry.size = size
        entry.tobuf(tarfile.GNU_FORMAT)
        if fits:
            entry.tobuf(tarfile.USTAR_FORMAT)
        else:
            with pytest.raises(ValueError, match="overflow"):
                entry.tobuf(tarfile.USTAR_FORMAT)


def test_generating_images_does_not_count_as_writing(images, tmp_path, monkeypatch):
    now = 100.0
    monkeypatch.setattr("lgg.files.time", SimpleNamespace(perf_counter=lambda: now))

    def slow(*arguments, **options):
        nonlocal now
        now += 60.0
        return corrupt(*arguments, **options)

    monkeypatch.setattr(corruption_archive, "corrupt", slow)
    before = seconds_writing()
    write_archive(tmp_path / "archive.tar", images, LABELS, ["fog"])
    assert now >= 100.0 + 60.0 * len(SEVERITIES)
    assert seconds_writing() == pytest.approx(before)


def test_the_layout_is_the_official_one(file):
    with tarfile.open(file, "r:") as archive:
        for name in NAMES:
            array = np.load(io.BytesIO(archive.extractfile(f"CIFAR-10-C/{name}.npy").read()), allow_pickle=False)
            assert array.shape == (5 * COUNT, 32, 32, 3) and array.dtype == np.uint8
        labels = np.load(io.BytesIO(archive.extractfile("CIFAR-10-C/labels.npy").read()), allow_pickle=False)
    assert np.array_equal(labels, np.tile(LABELS, 5))


def test_pixels_of_one_severity_are_read_and_not_mapped(file):
    with tarfile.open(file, "r:") as archive:
        whole = np.load(io.BytesIO(archive.extractfile("CIFAR-10-C/fog.npy").read()), allow_pickle=False)
    for severity in SEVERITIES:
        images = CorruptionArchive(file).images("fog", severity)
        assert not isinstance(images, np.memmap)
        assert np.array_equal(images, whole[(severity - 1) * COUNT : severity * COUNT])


def test_nothing_is_left_if_writing_fails(images, tmp_path):
    with pytest.raises(DataError, match="'fgo'; did you mean 'fog'"):
        write_archive(tmp_path / "kept.tar", images, LABELS, ["fog", "fgo"])
    assert not list(tmp_path.iterdir())


def test_labels_must_match_the_images(images, tmp_path):
    with pytest.raises(ValueError, match="labels"):
        write_archive(tmp_path / "kept.tar", images, LABELS[:-1], NAMES)


def test_an_unknown_corruption_is_refused_with_the_closest_name(file):
    with pytest.raises(DataError, match=r"kept.tar: there is no corruption 'pixelated'; did you mean 'pixelate'\?"):
        CorruptionArchive(file).images("pixelated", 1)


@pytest.mark.parametrize("severity", [0, 6, True, "1"])
def test_severities_are_1_to_5(file, severity):
    with pytest.raises(DataError, match="1 to 5"):
        CorruptionArchive(file).images("fog", severity)


# --- invalid files ------------------------------------------------------------------------------------------------


def test_a_missing_archive_is_named(tmp_path):
    with pytest.raises(DataError, match=r"nothing.tar: file not found"):
        CorruptionArchive(tmp_path / "nothing.tar")


@pytest.mark.parametrize("content", [b"", b"hello" * 500, b"\0" * 10_240], ids=["empty", "text", "zeros"])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "other.tar"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"other.tar: .*Remove it"):
        CorruptionArchive(path)


@pytest.mark.parametrize("share", [0.01, 0.3, 0.5, 0.9])
def test_a_truncated_archive_is_refused(file, share):
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataError, match=r"kept.tar: damaged|truncated"):
        CorruptionArchive(file)


def test_an_archive_truncated_between_members_is_refused(file):
    with tarfile.open(file, "r:") as archive:
        last = archive.getmembers()[-1]
    file.write_bytes(file.read_bytes()[: last.offset])
    with pytest.raises(DataError, match="truncated"):
        CorruptionArchive(file)


def test_a_damaged_header_is_found(file):
    with tarfile.open(file, "r:") as archive:
        last = archive.getmembers()[-1]
    content = bytearray(file.read_bytes())
    content[last.offset + 5] ^= 1
    file.write_bytes(content)
    with pytest.raises(DataError, match="damaged"):
        CorruptionArchive(file)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("fog", bytes_of(np.array([None, 1] * 10, dtype=object), True), "Python objects"),
        ("fog", bytes_of(np.zeros((20, 32, 32, 3), np.float32)), "float32"),
        ("fog", bytes_of(np.zeros((19, 32, 32, 3), np.uint8)), r"\(20, H, W, 3\)"),
        ("fog", bytes_of(np.zeros((20, 3, 32, 32), np.uint8)), "3 channels"),
        ("fog", bytes_of(np.zeros((20, 32), np.uint8)), r"\(20, H, W, 3\)"),
        ("fog", bytes_of(np.asfortranarray(np.zeros((20, 32, 32, 3), np.uint8))), "column-major order"),
        ("fog", bytes_of(np.zeros((20, 32, 32, 3), np.uint8))[:-1], "bytes, which do not match"),
        ("fog", b"no array at all", "magic"),
        ("labels", bytes_of(np.zeros(20)), "float64"),
        ("labels", bytes_of(np.zeros((4, 5), np.uint8)), r"\(5N,\)"),
        ("labels", bytes_of(np.zeros(19, np.uint8)), r"\(5N,\)"),
        ("labels", bytes_of(np.arange(20)), "differ between severities"),
    ],
)
def test_a_member_with_other_content_is_named(tmp_path, name, content, message):
    path = tmp_path / "other.tar"
    write_tar(path, GOOD | {name: content})
    with pytest.raises(DataError, match=rf"other.tar: CIFAR-10-C/{name}.npy cannot be used: .*{message}"):
        CorruptionArchive(path)


@pytest.mark.parametrize(("missing", "message"), [("labels", "labels.npy"), ("fog", "NAME.npy")])
def test_labels_and_at_least_one_corruption_are_required(tmp_path, missing, message):
    path = tmp_path / "other.tar"
    write_tar(path, {name: content for name, content in GOOD.items() if name != missing})
    with pytest.raises(DataError, match=message):
        CorruptionArchive(path)


# --- downloading --------------------------------------------------------------------------------------------------

CONTENT = np.random.default_rng(1).bytes(300_000)
MD5 = hashlib.md5(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """A server of CONTENT that closes connections after `cut` bytes and records requests."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.cut, self.knows_ranges, self.status, self.ranges = CONTENT, None, True, None, []
        self.kind = "application/x-tar"
        self.url = f"http://127.0.0.1:{self.server_address[1]}/archive.tar"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        asked = self.headers.get("Range")
        server.ranges.append(asked)
        if server.status:
            self.send_error(server.status)
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and server.knows_ranges else 0
        rest = server.content[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        self.send_header("Content-Type", server.kind)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest[: server.cut])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(corruption_archive, "PAUSE", 0.0)
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def fetch(path, server):
    download(path, url=server.url, md5=MD5, size=len(CONTENT))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "new" / "archive.tar"


def part_of(path):
    return path.with_name(path.name + ".part")


def test_a_file_is_downloaded_and_renamed(server, path):
    fetch(path, server)
    assert path.read_bytes() == CONTENT
    assert list(path.parent.iterdir()) == [path]


def test_an_existing_file_is_not_downloaded_again(server, path):
    fetch(path, server)
    fetch(path, server)
    assert len(server.ranges) == 1


def test_an_existing_different_file_is_not_overwritten(server, path):
    path.parent.mkdir()
    path.write_bytes(b"mine")
    with pytest.raises(DataError, match="not the expected file"):
        fetch(path, server)
    assert path.read_bytes() == b"mine" and not server.ranges


def test_a_connection_that_is_cut_is_gone_on_with(server, path):
    server.cut = 130_000
    fetch(path, server)
    assert path.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=130000-", "bytes=260000-"]


def test_a_later_call_resumes_an_interrupted_download(server, path):
    path.parent.mkdir()
    part_of(path).write_bytes(CONTENT[:1234])
    fetch(path, server)
    assert path.read_bytes() == CONTENT
    assert server.ranges == ["bytes=1234-"]


def test_a_server_without_ranges_sends_the_whole_file(server, path):
    server.knows_ranges = False
    path.parent.mkdir()
    part_of(path).write_bytes(b"x" * 1234)
    fetch(path, server)
    assert path.read_bytes() == CONTENT


def test_a_server_that_always_gives_up_is_given_up_and_the_part_is_kept(server, path):
    server.knows_ranges, server.cut = False, 1000
    with pytest.raises(DataError, match=r"1,000 of 300,000 bytes were received.*run again"):
        fetch(path, server)
    assert part_of(path).stat().st_size == 1000 and not path.exists()
    assert len(server.ranges) <= 2 * corruption_archive.ATTEMPTS


def test_a_wrong_checksum_is_told_and_the_part_is_removed(server, path):
    server.content = bytes(len(CONTENT))
    with pytest.raises(DataError, match=rf"has the MD5 .*, not {MD5}.*save the right file as .*archive.tar yourself"):
        fetch(path, server)
    assert not list(path.parent.iterdir())


def test_a_page_in_place_of_the_file_is_told_and_what_had_come_is_kept(server, path):
    path.parent.mkdir()
    part_of(path).write_bytes(CONTENT[:1234])
    server.content, server.kind, server.knows_ranges = b"<html>out of order</html>", "text/html; charset=utf-8", False
    with pytest.raises(DataError, match=r"archive\.tar: http.* responded with a web page .*run again later"):
        fetch(path, server)
    assert part_of(path).read_bytes() == CONTENT[:1234]
    assert len(server.ranges) == 1


def test_a_longer_file_is_reported_and_removed(server, path):
    server.content = CONTENT + b"more"
    with pytest.raises(DataError, match="more than the expected 300,000 bytes"):
        fetch(path, server)
    assert not list(path.parent.iterdir())


def test_a_part_of_another_longer_file_is_removed(server, path):
    path.parent.mkdir()
    part_of(path).write_bytes(CONTENT + b"more")
    with pytest.raises(DataError, match="run again"):
        fetch(path, server)
    fetch(path, server)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize(("status", "attempts"), [(404, 1), (403, 1), (503, 5), (429, 5)])
def test_only_transient_errors_are_retried(server, path, status, attempts):
    server.status = status
    with pytest.raises(DataError, match=f"{status}.*save it as .*archive.tar"):
        fetch(path, server)
    assert len(server.ranges) == attempts


def test_without_a_network_the_message_says_where_to_save_the_file(server, path):
    url = server.url
    server.shutdown()
    server.server_close()
    with pytest.raises(DataError, match=r"could not be downloaded.*save it as .*archive.tar"):
        download(path, url=url, md5=MD5, size=len(CONTENT))


def test_a_disk_that_is_too_small_is_reported_in_advance(server, path, monkeypatch):
    usage = namedtuple("Usage", "total used free")
    monkeypatch.setattr(corruption_archive.shutil, "disk_usage", lambda _: usage(10, 0, 10))
    with pytest.raises(DataError, match=r"300,000 bytes are missing, but the disk has only 10 free"):
        fetch(path, server)
    assert not server.ranges


def test_a_disk_that_fills_up_is_reported(server, path, monkeypatch):
    def full(**options):
        raise OSError(corruption_archive.errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(corruption_archive, "tqdm", full)
    with pytest.raises(DataError, match=r"the disk is full\. Free some space and run again"):
        fetch(path, server)
    assert len(server.ranges) == 1


def test_the_official_archive_is_named():
    assert corruption_archive.ARCHIVE_URL.startswith("https://zenodo.org/records/2535967/")
    # 19 corruptions of 50,000 images and a header each, and the labels, padded to tar's blocks
    assert 0 < corruption_archive.ARCHIVE_BYTES - 19 * 50_000 * 32 * 32 * 3 < 1_000_000
    assert len(corruption_archive.ARCHIVE_MD5) == 32
