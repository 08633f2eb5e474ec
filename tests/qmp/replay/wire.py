"""One QMP connection: bytes out as the vector gives them, messages in."""
import array
import base64
import json
import select
import socket
import time

from .host import hexbytes


class Closed(Exception):
    """The server closed the connection."""


def encode(x):
    """What is sent, as a list of (bytes, seconds to wait after them)."""
    if isinstance(x, str):
        return [(x.encode("utf-8", "surrogatepass"), 0)]
    if isinstance(x, list):
        return [(b"".join(i.encode() if isinstance(i, str) else line(i) for i in x), 0)]
    if not isinstance(x, dict):
        raise ValueError("cannot send %r" % (x,))
    if set(x) == {"$hex"}:
        return [(hexbytes(x["$hex"]), 0)]
    if set(x) == {"$b64"}:
        return [(base64.b64decode(x["$b64"]), 0)]
    if set(x) == {"$repeat"}:
        return [(x["$repeat"][0].encode() * x["$repeat"][1], 0)]
    if set(x) == {"$concat"}:
        return [(b"".join(b for part in x["$concat"] for b, _ in encode(part)), 0)]
    if "$chunks" in x:
        delay = x.get("delay_ms", 20) / 1000.0
        return [(b, delay) for part in x["$chunks"] for b, _ in encode(part)]
    return [(line(x), 0)]


def line(command):
    return json.dumps(command).encode() + b"\n"


class Qmp:
    def __init__(self, path, timeout=5.0, alive=None):
        end = time.time() + timeout
        while True:
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                self.socket.connect(path)
                break
            except OSError:
                self.socket.close()
                if alive is not None and not alive():
                    raise Closed("server process ended before it listened")
                if time.time() > end:
                    raise
                time.sleep(0.01)
        self.unread = b""
        self.part = b""
        # Lines as they came, in order.
        self.raw = []
        self.eof = False

    def close(self):
        self.socket.close()

    def send(self, data, fds=()):
        try:
            if fds:
                rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
                data = data[self.socket.sendmsg([data], rights):]
            if data:
                self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            self.eof = True

    def recv(self, timeout):
        """Next message, or None at timeout. Raises Closed at end of stream."""
        end = time.time() + timeout
        while True:
            message = self.take_message()
            if message is not None:
                return message
            ready, _, _ = select.select([self.socket], [], [], max(0, end - time.time()))
            if not ready:
                return None
            try:
                data = self.socket.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data:
                self.eof = True
                raise Closed()
            self.unread += data

    def take_message(self):
        """A message may span lines: a pretty-printing monitor's does."""
        while b"\n" in self.unread:
            text, self.unread = self.unread.split(b"\n", 1)
            self.raw.append(text + b"\n")
            self.part += text + b"\n"
            if not self.part.strip():
                self.part = b""
                continue
            try:
                message = json.loads(self.part.decode("utf-8"))
            except ValueError:
                continue
            self.part = b""
            return message
        return None
