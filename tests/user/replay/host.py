"""Who is there on the host's side: servers and clients on the loopback interface, and files."""
import os
import socket
import struct
import threading


class Host:
    """The peers of one vector, each in a thread of its own."""

    def __init__(self, folder, resolv_conf):
        self.folder, self.servers_file = folder, resolv_conf
        self.open, self.client = [], None
        # Servers that reset do so in the last step: the guest has its connection by then.
        self.may_reset = threading.Event()

    def prepare(self, action):
        getattr(self, action["op"])(action)

    def file(self, action):
        path = os.path.join(self.folder, action["path"])
        os.makedirs(os.path.dirname(path), exist_ok=True)
        counters = b"".join(n.to_bytes(4, "big") for n in range(-(-action.get("bytes", 0) // 4)))
        with open(path, "wb") as file:
            file.write(action["text"].encode() if "text" in action else counters[:action["bytes"]])

    def resolv_conf_is(self, text):
        with open(self.servers_file, "w", encoding="ascii") as file:
            file.write(text)

    def bound(self, action, kind):
        address = action.get("address", "0.0.0.0")
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        server = socket.socket(family, kind)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((address, action["port"]))
        self.open.append(server)
        return server

    def udp_server(self, action):
        server = self.bound(action, socket.SOCK_DGRAM)
        mode, _, size = action.get("mode", "echo").partition(":")

        def answer(data):
            if mode == "grow":
                return bytes(at & 255 for at in range(int(size)))
            return data[:2] + b"\x81\x80" + data[4:] if mode == "dns" else data

        def serve():
            while True:
                data, peer = server.recvfrom(65536)
                if peer is None:
                    return
                server.sendto(answer(data), peer)
        start(serve)

    def tcp_server(self, action):
        server = self.bound(action, socket.SOCK_STREAM)
        server.listen()

        def serve():
            while True:
                connection, _peer = server.accept()
                self.open.append(connection)
                start(talk, self, connection, action.get("mode", "echo"), action.get("hello", "").encode())
        start(serve)

    def tcp_connect(self, action):
        self.client = socket.socket()
        self.open.append(self.client)
        self.client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.client.bind(("127.0.0.1", action["source"]))
        self.client.settimeout(10)
        self.client.connect(("127.0.0.1", action["port"]))

    def tcp_send(self, action):
        self.client.sendall(action["text"].encode())

    def tcp_expect(self, action):
        text = b""
        while len(text) < len(action["text"]):
            more = self.client.recv(65536)
            if not more:
                break
            text += more
        assert text == action["text"].encode(), "the host's client read %r" % text

    def tcp_shutdown(self, _action):
        self.client.shutdown(socket.SHUT_WR)

    def udp_send(self, action):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.bind(("127.0.0.1", action["source"]))
            client.sendto(action["text"].encode(), ("127.0.0.1", action["port"]))

    def end(self):
        self.may_reset.set()
        for opened in self.open:
            # A thread that waits in it is woken by this, and not by closing.
            try:
                opened.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            opened.close()


def talk(host, connection, mode, hello):
    """One connection to a server, to its end."""
    connection.sendall(hello)
    if mode == "reset":
        host.may_reset.wait()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
    elif mode == "close":
        connection.shutdown(socket.SHUT_WR)
        drain(connection)
    elif mode == "late":
        drain(connection)
        connection.sendall(b"after your FIN")
        connection.close()
    elif mode == "sink":
        drain(connection)
    else:
        while data := connection.recv(65536):
            connection.sendall(data)
        connection.close()


def drain(connection):
    while connection.recv(65536):
        pass


def start(run, *arguments):
    """A thread that ends quietly when its socket is closed."""
    def guarded():
        try:
            run(*arguments)
        except (OSError, ValueError):
            pass
    threading.Thread(target=guarded, daemon=True).start()
