"""Peers that answer just enough for a start-up: a vhost-user back end and a VDE switch.

Real peers (vde_switch, QEMU) are used elsewhere; here the bytes of the conversation itself are checked, which a real
peer keeps to itself.
"""
import os
import socket
import struct
import threading
import time


class Peer(threading.Thread):
    """A thread whose blocking calls end when its sockets are shut down."""

    def __init__(self):
        super().__init__(daemon=True)
        self.sockets = []

    def run(self):
        try:
            self.talk()
        except OSError:
            pass

    def close(self):
        for s in self.sockets:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            s.close()
        self.join(1)


class VuBackend(Peer):
    """A vhost-user back end: keeps the requests' numbers, answers those that want a value."""

    HEADER = struct.Struct("<III")
    REPLY = struct.Struct("<IIIQ")

    def __init__(self, op):
        super().__init__()
        self.path = op["path"]
        self.delay = op.get("delay_ms", 0) / 1000.0
        # GET_FEATURES, GET_PROTOCOL_FEATURES, GET_QUEUE_NUM
        self.values = {1: int(op.get("features", "0"), 0),
                       15: int(op.get("protocol_features", "0"), 0),
                       17: int(op.get("queue_num", 1))}
        self.requests = []
        self.listener = None
        if op.get("listen"):
            self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.listener.bind(self.path)
            self.listener.listen(1)
            self.sockets.append(self.listener)
        self.start()

    def talk(self):
        conn = self.listener.accept()[0] if self.listener else self.connect()
        if conn is None:
            return
        self.sockets.append(conn)
        while True:
            header = self.exactly(conn, self.HEADER.size)
            if header is None:
                return
            request, _flags, size = self.HEADER.unpack(header)
            if size and self.exactly(conn, size) is None:
                return
            self.requests.append(request)
            if request in self.values:
                conn.sendall(self.REPLY.pack(request, 0x5, 8, self.values[request]))

    def connect(self):
        time.sleep(self.delay)
        end = time.time() + 5
        while time.time() < end:
            conn = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                conn.connect(self.path)
                return conn
            except OSError:
                conn.close()
                time.sleep(0.02)
        return None

    @staticmethod
    def exactly(conn, n):
        data = b""
        while len(data) < n:
            part, fds, _, _ = socket.recv_fds(conn, n - len(data), 8)
            for fd in fds:
                os.close(fd)
            if not part:
                return None
            data += part
        return data


class VdeSwitch(Peer):
    """The part of a VDE switch that a plug talks to: DIR/ctl and one data socket."""

    # magic, version, type | port << 8, sockaddr_un of the plug, description
    REQUEST = struct.Struct("=III110s128s")
    # Everything before the description, which may be cut short.
    REQUEST_MIN = 122

    def __init__(self, path):
        super().__init__()
        os.mkdir(path)
        self.dir = path
        self.request = None
        self.control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.control.bind(path + "/ctl")
        self.control.listen(1)
        self.data = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.data.bind(path + "/data")
        self.sockets += [self.control, self.data]
        self.start()

    def talk(self):
        conn, _ = self.control.accept()
        self.sockets.append(conn)
        got = b""
        while len(got) <= self.REQUEST_MIN:
            part = conn.recv(4096)
            if not part:
                return
            got += part
        request = self.REQUEST.unpack(got.ljust(self.REQUEST.size, b"\0")[:self.REQUEST.size])
        # The plug removes its path again once it has the reply, so connect before replying.
        self.data.connect(request[3][2:].split(b"\0")[0].decode())
        self.request = request
        conn.sendall(struct.pack("=H108s", socket.AF_UNIX, (self.dir + "/data").encode()))
