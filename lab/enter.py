"""Run a command inside a private network, mount and process namespace.

Purpose: ``python -m lab.enter -- COMMAND...`` gives COMMAND a network of its own in which all of
198.18.0.0/15 and fd00:198:18::/48 are local addresses, a resolv.conf that points at the lab's
resolver, an empty /run, and process numbers of its own. Two of them never see each other.
A checkout in a private home directory can be read inside by every account, and nothing else there.
When COMMAND ends, whatever it left running is killed by the kernel; so it is when this program
is killed, even by SIGKILL. Nothing on the host is changed.
Source: namespaces(7), pid_namespaces(7), RFC 2544 §C.2.2 (198.18.0.0/15 is for test networks).
Format: the environment of COMMAND gets ``GATEPOST_LAB=1`` and ``GATEPOST_LAB_DIR``, a directory
in memory that vanishes with the lab. The exit status is COMMAND's, or 128 + N if signal N killed
it, 127 if it cannot be started, 1 if the namespace cannot be made, 2 for wrong usage. Signals sent
to this program reach COMMAND.
Errors: one sentence on standard error; never a traceback.
Security: needs root (CAP_SYS_ADMIN); COMMAND runs as root with the host's files, so a lab keeps
networks apart, not privileges.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LAB_DIR = Path("/run/gatepost-lab")
RESOLVER = "198.18.0.53"
CLIENT = "198.18.0.1"
NETWORK4 = "198.18.0.0/15"
NETWORK6 = "fd00:198:18::/48"

RESOLV_CONF = f"nameserver {RESOLVER}\noptions edns0 trust-ad timeout:2 attempts:2\n"

# From linux/sched.h, linux/mount.h and linux/prctl.h; Python has them only from 3.12 or not at all.
_CLONE_NEWNS = 0x00020000
_CLONE_NEWPID = 0x20000000
_CLONE_NEWNET = 0x40000000
_MS_NOSUID_NODEV = 2 | 4
_MS_NOEXEC = 8
_MS_BIND = 4096
_MS_MOVE = 8192
_MS_REC = 16384
_MS_PRIVATE = 1 << 18
_PR_SET_PDEATHSIG = 1
_SI_KERNEL = 0x80

_USAGE = "usage: python -m lab.enter -- COMMAND [ARGUMENT...]"

_FORWARDED = frozenset(
    {
        signal.SIGHUP,
        signal.SIGINT,
        signal.SIGQUIT,
        signal.SIGTERM,
        signal.SIGUSR1,
        signal.SIGUSR2,
    }
)
_WATCHED = _FORWARDED | {signal.SIGCHLD}


class EnterError(Exception):
    """The namespace cannot be made; the message is one sentence for the user."""


def inside() -> bool:
    """Return whether this process runs inside a lab."""
    return os.environ.get("GATEPOST_LAB") == "1"


def enter(command: Sequence[str]) -> int:
    """Run `command` in a fresh lab and return its exit status.

    This process itself moves into the new network and mount namespace and cannot come back, so
    call it last.

    Raises:
        EnterError: If this is not root, or the kernel or the container refuses a namespace.
    """
    if os.geteuid() != 0:
        raise EnterError("making a network namespace needs root; run this again with sudo")
    old_mask = signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
    _call("unshare", _CLONE_NEWNS | _CLONE_NEWNET | _CLONE_NEWPID)
    init = os.fork()
    if init == 0:
        os._exit(_run_as_init(command, old_mask))
    return _watch(init)


def _run_as_init(command: Sequence[str], old_mask: set[int]) -> int:
    """Set the namespace up and run `command` below this process, which is its process 1."""
    try:
        # Without this, a caller killed by SIGKILL would leave its lab running unattended.
        _call("prctl", _PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        _set_up_mounts()
        _open_the_way(ROOT, Path(sys.prefix), Path(sys.base_prefix))
        _set_up_network()
    except (EnterError, OSError) as error:
        _say(str(error))
        return 1
    child = os.fork()
    if child == 0:
        _exec(command, old_mask)
    return _watch(child)


def _exec(command: Sequence[str], old_mask: set[int]) -> None:
    """Become `command`, with the signal state that this program was started with."""
    os.environ["GATEPOST_LAB"] = "1"
    os.environ["GATEPOST_LAB_DIR"] = str(LAB_DIR)
    # The interpreter ignores these at start; inherited, that would change what COMMAND does.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, old_mask)
    try:
        os.execvp(command[0], list(command))
    except OSError as error:
        _say(f"cannot run {command[0]}: {error.strerror}")
        os._exit(127)


def _watch(child: int) -> int:
    """Pass signals on to `child`, reap everything, and return the status `child` ended with."""
    while True:
        info = signal.sigwaitinfo(_WATCHED)
        if info.si_signo != signal.SIGCHLD:
            # A key pressed on the terminal reaches the whole foreground group from the kernel;
            # passing it on as well would interrupt COMMAND twice.
            if info.si_code != _SI_KERNEL:
                os.kill(child, info.si_signo)
            continue
        status = _reap(child)
        if status is not None:
            return status


def _reap(child: int) -> int | None:
    """Collect all dead children; return the exit status of `child` if it was among them."""
    found: int | None = None
    while True:
        try:
            pid, wait_status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == 0:
            return found
        if pid == child:
            code = os.waitstatus_to_exitcode(wait_status)
            found = code if code >= 0 else 128 - code


def _set_up_mounts() -> None:
    """Give the lab its own /proc, an empty /run and its own resolv.conf.

    /run is replaced whole because name service modules, syslog and D-Bus reach the host's
    daemons through sockets there, and would answer for the real network.
    """
    _mount("none", "/", "", _MS_REC | _MS_PRIVATE)
    _mount("proc", "/proc", "proc", _MS_NOSUID_NODEV | _MS_NOEXEC)
    _mount("tmpfs", "/run", "tmpfs", _MS_NOSUID_NODEV, "mode=755")
    LAB_DIR.mkdir(mode=0o755)
    lock = Path("/run/lock")
    lock.mkdir()
    lock.chmod(0o1777)
    own = LAB_DIR / "resolv.conf"
    own.write_text(RESOLV_CONF, encoding="ascii")
    target = Path(os.path.realpath("/etc/resolv.conf"))
    if target.is_relative_to("/run"):
        # A link to the host's resolved or resolvconf: its place is in our own /run now.
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    elif not target.exists():
        raise EnterError("/etc/resolv.conf does not exist; create an empty one first")
    _mount(str(own), str(target), "", _MS_BIND)


def _open_the_way(*places: Path) -> None:
    """Let accounts other than root reach some directories.

    Daemons give up root, and then cannot run a Python from a checkout below /root or below a home
    of mode 0700, Debian's default. So in the lab an open directory with nothing but the checkout
    in it takes the place of such a home. The directories themselves stay as they are.
    """
    closed: dict[Path, list[Path]] = {}
    for place in map(Path.resolve, places):
        top = _closed_above(place)
        covered = any(place.is_relative_to(other) for kept in closed.values() for other in kept)
        if top is not None and not covered:
            closed.setdefault(top, []).append(place)
    working_directory = Path.cwd()
    for top, kept in closed.items():
        for number, place in enumerate(kept):
            staged = LAB_DIR / f"kept-{number}"
            staged.mkdir()
            _mount(str(place), str(staged), "", _MS_BIND | _MS_REC)
        _mount("tmpfs", str(top), "tmpfs", _MS_NOSUID_NODEV, "mode=755")
        for number, place in enumerate(kept):
            for missing in reversed([place, *place.parents]):
                if not missing.exists():
                    missing.mkdir()
                    missing.chmod(0o755)
            staged = LAB_DIR / f"kept-{number}"
            _mount(str(staged), str(place), "", _MS_MOVE)
            staged.rmdir()
    # Its name may lead to the new directory now; if it leads nowhere, the old one still serves.
    with contextlib.suppress(OSError):
        os.chdir(working_directory)


def _closed_above(place: Path) -> Path | None:
    """Return the topmost directory above `place` that only its owner may pass, if there is one."""
    for parent in reversed(place.parents):
        if not parent.stat().st_mode & stat.S_IXOTH:
            return parent
    return None


def _set_up_network() -> None:
    """Bring up the loopback interface and make the lab's address ranges local."""
    _ip("link", "set", "lo", "up")
    # With a preferred source, clients that bind nothing come from one known address instead of
    # from the very address they connect to.
    _ip("address", "add", f"{CLIENT}/32", "dev", "lo")
    _ip("route", "add", "local", NETWORK4, "dev", "lo", "src", CLIENT)
    if Path("/proc/sys/net/ipv6").is_dir():
        Path("/proc/sys/net/ipv6/conf/lo/disable_ipv6").write_text("0", encoding="ascii")
        # Unlike IPv4, a local IPv6 route does not by itself allow binding to its addresses.
        Path("/proc/sys/net/ipv6/ip_nonlocal_bind").write_text("1", encoding="ascii")
        _ip("-6", "route", "add", "local", NETWORK6, "dev", "lo")


def _ip(*arguments: str) -> None:
    """Run ip(8).

    Raises:
        EnterError: If it is not installed or refuses.
    """
    try:
        done = subprocess.run(
            ["ip", *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        raise EnterError("the command ip is missing; install the package iproute2") from None
    if done.returncode != 0:
        raise EnterError(f"ip {' '.join(arguments)} failed: {done.stderr.strip()}")


def _mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    """Call mount(2)."""
    _call("mount", source.encode(), target.encode(), kind.encode(), flags, data.encode())


def _call(name: str, *arguments: int | bytes) -> None:
    """Call a C library function that returns -1 on error.

    Raises:
        EnterError: If it fails.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    wide = [ctypes.c_ulong(value) if isinstance(value, int) else value for value in arguments]
    if libc[name](*wide) == -1:
        reason = os.strerror(ctypes.get_errno())
        subject = next((a.decode() for a in arguments[1:] if isinstance(a, bytes) and a), "")
        what = f"{name} {subject}".strip()
        raise EnterError(
            f"the kernel refuses a private namespace here ({what}: {reason}); "
            "in a container, start it with --privileged; in a chroot, bind-mount its root first"
        )


def _say(sentence: str) -> None:
    print(f"lab: {sentence}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; see the head of this module."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    command = given[1:] if given[:1] == ["--"] else given
    if not command or command[0].startswith("-"):
        print(_USAGE, file=sys.stderr)
        return 2
    try:
        return enter(command)
    except EnterError as error:
        _say(str(error))
        return 1


if __name__ == "__main__":
    sys.exit(main())
