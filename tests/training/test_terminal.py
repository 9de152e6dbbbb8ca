import os
import subprocess
import sys

import pytest

from lgg.training import terminal


@pytest.fixture
def screen(monkeypatch):
    """A terminal: what is written to its name can be read from the descriptor."""
    ours, theirs = os.openpty()
    monkeypatch.setattr(terminal, "_screen", os.ttyname(theirs))
    yield ours
    os.close(ours)
    os.close(theirs)


def test_a_line_goes_to_the_log_and_with_the_job_s_name_to_the_terminal(screen, monkeypatch, capsys):
    monkeypatch.setattr(terminal, "_job", "")
    terminal.connect(terminal._screen, "distillation/gkd/seed0")
    terminal.tell("epoch 1/3")
    assert capsys.readouterr().err == "epoch 1/3\n"
    shown = b""
    while not shown.endswith(b"\n"):  # a terminal may hand a line over in parts
        shown += os.read(screen, 1000)
    assert shown == b"distillation/gkd/seed0: epoch 1/3\r\n"


@pytest.mark.parametrize("name", [None, "/dev/no such terminal"])
def test_without_a_terminal_it_goes_to_the_log_alone(name, monkeypatch, capsys):
    monkeypatch.setattr(terminal, "_screen", name)
    terminal.tell("epoch 1/3")
    assert capsys.readouterr().err == "epoch 1/3\n"


@pytest.mark.parametrize("has_terminal", [True, False])
def test_the_terminal_is_that_of_standard_error(has_terminal):
    ours, theirs = os.openpty()
    done = subprocess.run(
        [sys.executable, "-c", "from lgg.training import terminal; print(terminal.name())"],
        stdout=subprocess.PIPE,
        stderr=theirs if has_terminal else subprocess.DEVNULL,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == (os.ttyname(theirs) if has_terminal else "None")
    os.close(ours)
    os.close(theirs)


def test_a_terminal_that_was_stopped_holds_no_job_up(screen):
    import fcntl
    import termios

    theirs = os.open(terminal._screen, os.O_RDWR | os.O_NOCTTY)
    termios.tcflow(theirs, termios.TCOOFF)  # what Ctrl-S does
    terminal.tell("epoch 1/3")
    termios.tcflow(theirs, termios.TCOON)
    fcntl.fcntl(screen, fcntl.F_SETFL, os.O_NONBLOCK)
    with pytest.raises(BlockingIOError):
        os.read(screen, 1000)
    os.close(theirs)
