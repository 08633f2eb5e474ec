"""Command line of the replay: `python3 tests/qmp/replay [options] [FILES]`, from the checkout."""
import argparse
import fnmatch
import glob
import json
import os
import shutil
import sys
import tempfile
import time

if not __package__:
    # Started as a folder: make it the package that it is.
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    __package__ = "replay"

from .server import Server, adopt_orphans, capabilities, enter_netns
from .vector import run_vector

HERE = os.path.dirname(os.path.abspath(__file__))
CHECKOUT = os.path.normpath(os.path.join(HERE, "..", "..", ".."))

FRAMEWIRE = "run --qmp unix:{sock},server=on,wait=off --runtime-dir {tmp}/run"
QEMU = "qemu-system-x86_64 {profile_args} -nodefaults -display none -S -qmp unix:{sock},server=on,wait=off"
# Name -> what {profile_args} means. A server that makes NICs without buses of its own needs nothing of it.
QEMU_PROFILES = {
    "none": "-machine none",
    "q35": "-machine q35 -accel tcg -m 64 -device pcie-root-port,id=rp0,chassis=1 "
           "-device pcie-root-port,id=rp1,chassis=2 -device pcie-root-port,id=rp2,chassis=3",
}


def arguments():
    ap = argparse.ArgumentParser(prog="replay", description="Replay recorded QMP conversations against a server.")
    ap.add_argument("paths", nargs="*", help="vector files or folders (default: ../vectors)")
    ap.add_argument("--socket", help="QMP unix socket of a server that already runs; all vectors share it, so their "
                    "leftovers are cleaned up as far as possible")
    ap.add_argument("--server", metavar="TEMPLATE", help="command that starts a server; {sock} {tmp} {profile} "
                    "{profile_args} are replaced (default: this checkout's framewire, debug build)")
    ap.add_argument("--qemu", action="store_true", help="replay against the installed QEMU")
    ap.add_argument("--profile", action="append", default=[], metavar="NAME=ARGS",
                    help="what {profile_args} means for a profile")
    ap.add_argument("--fresh", choices=["vector", "file"], default="vector",
                    help="start a server per vector (default) or per file and profile")
    ap.add_argument("--group", action="append", help="only these groups (shell pattern)")
    ap.add_argument("--name", action="append", help="only these vectors (shell pattern)")
    ap.add_argument("--slow", action="store_true", help="also run vectors tagged slow")
    ap.add_argument("--without", action="append", default=[], metavar="TAG",
                    help="treat this requirement as not met")
    ap.add_argument("--netns", action="store_true", help="move into a private network namespace first")
    ap.add_argument("--json", metavar="FILE", help="write a JSON report")
    ap.add_argument("--scale", type=float, default=1.0, help="multiply time-outs (slow machine)")
    ap.add_argument("--settle", type=float, default=0.06, help="seconds of silence that end a step")
    ap.add_argument("--log", help="append the servers' output to this file")
    ap.add_argument("--list", action="store_true", help="only list the vectors")
    ap.add_argument("-q", "--quiet", action="store_true")
    return ap.parse_args()


def load(paths):
    files = []
    for path in paths:
        if os.path.isdir(path):
            files += sorted(glob.glob(os.path.join(path, "**", "*.jsonl"), recursive=True))
        else:
            files.append(path)
    vectors = []
    for name in files:
        with open(name, encoding="utf-8") as f:
            for text in filter(None, map(str.strip, f)):
                vector = json.loads(text)
                vector["_file"] = name
                vectors.append(vector)
    return vectors


def chosen(vectors, args):
    def wanted(patterns, value):
        return not patterns or any(fnmatch.fnmatch(value, p) for p in patterns)
    return [v for v in vectors if wanted(args.group, v["group"]) and wanted(args.name, v["name"])]


class Runner:
    """Runs vectors one after the other, each on the server that the options say."""

    def __init__(self, args):
        self.args = args
        self.template, self.profiles = template_of(args)
        self.have = capabilities() - set(args.without)
        if args.slow:
            self.have.add("slow")
        self.server = None
        self.server_key = None

    def run(self, vector):
        missing = sorted(set(vector.get("requires", [])) - self.have)
        if missing:
            return "skip", "needs " + ", ".join(missing)
        if self.args.socket and needs_own_server(vector):
            return "skip", "needs a server of its own"
        tmp = tempfile.mkdtemp(prefix="qt.")
        try:
            wrong = self.play(vector, tmp)
        finally:
            shutil.rmtree(tmp, ignore_errors=True)
        return ("fail", wrong) if wrong else ("pass", None)

    def play(self, vector, tmp):
        if self.args.socket:
            return self.run_on(self.args.socket, None, vector, tmp, shared=True)
        if self.args.fresh == "vector" or needs_own_server(vector):
            # What is left when this server has ended is looked for among all children: no other may run.
            self.end()
            server = self.start(vector)
            wrong = self.run_on(server.sock, server, vector, tmp, shared=False)
            return wrong_end(wrong, server)
        server = self.shared_server(vector)
        return self.run_on(server.sock, server, vector, tmp, shared=True)

    def run_on(self, sock, server, vector, tmp, shared):
        return run_vector(vector, sock, tmp, server and server.alive, self.args.scale, self.args.settle, shared)

    def start(self, vector):
        return Server(self.template, vector.get("profile", "none"), self.profiles, self.args.log)

    def shared_server(self, vector):
        key = (vector["_file"], vector.get("profile", "none"))
        if self.server is None or key != self.server_key or not self.server.alive():
            self.end()
            self.server, self.server_key = self.start(vector), key
        return self.server

    def end(self):
        if self.server:
            self.server.stop()
        self.server = None


def needs_own_server(vector):
    """Says so, or leaves behind what no command takes away: a device without an id."""
    steps = vector.get("setup", []) + [step.get("send") for step in [vector] + vector.get("then", [])]
    devices = [step for step in steps if isinstance(step, dict) and step.get("execute") == "device_add"]
    return vector.get("own_server") or any("id" not in step["arguments"] for step in devices)


def wrong_end(wrong, server):
    """What was wrong with the vector, or else with the end of its server."""
    if wrong and not server.alive():
        wrong += " [server ended, status %s]" % server.process.returncode
    end = server.stop()
    return wrong or end


def template_of(args):
    profiles = dict(QEMU_PROFILES) if args.qemu else {}
    for item in args.profile:
        name, _, value = item.partition("=")
        profiles[name] = value
    if args.server:
        return args.server, profiles
    if args.qemu:
        return QEMU, profiles
    return os.path.join(CHECKOUT, "target", "debug", "framewire") + " " + FRAMEWIRE, profiles


def report(results, seconds):
    groups = {}
    for r in results:
        counts = groups.setdefault(r["group"], {"pass": 0, "fail": 0, "skip": 0})
        counts[r["result"]] += 1
    totals = {k: sum(g[k] for g in groups.values()) for k in ("pass", "fail", "skip")}
    return {"totals": totals, "seconds": round(seconds, 2), "groups": groups, "vectors": results}


def main():
    # Some vectors nest deeper than Python's own parser likes.
    sys.setrecursionlimit(20000)
    args = arguments()
    vectors = chosen(load(args.paths or [os.path.join(HERE, "..", "vectors")]), args)
    if args.list:
        for v in vectors:
            print(v["group"], v["name"])
        return 0
    if args.netns:
        enter_netns()
    adopt_orphans()
    runner = Runner(args)
    results = []
    start = time.time()
    for v in vectors:
        t = time.time()
        result, why = runner.run(v)
        results.append({"name": v["name"], "group": v["group"], "result": result, "why": why,
                        "ms": int((time.time() - t) * 1000)})
        if result == "fail" and not args.quiet:
            print("FAIL %-18s %s\n     %s" % (v["group"], v["name"], why), flush=True)
    runner.end()
    done = report(results, time.time() - start)
    if args.json:
        with open(args.json, "w") as f:
            json.dump(done, f, indent=1)
    if not args.quiet:
        for name, counts in sorted(done["groups"].items()):
            print("%-24s pass %3d  fail %3d  skip %3d" % (name, counts["pass"], counts["fail"], counts["skip"]))
    print("pass %(pass)d  fail %(fail)d  skip %(skip)d" % done["totals"])
    return 1 if done["totals"]["fail"] or not results else 0


if __name__ == "__main__":
    sys.exit(main())
