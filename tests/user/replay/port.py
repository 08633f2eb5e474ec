"""The device under test: one process for all vectors, one `user` port for each, and the wire to it."""
import ctypes
import fcntl
import json
import os
import select
import shlex
import socket
import struct
import subprocess
import time

CLONE_NEWNS, CLONE_NEWNET = 0x20000, 0x40000000
SIOCSIFFLAGS, IFF_UP, IFF_RUNNING = 0x8914, 0x1, 0x40
# How long anything may take on a machine with other work to do.
PATIENCE_S = 20


def enter_namespaces(resolv_conf):
    """A network with nothing but loopback, and a list of name servers that vectors may write."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS | CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP | IFF_RUNNING))
    with open("/proc/sys/net/ipv4/ping_group_range", "w", encoding="ascii") as file:
        file.write("0 2147483647")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "--bind", resolv_conf, "/etc/resolv.conf"], check=True)


class Device:
    """The process, and a connection to its monitor."""

    def __init__(self, command, folder, log):
        self.folder = folder
        path = os.path.join(folder, "qmp")
        line = command.replace("{sock}", path).replace("{tmp}", folder)
        with open(log, "ab") as output:
            self.process = subprocess.Popen(shlex.split(line), stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        end = time.monotonic() + PATIENCE_S
        self.monitor = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        while True:
            try:
                self.monitor.connect(path)
                break
            except OSError:
                if time.monotonic() > end or self.process.poll() is not None:
                    raise
                time.sleep(0.01)
        self.monitor.settimeout(PATIENCE_S)
        self.lines = self.monitor.makefile("rb")
        self.lines.readline()
        self.execute("qmp_capabilities")

    def execute(self, command, **arguments):
        """What a command returns; its error as an exception."""
        text = json.dumps({"execute": command, "arguments": arguments})
        self.monitor.sendall(text.encode() + b"\n")
        while True:
            line = self.lines.readline()
            if not line:
                raise AssertionError("the monitor has closed the connection")
            message = json.loads(line)
            if "error" in message:
                raise AssertionError("%s: %s" % (command, message["error"]["desc"]))
            if "return" in message:
                return message["return"]

    def human(self, line):
        return self.execute("human-monitor-command", **{"command-line": line}).replace("\r\n", "\n")

    def is_alive(self):
        return self.process.poll() is None

    def end(self):
        self.process.terminate()
        try:
            self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Wire:
    """A `user` port on a hub, and the guest's end of a datagram netdev on the same hub."""

    def __init__(self, device, options, folder):
        self.device, self.made = device, []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        here, there = os.path.join(folder, "here"), os.path.join(folder, "there")
        self.socket.bind(here)
        self.there = there
        try:
            self.add(type="dgram", id="d", local={"type": "unix", "path": there}, remote={"type": "unix", "path": here})
            self.add(type="user", id="u", **arguments(options))
            self.add(type="hubport", id="hd", hubid=0, netdev="d")
            self.add(type="hubport", id="hu", hubid=0, netdev="u")
        except BaseException:
            self.end()
            raise

    def add(self, **options):
        self.device.execute("netdev_add", **options)
        self.made.append(options["id"])

    def send(self, frame):
        self.socket.sendto(frame, self.there)

    def receive(self, timeout_s):
        """The next frame, or None."""
        if select.select([self.socket], [], [], max(0, timeout_s))[0]:
            return self.socket.recv(70000)
        return None

    def end(self):
        for netdev in reversed(self.made):
            self.device.execute("netdev_del", id=netdev)
        self.socket.close()


LISTS = {"dnssearch", "hostfwd", "guestfwd"}
SWITCHES = {"restrict", "ipv4", "ipv6"}
NUMBERS = {"ipv6-prefixlen"}


def arguments(options):
    """Options as pairs of text, as QMP has them."""
    out = {}
    for key, value in options:
        if key in LISTS:
            out.setdefault(key, []).append({"str": value})
        elif key in SWITCHES:
            out[key] = value == "on"
        else:
            out[key] = int(value) if key in NUMBERS else value
    return out
