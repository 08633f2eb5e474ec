"""What a step came to, in a form that two right implementations have in common.

Frames other than TCP's are compared one by one, in order. Of TCP what counts is what was said: which bytes of the stream,
whether it was begun, finished or reset and where, and how much was acknowledged. How that was cut into segments, and
whether an acknowledgement came alone, is everybody's own affair.
"""
from . import frames


class Connection:
    """What was said on one connection, in one direction, in one step."""

    def __init__(self):
        self.stream = {}
        self.copies = {}
        self.begun = self.finished = self.acknowledged = None
        self.resets = set()
        self.mss = None

    def say(self, flags, seq, ack, data, options):
        if "R" in flags:
            self.resets.add((seq, ack if "A" in flags else None))
            return
        if "S" in flags:
            self.begun = "".join(sorted(flags & {"S", "A"}))
            self.mss = mss(options)
            seq += 1
        for at, byte in enumerate(data, seq):
            self.stream[at] = byte
            self.copies[at] = self.copies.get(at, 0) + 1
        if "F" in flags:
            self.finished = seq + len(data)
        if "A" in flags:
            self.acknowledged = max(ack, self.acknowledged or 0)

    def facts(self):
        # Sent again or not, but not how often.
        again = max(self.copies.values(), default=0) > 1
        stream = bytes(self.stream[at] for at in sorted(self.stream))
        return (self.begun, self.mss, min(self.stream, default=None), stream, self.finished,
                self.acknowledged, sorted(self.told_resets(), key=str), again)

    def told_resets(self):
        """Resets without those that only say again, to a segment which came too late, what one had said in full."""
        full = {seq for seq, ack in self.resets if ack is not None}
        return {(seq, ack) for seq, ack in self.resets if ack is not None or seq not in full}

    def describe(self):
        begun, size, at, stream, finished, acknowledged, resets, again = self.facts()
        said = ["began %s mss %s" % (begun, size)] if begun else []
        said += ["%d bytes at %s%s: %s" % (len(stream), at, " twice" if again else "", stream[:40])] if stream else []
        said += ["finished at %s" % finished] if finished is not None else []
        said += ["acknowledged %s" % acknowledged] if acknowledged is not None else []
        return ", ".join(said + ["reset %s" % (reset,) for reset in resets])


def mss(options):
    """The first maximum segment size among options."""
    while options and options[0]:
        if options[0] == 1:
            options = options[1:]
        elif len(options) >= 4 and options[0] == 2:
            return int.from_bytes(options[2:4], "big")
        elif len(options) >= 2 and options[1] >= 2:
            options = options[options[1]:]
        else:
            break
    return None


class Facts:
    """All that was said in a step."""

    def __init__(self):
        self.frames, self.connections = [], {}

    def connection(self, key):
        return self.connections.setdefault(key, Connection())

    def tcp(self):
        return {key: connection.facts() for key, connection in self.connections.items()}


def expected(step):
    """What a vector expects."""
    facts = Facts()
    for frame in step.get("expect", []):
        tcp = frame.get("tcp")
        if tcp is None:
            facts.frames.append(frame["frame"])
            continue
        data = bytes.fromhex(tcp["data_hex"]) if "data_hex" in tcp else payload(frame)
        key = (tcp["sport"], tcp["dport"])
        facts.connection(key).say(set(tcp["flags"]), relative(tcp["seq"]), relative(tcp["ack"]), data,
                                  bytes.fromhex(tcp["options"]))
    return facts


def payload(frame):
    """What a recorded segment carries; its digits are all known there."""
    digits = frame["frame"].replace("?", "0")
    return frames.segment(bytes.fromhex(digits)).data


def relative(value):
    """A recorded number: from where its side began, or as it is."""
    return int(value.partition("+")[2] or 0) if isinstance(value, str) else value


def came(received, numbers, before=frozenset()):
    """What came, in the same form; `numbers` are where peers' numbers begin, by connection.

    What was said in a step `before` is not said anew: when it is sent again is everybody's own affair.
    """
    facts = Facts()
    for frame in received:
        segment = frames.segment(frame)
        if segment is None:
            facts.frames.append(frame)
            continue
        key = (segment.sport, segment.dport)
        if "S" in segment.flags:
            numbers[key] = segment.seq
        # Before anything has begun, numbers are as they are.
        seq = segment.seq - numbers[key] & 0xFFFFFFFF if key in numbers else segment.seq
        ack = segment.ack - frames.FIRST_NUMBER & 0xFFFFFFFF
        if "R" in segment.flags and "A" not in segment.flags:
            ack = 0
        if not is_known(key, seq, segment, before):
            facts.connection(key).say(segment.flags, seq, ack, segment.data, segment.options)
    return facts


def is_known(key, seq, segment, before):
    """Whether a segment is nothing but a beginning, bytes or an end that came before."""
    numbers = [(key, at) for at in taken(seq, segment)]
    return "R" not in segment.flags and bool(numbers) and before.issuperset(numbers)


def taken(seq, segment):
    """The numbers that a segment takes."""
    return range(seq, seq + len(segment.data) + ("S" in segment.flags) + ("F" in segment.flags))


def numbers_taken(received, numbers):
    """The numbers of streams that frames take: what is sent with them later is sent again."""
    found = set()
    for frame in received:
        segment = frames.segment(frame)
        key = segment and (segment.sport, segment.dport)
        if segment and key in numbers and "R" not in segment.flags:
            found.update((key, at) for at in taken(segment.seq - numbers[key] & 0xFFFFFFFF, segment))
    return found


def is_same(wanted, found):
    """Whether the same was said. What must be sent again is; what need not be may be, on a slow machine."""
    if wanted is None or found is None:
        return wanted is found
    return wanted[:-1] == found[:-1] and (found[-1] or not wanted[-1])


def difference(wanted, found):
    """What is wrong, as text; empty if nothing is."""
    wrong = []
    for index in range(max(len(wanted.frames), len(found.frames))):
        want = wanted.frames[index] if index < len(wanted.frames) else None
        have = found.frames[index] if index < len(found.frames) else None
        if want is None or have is None or not frames.matches(want, have):
            wrong.append("frame %d:\n    expected %s\n    received %s" % (
                index, want and frames.without_padding(want), have and frames.without_padding(have).hex()))
    wanted_tcp, found_tcp = wanted.tcp(), found.tcp()
    for key in sorted(set(wanted_tcp) | set(found_tcp)):
        if not is_same(wanted_tcp.get(key), found_tcp.get(key)):
            said = [facts.connections[key].describe() if key in facts.connections else "nothing"
                    for facts in (wanted, found)]
            wrong.append("TCP %d to %d:\n    expected %s\n    received %s" % (*key, *said))
    return "\n".join(wrong)


def is_complete(wanted, found):
    """Whether nothing is missing that must come."""
    return len(found.frames) >= len(wanted.frames) and all(
        is_same(facts, found.tcp().get(key)) for key, facts in wanted.tcp().items())
