"""A private SLURM cluster of one node with simulated GPUs, for tests: its daemons are plain processes on loopback."""

import contextlib
import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol", "sinfo")
PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
UNFINISHED = "PENDING,RUNNING,COMPLETING,SUSPENDED"

CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={root}/munge/munge.socket
CredType=cred/munge
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd.pid
MailProg=/bin/true
MpiDefault=none
SwitchType=switch/none
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=1
GresTypes=gpu
SlurmdParameters=config_overrides
ReturnToService=2
MinJobAge=3600
KillWait=2
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 RealMemory=64000 Gres=gpu:{gpus} State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def why_not() -> str | None:
    """Return why no cluster can be started here, or None."""
    if missing := [program for program in PROGRAMS if shutil.which(program, path=PATH) is None]:
        return f"SLURM is not installed: no {', '.join(missing)} (Debian: munge slurmctld slurmd slurm-client)"
    try:
        address = socket.gethostbyname(socket.gethostname())
    except OSError as error:
        return f"this machine's name does not resolve: {error}"
    # the daemons bind to the address of the name, and srun calls back to it
    return None if address == "127.0.0.1" else f"this machine's name resolves to {address}, not to 127.0.0.1"


class Cluster:
    """Start it with ``with Cluster(folder) as cluster``; `folder` and its parents must be readable by everyone."""

    def __init__(self, root: Path, gpus: int = 4):
        self.root = root
        self.gpus = gpus
        self.conf = root / "slurm.conf"
        self.daemons: dict[str, subprocess.Popen] = {}

    def environment(self) -> dict[str, str]:
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_", "SRUN_"))
        }
        return kept | {"SLURM_CONF": str(self.conf), "PATH": f"{self.root}/bin{os.pathsep}{PATH}"}

    def ask(self, *command: str) -> str:
        done = subprocess.run(command, env=self.environment(), capture_output=True, encoding="utf-8", timeout=60)
        return done.stdout

    def unfinished(self) -> list[str]:
        """Return the numbers of the jobs that wait or run."""
        return self.ask("squeue", "--noheader", "--format=%i", f"--states={UNFINISHED}").split()

    def start_controller(self) -> None:
        self._start("slurmctld", "-D", "-f", self.conf)

    def stop_controller(self) -> None:
        controller = self.daemons.pop("slurmctld")
        controller.terminate()
        controller.wait(20)

    def __enter__(self):
        try:
            self._write()
            munge = self.root / "munge"
            self._start(
                "munged",
                "-F",
                f"--key-file={munge}/key/munge.key",
                f"--socket={munge}/munge.socket",
                f"--pid-file={munge}/munged.pid",
                f"--log-file={munge}/munged.log",
                f"--seed-file={munge}/key/munged.seed",
            )
            self._wait((munge / "munge.socket").exists)
            self.start_controller()
            self._start("slurmd", "-D", "-c", "-f", self.conf)
            self._wait(lambda: self.ask("sinfo", "--noheader", "--format=%T").split() == ["idle"])
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        with contextlib.suppress(Exception):
            if jobs := self.unfinished():
                self.ask("scancel", *jobs)
                self._wait(lambda: not self.unfinished(), seconds=10)
        for daemon in reversed(self.daemons.values()):
            daemon.terminate()
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
        # without cgroups a process that left its group escapes scancel
        mark = f"SLURM_CONF={self.conf}".encode()
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                variables = (process / "environ").read_bytes().split(b"\0")
                if mark in variables and any(variable.startswith(b"SLURM_JOB_ID=") for variable in variables):
                    os.kill(int(process.name), signal.SIGKILL)

    def _write(self) -> None:
        for name in ("state", "spool", "log", "dev", "munge/key", "bin"):
            (self.root / name).mkdir(parents=True)
        (self.root / "munge/key").chmod(0o700)
        key = self.root / "munge/key/munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        for number in range(self.gpus):
            # a device file: for a plain file SLURM sets no CUDA_VISIBLE_DEVICES
            (self.root / f"dev/nvidia{number}").symlink_to("/dev/null")
        host = socket.gethostname().split(".")[0]
        controller_port, node_port = _free_ports(2)
        self.conf.write_text(
            CONF.format(
                root=self.root,
                host=host,
                user=pwd.getpwuid(os.geteuid()).pw_name,
                gpus=self.gpus,
                controller_port=controller_port,
                node_port=node_port,
            )
        )
        devices = f"{self.root}/dev/nvidia[0-{self.gpus - 1}]"
        (self.root / "gres.conf").write_text(f"AutoDetect=off\nNodeName={host} Name=gpu File={devices}\n")
        (self.root / "cgroup.conf").write_text("CgroupAutomount=no\n")
        # the step that Snakemake's plugin starts inside a job loses SLURM_CONF
        srun = self.root / "bin/srun"
        srun.write_text(f'#!/bin/sh\nSLURM_CONF="{self.conf}" exec {shutil.which("srun", path=PATH)} "$@"\n')
        srun.chmod(0o755)

    def _start(self, name: str, *arguments: str | Path) -> None:
        with (self.root / f"log/{name}.out").open("ab") as output:
            self.daemons[name] = subprocess.Popen(
                [str(shutil.which(name, path=PATH)), *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self.environment(),
                cwd=self.root,
                start_new_session=True,
                preexec_fn=lambda: ctypes.CDLL(None).prctl(1, signal.SIGTERM),  # no daemon outlives the tests
            )

    def _wait(self, condition, seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            for name, daemon in self.daemons.items():
                if daemon.poll() is not None:
                    raise RuntimeError(f"{name} ended: {(self.root / f'log/{name}.out').read_text()[-2000:]}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"no cluster after {seconds} s: {self.ask('sinfo')}")
            time.sleep(0.05)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
