# SPDX-License-Identifier: Apache-2.0
"""The programs that are compared: how each is installed, built and run.

A workload is measured by `contender.measure(workload, seconds)`, which returns a dict with
`one_way_ns` (kind "lat") or `messages_per_second` (kind "stream"), or None when the contender
does not offer that workload.
"""
import dataclasses
import json
import os
import pathlib
import shutil
import socket
import subprocess
import time

HERE = pathlib.Path(__file__).resolve().parent
PATIENCE_SECONDS = 120


class Failure(Exception):
    """A sentence for the user."""


@dataclasses.dataclass(frozen=True)
class Workload:
    key: str
    title: str
    kind: str  # lat or stream
    size_bytes: int
    operation: str = "send"  # send or write
    buffers: str = "rotating"  # streams of 4 KiB and more, vinic's side; see BUFFERS
    touch: bool = False  # vinic's receiver reads the message

    def say(self, figure):
        """A figure in the workload's usual unit."""
        if figure is None:
            return "-"
        if self.kind == "lat":
            return f"{figure / 1e3:.3f} us"
        if self.size_bytes < 1024:
            return f"{figure / 1e6:.2f} M/s"
        return f"{figure * self.size_bytes / 1e9:.2f} GB/s"

    def speed_ratio(self, ours, theirs):
        """Above 1: ours is faster."""
        return theirs / ours if self.kind == "lat" else ours / theirs


# Which memory a stream of vinic goes through.  ucx_perftest sends from one buffer into one buffer, and
# so do the other peers, or into a few; they are compared with all three.
BUFFERS = {
    "hot": ["--buffers", "1", "--source-buffers", "1", "--depth", "64"],
    "rotating": ["--source-buffers", "1"],
    "all rotating": [],
}

WORKLOADS = [
    Workload("lat_8", "one way, 8 B", "lat", 8),
    Workload("lat_4096", "one way, 4 KiB", "lat", 4096),
    Workload("lat_65536", "one way, 64 KiB", "lat", 65536),
    Workload("read_4096", "one way, 4 KiB, and read", "lat", 4096, touch=True),
    Workload("read_65536", "one way, 64 KiB, and read", "lat", 65536, touch=True),
    Workload("put_lat_8", "one-sided write, 8 B", "lat", 8, "write"),
    Workload("rate_8", "stream, 8 B", "stream", 8),
    Workload("put_rate_8", "one-sided stream, 8 B", "stream", 8, "write"),
    Workload("hot_4096", "stream, 4 KiB, one buffer", "stream", 4096, buffers="hot"),
    Workload("bw_4096", "stream, 4 KiB, 256 destinations", "stream", 4096),
    Workload("all_4096", "stream, 4 KiB, 256 of both", "stream", 4096, buffers="all rotating"),
    Workload("hot_65536", "stream, 64 KiB, one buffer", "stream", 65536, buffers="hot"),
    Workload("bw_65536", "stream, 64 KiB, 256 destinations", "stream", 65536),
    Workload("all_65536", "stream, 64 KiB, 256 of both", "stream", 65536, buffers="all rotating"),
]


def run(command, environment=None, doing=None):
    """Standard output of a command that must succeed."""
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE_SECONDS,
                              check=False)
    except (OSError, subprocess.TimeoutExpired) as why:
        raise Failure(f"{doing or command[0]}: {why}") from why
    if done.returncode != 0:
        words = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise Failure(f"{doing or command[0]} ended with {done.returncode}: {' / '.join(words[-3:])}")
    return done.stdout


def last_json_line(text):
    for line in reversed(text.splitlines()):
        if line.startswith("{"):
            return json.loads(line)
    raise Failure("a program printed no result")


def install(packages):
    """Installs those Debian packages that are missing."""
    missing = [name for name in packages
               if "ok installed" not in subprocess.run(["dpkg-query", "-W", "-f=${Status}", name],
                                                       capture_output=True, text=True, check=False).stdout]
    if not missing:
        return
    command = ["apt-get", "install", "-y", "--no-install-recommends", *missing]
    if os.geteuid() != 0:
        if shutil.which("sudo") is None:
            raise Failure(f"needs packages; as root: {' '.join(command)}")
        command = ["sudo", "-n", *command]
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    print(f"installing {' '.join(missing)}", flush=True)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failure(f"could not install {' '.join(missing)}: {done.stderr.strip().splitlines()[-1:]}"
                      " (run apt-get update once?)")


class Vinic:
    """This project: the `vinic bench` commands."""
    name = "vinic"
    packages = ()

    def __init__(self, program, extra_arguments=(), name="vinic"):
        self.program = program
        self.extra_arguments = list(extra_arguments)
        self.name = name
        self.environment_block = {}

    def prepare(self, _work, cores):
        self.cores = cores
        if not os.access(self.program, os.X_OK):
            raise Failure(f"{self.program} is not a program; build it first or name it with --vinic")

    def measure(self, workload, seconds):
        if workload.kind == "lat":
            command = ["lat", *(["--touch"] if workload.touch else [])]
        elif workload.size_bytes < 1024:
            command = ["rate", *([] if workload.operation == "write" else ["--repost", "16"])]
        else:
            command = ["bw", "--repost", "16", *BUFFERS[workload.buffers]]
        text = run([self.program, "bench", *command, "-s", str(workload.size_bytes), "-o", workload.operation,
                    "-D", str(seconds), "--cores", "%d,%d" % self.cores, "--json", *self.extra_arguments],
                   doing=f"vinic bench {command[0]}")
        document = json.loads(text)
        self.environment_block = document["environment"]
        row = document["results"][0]
        if workload.kind == "lat":
            return {"one_way_ns": row["p50_us"] * 1e3, "handoff_ns": row["handoff_us"] * 1e3}
        return {"messages_per_second": row["message_rate_mpps"] * 1e6,
                "memcpy_bytes_per_second": row["memcpy_mib_per_second"] * 2**20}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def is_listening(port):
    """Looks in the kernel's tables: a trial connection would be taken for the client's."""
    wanted = f":{port:04X}"
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = pathlib.Path(table).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        if any(line.split()[1].endswith(wanted) and line.split()[3] == "0A" for line in lines):
            return True
    return False


class Ucx:
    """ucx_perftest over shared memory."""
    name = "ucx"
    packages = ("ucx-utils",)
    tests = {("lat", "send"): "tag_lat", ("stream", "send"): "tag_bw", ("lat", "write"): "ucp_put_lat",
             ("stream", "write"): "ucp_put_bw"}
    # In a container process_vm_readv may be forbidden; UCX then refuses the first list.
    transports = ("posix,cma,self", "posix,self", "sysv,self")

    def prepare(self, _work, cores):
        self.cores = cores
        self.iterations = {}
        wanted = os.environ.get("UCX_TLS")
        why = None
        for self.tls in ([wanted] if wanted else self.transports):
            try:
                self.perftest("tag_lat", 8, 1000)
                return
            except Failure as caught:
                why = caught
        raise Failure(f"ucx_perftest does not run here: {why}")

    def perftest(self, test, size_bytes, iterations):
        port = free_port()
        environment = dict(os.environ, UCX_TLS=self.tls, UCX_LOG_LEVEL="error")
        with subprocess.Popen(["taskset", "-c", str(self.cores[1]), "ucx_perftest", "-p", str(port)], env=environment,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
            try:
                until = time.monotonic() + 10
                while not is_listening(port):
                    if server.poll() is not None or time.monotonic() > until:
                        raise Failure("the ucx_perftest server does not listen")
                    time.sleep(0.01)
                text = run(["taskset", "-c", str(self.cores[0]), "ucx_perftest", "127.0.0.1", "-p", str(port), "-t",
                            test, "-s", str(size_bytes), "-n", str(iterations), "-w", str(max(100, iterations // 10)),
                            "-f", "-v"], environment, f"ucx_perftest {test}")
                server.wait(10)
            except subprocess.TimeoutExpired:
                pass
            finally:
                if server.poll() is None:
                    server.kill()
        # A line of headings, then a line of figures.
        lines = [line.split(",") for line in text.splitlines() if line.count(",") >= 7]
        if len(lines) < 2:
            raise Failure(f"ucx_perftest {test} printed no figures")
        return dict(zip(lines[-2], (float(word) for word in lines[-1])))

    def measure(self, workload, seconds):
        if workload.buffers == "all rotating" or workload.touch:
            return None  # it can do neither
        test = self.tests[(workload.kind, workload.operation)]
        if workload.key not in self.iterations:
            rate = self.perftest(test, workload.size_bytes, 2000)["overall_mr"]
            self.iterations[workload.key] = int(min(max(rate * seconds, 500), 2e7))
        figures = self.perftest(test, workload.size_bytes, self.iterations[workload.key])
        if workload.kind == "lat":
            return {"one_way_ns": figures["50.0_percentile_lat"] * 1e3}
        return {"messages_per_second": figures["overall_mr"]}


class SmallProgram:
    """One of the programs beside this file."""
    operations = ("send",)

    def __init__(self, name, packages, source, compiler, libraries=(), path=None):
        self.name = name
        self.packages = packages
        self.source = HERE / source
        self.compiler = compiler
        self.libraries = libraries
        self.path = path

    def prepare(self, work, cores):
        self.cores = cores
        self.program = str(pathlib.Path(work) / self.source.stem)
        if not os.path.exists(self.program):
            standard = ["-std=c++20"] if self.source.suffix == ".cc" else []
            run([self.compiler, *standard, "-O2", str(self.source), "-o", self.program, *self.libraries],
                doing=f"building {self.source.name}")

    def command(self, workload, seconds):
        return [self.program, self.path, workload.kind, str(workload.size_bytes), str(seconds),
                *(str(core) for core in self.cores)]

    def measure(self, workload, seconds):
        if workload.operation != "send" or workload.buffers == "all rotating" or workload.touch:
            return None
        row = last_json_line(run(self.command(workload, seconds), self.environment(), self.name))
        if workload.kind == "lat":
            return {"one_way_ns": row["one_way_ns_p50"]}
        return {"messages_per_second": row["messages_per_second"]}

    def environment(self):
        return None


class Mpi(SmallProgram):
    """Open MPI with its shared-memory transport."""

    def __init__(self):
        super().__init__("openmpi", ("openmpi-bin", "libopenmpi-dev"), "mpi.c", "mpicc")

    def environment(self):
        # mpirun refuses to run as root unless told twice.
        return dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMPI_MCA_pml="ob1",
                    OMPI_MCA_btl="vader,self")

    def command(self, workload, seconds):
        return ["mpirun", "--bind-to", "none", "--oversubscribe", "-np", "2", self.program, workload.kind,
                str(workload.size_bytes), str(seconds), *(str(core) for core in self.cores)]


def all_peers():
    kernel = [SmallProgram(name, ("g++",), "kernel.cc", "g++", path=name) for name in ("unix", "tcp", "pipe")]
    fabric = SmallProgram("libfabric", ("g++", "libfabric-dev"), "fabric.cc", "g++", ("-lfabric",), "shm")
    return [Ucx(), fabric, Mpi(), *kernel]
