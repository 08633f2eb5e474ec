"""Starting and ending the server under test, and nobody else.

A server may leave a process of its own behind when it is killed. This process adopts such orphans, ends them, and
reports them: a server that was asked to end politely must leave none.
"""
import ctypes
import fcntl
import os
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time

CLONE_NEWNET, CLONE_NEWUSER = 0x40000000, 0x10000000
PR_SET_CHILD_SUBREAPER = 36
SIOCSIFFLAGS = 0x8914
IFF_UP, IFF_RUNNING = 0x1, 0x40
# Interfaces that a kernel puts into every new network namespace.
BORN_WITH = {"lo", "ifb0", "ifb1", "tunl0", "sit0", "ip6tnl0", "gre0", "gretap0", "erspan0", "ip_vti0", "ip6_vti0",
             "ip6gre0"}


class Server:
    """One server process, started from a template in which {sock} {tmp} {profile} {profile_args} are replaced."""

    def __init__(self, template, profile, profiles, log=None):
        self.tmp = tempfile.mkdtemp(prefix="qv.")
        self.sock = os.path.join(self.tmp, "qmp.sock")
        line = template
        for name, value in (("profile_args", profiles.get(profile, "")), ("profile", profile),
                            ("sock", self.sock), ("tmp", self.tmp)):
            line = line.replace("{" + name + "}", value)
        output = open(log, "ab") if log else subprocess.DEVNULL
        self.process = subprocess.Popen(shlex.split(line), stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        if log:
            output.close()

    def alive(self):
        return self.process.poll() is None

    def stop(self):
        """Ends the server; what was wrong with its end, or None."""
        wrong = None
        if self.alive():
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(3)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                wrong = "server does not end at SIGTERM"
        left = end_orphans()
        shutil.rmtree(self.tmp, ignore_errors=True)
        if left and not wrong:
            wrong = "server left processes behind: %s" % ", ".join(left)
        return wrong


def adopt_orphans():
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_orphans():
    """Ends every child of this process (servers have been waited for by now); names of those that did not end by
    themselves: what a server has started may notice a moment after it that it has gone."""
    until = time.monotonic() + 5
    while children() and time.monotonic() < until:
        time.sleep(0.005)
    left = children()
    for pid in left:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return list(left.values())


def children():
    """Names of the children that run, by pid; those that have ended are waited for."""
    running = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/stat" % pid) as f:
                name, rest = f.read().split("(", 1)[1].rsplit(") ", 1)
            state, parent = rest.split()[:2]
            if int(parent) != os.getpid():
                continue
            if state == "Z":
                os.waitpid(int(pid), 0)
            else:
                running[int(pid)] = name
        except (OSError, IndexError):
            continue
    return running


def enter_netns():
    """Private network namespace with only loopback, up."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        uid, gid = os.getuid(), os.getgid()
        if libc.unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "unshare failed")
        for name, text in (("setgroups", "deny"), ("uid_map", "0 %d 1" % uid), ("gid_map", "0 %d 1" % gid)):
            with open("/proc/self/" + name, "w") as f:
                f.write(text)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        fcntl.ioctl(s, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP | IFF_RUNNING))


def capabilities():
    """The `requires` tags that this machine meets."""
    have = set()
    if os.geteuid() == 0:
        have.add("root")
        if can_open("/dev/net/tun"):
            have.add("tun")
    if {name for _, name in socket.if_nameindex()} <= BORN_WITH:
        have.add("netns")
    if has_ipv6():
        have.add("ipv6")
    if shutil.which("ip"):
        have.add("iproute")
    if not os.path.exists("/dev/vhost-net"):
        have.add("no-vhost-net")
    return have


def can_open(path):
    try:
        os.close(os.open(path, os.O_RDWR))
        return True
    except OSError:
        return False


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as s:
            s.bind(("::1", 0))
        return True
    except OSError:
        return False
