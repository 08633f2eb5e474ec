"""What a vector does to the host: one small function an action, found by its name.

Objects that an action makes (sockets, descriptors) are kept under the name in `as`; values that the host chose (a free
port) under the name in `var`, for `${VAR}` in later strings.
"""
import fcntl
import os
import re
import select
import socket
import struct
import subprocess
import time

from .peers import VdeSwitch, VuBackend

TUNSETIFF = 0x400454CA
ACTIONS = {}


class Mismatch(Exception):
    """The server did something else than the vector says."""


class Env:
    """Variables and host objects of one vector."""

    def __init__(self, tmp):
        self.vars = {"TMP": tmp}
        self.objs = {}

    def sub_str(self, text, escape=False):
        def value(m):
            v = self.vars.get(m.group(1))
            if v is None:
                raise KeyError("undefined variable ${%s}" % m.group(1))
            return re.escape(v) if escape else v
        return re.sub(r"\$\{([A-Z0-9_]+)\}", value, text)

    def sub(self, x):
        if isinstance(x, str):
            return self.sub_str(x)
        if isinstance(x, list):
            return [self.sub(i) for i in x]
        if isinstance(x, dict):
            if set(x) == {"$re"}:
                return {"$re": self.sub_str(x["$re"], escape=True)}
            return {self.sub_str(k): self.sub(v) for k, v in x.items()}
        return x

    def close(self):
        for obj in self.objs.values():
            try:
                close(obj)
            except OSError:
                pass
        self.objs = {}


def do(env, op):
    """Run one host action."""
    op = env.sub(op)
    action = ACTIONS.get(op["op"])
    if action is None:
        raise ValueError("unknown host action %r" % op["op"])
    action(env, op)


def action(function):
    ACTIONS[function.__name__.rstrip("_")] = function
    return function


def close(obj):
    if isinstance(obj, int):
        os.close(obj)
    else:
        obj.close()


def fileno(obj):
    return obj if isinstance(obj, int) else obj.fileno()


def hexbytes(text):
    return bytes.fromhex(text.replace(" ", ""))


def match_hex(pattern, data):
    """`??` stands for any byte."""
    p, h = pattern.replace(" ", "").lower(), data.hex()
    if len(p) != len(h):
        return False
    return all(p[i:i + 2] in ("??", h[i:i + 2]) for i in range(0, len(p), 2))


def patience(op):
    return op.get("timeout_ms", 3000) / 1000.0


def until(seconds, question):
    """Asks until the answer is true or the time is over; the last answer."""
    end = time.time() + seconds
    while True:
        answer = question()
        if answer or time.time() > end:
            return answer
        time.sleep(0.02)


# ---- sockets ---------------------------------------------------------------

@action
def unix_listen(env, op):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    s.bind(op["path"])
    s.listen(4)
    env.objs[op["as"]] = s


@action
def tcp_listen(env, op):
    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("127.0.0.1", 0))
    s.listen(4)
    env.objs[op["as"]] = s
    env.vars[op["var"]] = str(s.getsockname()[1])


@action
def udp_bind(env, op):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("127.0.0.1", 0))
    env.objs[op["as"]] = s
    env.vars[op["var"]] = str(s.getsockname()[1])


@action
def unix_dgram_bind(env, op):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    s.bind(op["path"])
    env.objs[op["as"]] = s


@action
def unix_dgram_socket(env, op):
    env.objs[op["as"]] = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)


@action
def free_port(env, op):
    """A port that nobody uses right now, by TCP or UDP; `next_free` names a variable for the one after it."""
    for _ in range(50):
        port = unused_tcp_port()
        wanted = [(socket.SOCK_DGRAM, port)]
        if op.get("next_free"):
            wanted.append((socket.SOCK_STREAM, port + 1))
        if all(can_bind(kind, number) for kind, number in wanted):
            break
    env.vars[op["var"]] = str(port)
    if op.get("next_free"):
        env.vars[op["next_free"]] = str(port + 1)


def unused_tcp_port():
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def can_bind(kind, port):
    with socket.socket(socket.AF_INET, kind) as s:
        try:
            s.bind(("127.0.0.1", port))
            return True
        except OSError:
            return False


@action
def accept(env, op):
    listener = env.objs[op["on"]]
    listener.settimeout(patience(op))
    try:
        conn, _ = listener.accept()
    except socket.timeout:
        raise Mismatch("nobody connected to %s" % op["on"])
    env.objs[op["as"]] = conn


@action
def unix_connect(env, op):
    path = op["path"]
    address = "\0" + path[1:] if path.startswith("@") else path
    connect(env, op, socket.AF_UNIX, address)


@action
def tcp_connect(env, op):
    family = socket.AF_INET6 if op.get("v6") else socket.AF_INET
    connect(env, op, family, (op.get("host", "127.0.0.1"), int(op["port"])))
    if op.get("var") and not op.get("fails"):
        env.vars[op["var"]] = str(env.objs[op["as"]].getsockname()[1])


def connect(env, op, family, address):
    end = time.time() + patience(op)
    while True:
        s = socket.socket(family, socket.SOCK_STREAM)
        try:
            s.connect(address)
            break
        except OSError as e:
            s.close()
            if op.get("fails"):
                return
            if time.time() > end:
                raise Mismatch("cannot connect to %r: %s" % (address, e))
            time.sleep(0.02)
    if op.get("fails"):
        s.close()
        raise Mismatch("connecting to %r should have failed" % (address,))
    env.objs[op["as"]] = s


@action
def socketpair(env, op):
    kind = {"stream": socket.SOCK_STREAM, "dgram": socket.SOCK_DGRAM,
            "seqpacket": socket.SOCK_SEQPACKET}[op.get("type", "stream")]
    a, b = op["as"]
    env.objs[a], env.objs[b] = socket.socketpair(socket.AF_UNIX, kind)


@action
def shutdown(env, op):
    env.objs[op["on"]].shutdown(socket.SHUT_WR)


@action
def close_(env, op):
    close(env.objs.pop(op["on"]))


# ---- bytes -----------------------------------------------------------------

@action
def send(env, op):
    obj = env.objs[op["on"]]
    data = hexbytes(op["hex"])
    if isinstance(obj, int):
        os.write(obj, data)
    elif op.get("to_port"):
        obj.sendto(data, ("127.0.0.1", int(op["to_port"])))
    elif op.get("to_path"):
        obj.sendto(data, op["to_path"])
    else:
        obj.sendall(data)


@action
def recv_expect(env, op):
    obj = env.objs[op["on"]]
    want = op["hex"]
    is_dgram = not isinstance(obj, int) and obj.type == socket.SOCK_DGRAM
    got = one_datagram(obj, patience(op)) if is_dgram else some_bytes(
        obj, len(want.replace(" ", "")) // 2, patience(op))
    if got is None or not match_hex(want, got):
        shown = "nothing" if got is None else got.hex() or "an empty datagram"
        raise Mismatch("%s received %s, wanted %s" % (op["on"], shown, want or "an empty datagram"))


def one_datagram(obj, seconds):
    ready, _, _ = select.select([obj], [], [], seconds)
    return obj.recv(65536) if ready else None


def some_bytes(obj, n, seconds):
    got = b""
    end = time.time() + seconds
    while len(got) < n:
        ready, _, _ = select.select([obj], [], [], max(0, end - time.time()))
        part = os.read(fileno(obj), n - len(got)) if ready else b""
        if not part:
            break
        got += part
    return got


@action
def recv_none(env, op):
    obj = env.objs[op["on"]]
    ready, _, _ = select.select([obj], [], [], op.get("ms", 150) / 1000.0)
    if ready:
        data = os.read(fileno(obj), 65536)
        raise Mismatch("%s unexpectedly received %s" % (op["on"], data.hex() or "EOF"))


@action
def recv_eof(env, op):
    obj = env.objs[op["on"]]
    end = time.time() + patience(op)
    while True:
        ready, _, _ = select.select([obj], [], [], max(0, end - time.time()))
        if not ready:
            raise Mismatch("%s: no end of stream" % op["on"])
        try:
            data = os.read(fileno(obj), 65536)
        except ConnectionResetError:
            return
        if not data:
            return
        if not op.get("drain"):
            raise Mismatch("%s: data instead of end of stream: %s" % (op["on"], data.hex()))


# ---- files and interfaces --------------------------------------------------

@action
def open_(env, op):
    env.objs[op["as"]] = os.open(op["path"], os.O_RDWR)


@action
def pipe(env, op):
    a, b = op["as"]
    env.objs[a], env.objs[b] = os.pipe()


@action
def tun_open(env, op):
    fd = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", op["ifname"].encode(), int(op["flags"], 0)))
    env.objs[op["as"]] = fd


@action
def bridge(env, op):
    subprocess.run(["ip", "link", "add", op["name"], "type", "bridge"], check=True)


@action
def link_exists(env, op):
    # sysfs shows the namespace that it was mounted in, so ask the kernel.
    have = any(name == op["name"] for _, name in socket.if_nameindex())
    if have != op.get("present", True):
        raise Mismatch("interface %s %s" % (op["name"], "present" if have else "absent"))


@action
def write_file(env, op):
    with open(op["path"], "w") as f:
        f.write(op.get("text", ""))
    if "mode" in op:
        os.chmod(op["path"], int(op["mode"], 8))


@action
def file_expect(env, op):
    want = op.get("text")
    if not until(patience(op), lambda: read_text(op["path"]) == want):
        raise Mismatch("file %s holds %r" % (op["path"], read_text(op["path"])))


def read_text(path):
    try:
        with open(path) as f:
            return f.read()
    except OSError:
        return None


@action
def mkdir(env, op):
    os.mkdir(op["path"])


@action
def path_exists(env, op):
    if os.path.exists(op["path"]) != op.get("present", True):
        raise Mismatch("path %s: existence is not %s" % (op["path"], op.get("present", True)))


@action
def sleep(env, op):
    time.sleep(op["ms"] / 1000.0)


# ---- peers -----------------------------------------------------------------

@action
def vu_backend(env, op):
    env.objs[op["as"]] = VuBackend(op)


@action
def vu_expect(env, op):
    backend = env.objs[op["on"]]
    if not until(patience(op), lambda: backend.requests == op["requests"]):
        raise Mismatch("vhost-user requests were %r, wanted %r" % (backend.requests, op["requests"]))


@action
def vde_switch(env, op):
    env.objs[op["as"]] = VdeSwitch(op["path"])


@action
def vde_expect(env, op):
    switch = env.objs[op["on"]]
    request = until(patience(op), lambda: switch.request)
    if request is None:
        raise Mismatch("no VDE connection request")
    got = {"magic": request[0], "version": request[1], "type": request[2] & 0xff, "port": request[2] >> 8}
    want = {"magic": 0xfeedface, "version": 3, "type": op.get("type", 0), "port": op.get("port", 0)}
    if got != want:
        raise Mismatch("VDE request %r, wanted %r" % (got, want))


@action
def vde_tx(env, op):
    env.objs[op["on"]].data.send(hexbytes(op["hex"]))


@action
def vde_rx(env, op):
    got = one_datagram(env.objs[op["on"]].data, patience(op)) or b""
    if not match_hex(op["hex"], got):
        raise Mismatch("VDE data socket received %s" % got.hex())
