"""Replays recorded exchanges of the `user` netdev: python3 replay --server COMMAND --json FILE [--only NAME] FILE...

In COMMAND, {sock} and {tmp} are replaced. A report says of each exchange which of its steps differ, and how. The list of
differences says what is expected instead of what was recorded, and what is not replayed since it is not built. Run as
root: it makes a network namespace of its own, in which there is nothing but loopback.
"""
import argparse
import json
import os
import re
import shutil
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from replay import facts, frames, port  # noqa: E402
from replay.host import Host  # noqa: E402

# After all has come that was expected, more would be wrong. What comes later still is found by the next step.
QUIET_S = 0.03
# A step that must not be answered gets a little longer.
SILENCE_S = 0.06


class Exchange:
    """One recorded exchange with a port of its own."""

    def __init__(self, vector, device, resolv_conf):
        self.vector, self.device = vector, device
        self.folder = tempfile.mkdtemp(prefix="ux.")
        self.host = Host(self.folder, resolv_conf)
        self.host.resolv_conf_is("nameserver 127.0.0.1\n")
        self.numbers, self.received, self.before = {}, {}, set()

    def run(self):
        """The steps that differ: pairs of index and text."""
        for action in self.vector.get("host", []):
            if action["op"] == "resolv_conf":
                self.host.resolv_conf_is(action["text"])
            else:
                self.host.prepare(action)
        options = [(key, value.replace("${TMP}", self.folder)) for key, value in self.vector["options"]]
        wire = port.Wire(self.device, options, self.folder)
        try:
            steps = enumerate(self.vector["steps"])
            return [(index, text) for index, step in steps if (text := self.step(wire, step, index))]
        finally:
            wire.end()

    def step(self, wire, step, index):
        try:
            if "hmp" in step:
                return compare_text(step["answer"], self.device.human(step["hmp"]))
            for action in step.get("host", []):
                self.host.prepare(action)
        except (AssertionError, OSError) as error:
            return str(error)
        wanted = facts.expected(step)
        is_last = index == len(self.vector["steps"]) - 1
        if "survive" in self.vector:
            return self.survive(wire, step, is_last)
        for item in step.get("send", []):
            wire.send(self.frame(item))
        if is_last:
            self.host.may_reset.set()
        found = self.collect(wire, wanted)
        self.received[index] = [frame.hex() for frame in found.frames]
        return facts.difference(wanted, found)

    def frame(self, item):
        if isinstance(item, str):
            return bytes.fromhex(item)
        tcp = item["tcp"]
        return frames.tcp_frame(tcp, {"s": self.numbers.get((tcp["dport"], tcp["sport"]), 0)})

    def collect(self, wire, wanted):
        received = []
        end = time.monotonic() + PATIENCE[0]
        found = facts.came(received, self.numbers, self.before)
        while not facts.is_complete(wanted, found) and time.monotonic() < end:
            frame = wire.receive(end - time.monotonic())
            if frame is not None:
                received.append(frame)
                found = facts.came(received, self.numbers, self.before)
        while (frame := wire.receive(QUIET_S if received else SILENCE_S)) is not None:
            received.append(frame)
        found = facts.came(received, self.numbers, self.before)
        self.before |= facts.numbers_taken(received, self.numbers)
        return found

    def survive(self, wire, step, is_last):
        """Hostile frames may be answered as one likes; the last one must be answered as QEMU would if it lived."""
        for item in step.get("send", []):
            wire.send(self.frame(item))
        if not is_last:
            facts.came(iter(lambda: wire.receive(SILENCE_S), None), self.numbers)
            return ""
        end = time.monotonic() + PATIENCE[0]
        request = bytes.fromhex(step["send"][-1])
        while time.monotonic() < end:
            frame = wire.receive(end - time.monotonic())
            if frame is not None and answers(request, frame):
                return "" if self.device.is_alive() else "the process has ended"
        return "the last frame was not answered"

    def end(self):
        self.host.end()
        shutil.rmtree(self.folder, ignore_errors=True)


PATIENCE = [port.PATIENCE_S]


def answers(request, frame):
    """Whether a frame answers the last one of a hostile exchange: an echo or ARP."""
    if request[12:14] == b"\x08\x06":
        return frame[12:14] == b"\x08\x06" and frame[20:22] == b"\0\2"
    return frame[12:14] == b"\x08\0" and frame[23] == 1 and frame[34] == 0 and frame[38:] == request[38:]


def compare_text(expected, found):
    """Descriptors' numbers are nobody's business, nor how long a flow has to live."""
    def plain(text):
        text = re.sub(r"\[\d+ sec\]", "[N sec]", text)
        text = re.sub(r"(\][ ]+)(N|\d+)(?= )", r"\1N", text)
        return [re.sub(r" +", " ", line) for line in text.splitlines()]
    if plain(expected) == plain(found):
        return ""
    return "expected %r\n    received %r" % (expected, found)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", required=True)
    parser.add_argument("--json", required=True)
    parser.add_argument("--log", default=os.devnull)
    parser.add_argument("--differences", help="the list of what is expected to differ")
    parser.add_argument("--only")
    parser.add_argument("--patience", type=float, default=port.PATIENCE_S)
    parser.add_argument("files", nargs="+")
    given = parser.parse_args()
    PATIENCE[0] = given.patience
    differences = Differences(given.differences)
    folder = tempfile.mkdtemp(prefix="ur.")
    resolv_conf = os.path.join(folder, "resolv.conf")
    with open(resolv_conf, "w", encoding="ascii"):
        pass
    port.enter_namespaces(resolv_conf)
    device = port.Device(given.server, folder, given.log)
    report = []
    try:
        for path in given.files:
            with open(path, encoding="utf-8") as file:
                vectors = [json.loads(line) for line in file]
            for vector in vectors:
                if not given.only or re.search(given.only, vector["name"]):
                    report.append(replay(vector, differences, device, resolv_conf))
    finally:
        device.end()
        shutil.rmtree(folder, ignore_errors=True)
    with open(given.json, "w", encoding="utf-8") as file:
        json.dump({"exchanges": report}, file)


class Differences:
    """What is not answered as it was recorded, and why."""

    def __init__(self, path):
        self.not_built, self.different = {}, []
        if path:
            with open(path, encoding="utf-8") as file:
                listed = json.load(file)
            self.not_built, self.different = listed["not_built"], listed["different"]

    def missing(self, vector):
        """What an exchange needs that is not built; empty if nothing."""
        return self.not_built.get(vector["name"]) or self.not_built.get(vector["group"], "")

    def amend(self, vector):
        """Puts what is expected here in the place of what was recorded."""
        for different in self.different:
            if different["exchange"] == vector["name"]:
                for step, frames_instead in different["instead"].items():
                    vector["steps"][int(step)]["expect"] = frames_instead


def replay(vector, differences, device, resolv_conf):
    said = {"name": vector["name"], "group": vector["group"], "steps": [], "why": ""}
    if missing := differences.missing(vector):
        return {**said, "result": "not built", "why": missing}
    differences.amend(vector)
    exchange = Exchange(vector, device, resolv_conf)
    try:
        wrong = exchange.run()
    except (AssertionError, OSError) as error:
        wrong = [(-1, str(error))]
    finally:
        exchange.end()
    said["steps"] = [index for index, _text in wrong]
    said["received"] = {index: exchange.received.get(index) for index in said["steps"]}
    return {**said, "result": "fail" if wrong else "pass",
            "why": "\n".join("step %d: %s" % difference for difference in wrong)}


main()
