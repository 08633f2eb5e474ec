"""Frames: segments of TCP made, and what came back read as far as it is compared."""
import ipaddress
import struct

GUEST_MAC = bytes.fromhex("525400123456")
ALIAS_MAC = bytes.fromhex("52550a000202")
ALIAS_MAC6 = bytes.fromhex("525600000002")
FLAGS = "FSRPAU"
TCP, IPV4, IPV6 = 6, 0x0800, 0x86DD
# Where the guest's own sequence numbers begin.
FIRST_NUMBER = 1000


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def tcp_frame(text, numbers):
    """A segment as a vector describes it; `numbers` is where the peer's sequence numbers begin."""
    source, target = (ipaddress.ip_address(text.get(k, d)) for k, d in (("src", "10.0.2.15"), ("dst", "10.0.2.2")))
    options = bytes.fromhex(text.get("opts", ""))
    options += b"\0" * (-len(options) % 4)
    flags = sum(1 << FLAGS.index(flag) for flag in text["flags"])
    header = struct.pack("!HHIIBBHHH", text["sport"], text["dport"], number(text.get("seq", 0), numbers),
                         number(text.get("ack", 0), numbers), (20 + len(options)) // 4 << 4, flags,
                         text.get("window", 65535), 0, text.get("urg", 0)) + options
    segment = header + text.get("data", "").encode()
    pseudo = source.packed + target.packed + struct.pack("!IxxxB", len(segment), TCP)
    total = checksum(pseudo + segment) ^ (0x5555 if text.get("bad_sum") else 0)
    segment = segment[:16] + struct.pack("!H", total) + segment[18:]
    if source.version == 6:
        packet = struct.pack("!IHBB", 6 << 28, len(segment), TCP, 64) + source.packed + target.packed
        return ALIAS_MAC6 + GUEST_MAC + struct.pack("!H", IPV6) + packet + segment
    packet = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(segment), 0x1234, 0, 64, TCP, 0, source.packed, target.packed)
    packet = packet[:10] + struct.pack("!H", checksum(packet)) + packet[12:]
    return ALIAS_MAC + GUEST_MAC + struct.pack("!H", IPV4) + packet + segment


def number(value, numbers):
    """A number as vectors write it: counted from where one of the two sides began, or as it is."""
    if isinstance(value, int):
        return value
    base, _, further = value.partition("+")
    return (FIRST_NUMBER if base == "c" else numbers.get("s", 0)) + int(further or 0) & 0xFFFFFFFF


class Segment:
    """A segment of TCP that came."""

    def __init__(self, source, target, data):
        self.sport, self.dport, self.seq, self.ack, offset, flags, self.window = struct.unpack("!HHIIBBH", data[:16])
        self.source, self.target = source, target
        offset = offset >> 4 << 2
        self.flags = {name for bit, name in enumerate(FLAGS) if flags >> bit & 1}
        self.options, self.data = data[20:offset], data[offset:]
        self.connection = (source, self.sport, target, self.dport)


def segment(frame):
    """The segment in a frame, or None if it carries something else."""
    packet = frame[14:]
    kind = int.from_bytes(frame[12:14], "big")
    if kind == IPV4 and len(packet) >= 40 and packet[9] == TCP and not packet[6] & 0x3F:
        length, header = int.from_bytes(packet[2:4], "big"), (packet[0] & 15) * 4
        return Segment(packet[12:16], packet[16:20], packet[header:length])
    if kind == IPV6 and len(packet) >= 60 and packet[6] == TCP:
        length = int.from_bytes(packet[4:6], "big")
        return Segment(packet[8:24], packet[24:40], packet[40:40 + length])
    return None


def without_padding(frame):
    """A frame as long as what it carries says, in hexadecimal digits or as bytes."""
    unit = 2 if isinstance(frame, str) else 1
    head = bytes.fromhex(frame[:40].replace("?", "0")) if unit == 2 else frame[:20]
    kind = int.from_bytes(head[12:14], "big")
    length = {0x0806: 42, IPV4: 14 + int.from_bytes(head[16:18], "big"),
              IPV6: 54 + int.from_bytes(head[18:20], "big")}.get(kind)
    return frame[:length * unit] if length else frame


def matches(expected, frame):
    """Whether a frame is as expected, but for digits that may differ and for padding."""
    expected, frame = without_padding(expected), without_padding(frame).hex()
    return len(expected) == len(frame) and all(a == b or a == "?" for a, b in zip(expected, frame))
