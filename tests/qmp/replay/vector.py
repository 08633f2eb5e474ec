"""One vector, step by step.

Replies and events of a step are collected apart until as many as wanted have come and the line stays silent; what
comes beyond that fails the vector. Their order relative to each other is not checked.
"""
import json
import time

from . import host
from .host import Env, Mismatch, fileno
from .matching import match
from .wire import Closed, Qmp, encode

TIMESTAMP = {"seconds": {"$any": "int"}, "microseconds": {"$any": "int"}}
STEP_MEMBERS = ("send", "fds", "expect", "expect_events", "expect_closed", "do_after", "events_any_order",
                "quiet_ms", "timeout_ms")
UNDO = {"netdev_add": "netdev_del", "chardev-add": "chardev-remove", "device_add": "device_del"}


class Session:
    """A negotiated connection and what has been read from it."""

    def __init__(self, qmp, env, scale, settle):
        self.qmp = qmp
        self.env = env
        self.scale = scale
        self.settle = settle
        self.events = []

    def pump(self, replies_wanted, events_wanted, timeout, quiet):
        """Read until enough replies and events came and the line is quiet."""
        replies, events = [], self.events
        self.events = []
        end = time.time() + timeout * self.scale
        while True:
            enough = len(replies) >= replies_wanted and len(events) >= events_wanted
            wait = quiet if enough else min(max(0.0, end - time.time()), 0.25)
            try:
                message = self.qmp.recv(wait)
            except Closed:
                return replies, events, True
            if message is None:
                if enough or time.time() >= end:
                    return replies, events, False
            elif isinstance(message, dict) and "event" in message:
                events.append(message)
            else:
                replies.append(message)

    def greeting(self):
        message = self.qmp.recv(5.0 * self.scale)
        if not isinstance(message, dict) or "QMP" not in message:
            raise Mismatch("no greeting, got %r" % (message,))
        return message

    def negotiate(self, enable=None):
        command = {"execute": "qmp_capabilities"}
        if enable:
            command["arguments"] = {"enable": enable}
        answer = self.command(command)
        if answer != {"return": {}}:
            raise Mismatch("capability negotiation answered %r" % (answer,))

    def reconnect(self, op):
        """Drop the monitor connection and open a new one."""
        self.qmp.close()
        self.qmp = Qmp(self.env.vars["QMP"])
        self.events = []
        self.greeting()
        if op.get("negotiate", True):
            self.negotiate()

    def write(self, what, fds):
        for data, delay in encode(self.env.sub(what)):
            self.qmp.send(data, fds)
            fds = ()
            time.sleep(delay)

    def command(self, command, fds=()):
        self.write(command, fds)
        while True:
            message = self.qmp.recv(10.0 * self.scale)
            if message is None:
                raise Mismatch("no reply to %s" % json.dumps(command))
            if "event" not in message:
                return message
            self.events.append(message)

    def wait_event(self, name):
        end = time.time() + 5 * self.scale
        while True:
            hit = next((e for e in self.events if e["event"] == name), None)
            if hit:
                self.events.remove(hit)
                return
            if time.time() > end:
                raise Mismatch("set-up: no event %s" % name)
            message = self.qmp.recv(0.25)
            if message is not None:
                self.events.append(message)


def set_up(session, item):
    """One item of `setup`: a command that must succeed, a host action, or an event to wait for."""
    env = session.env
    options = item if isinstance(item, dict) else {}
    if "$do" in options:
        return host.do(env, options["$do"])
    if "$wait_event" in options:
        return session.wait_event(options["$wait_event"])
    command = options.get("$send", item)
    answer = session.command(command, [fileno(env.objs[n]) for n in options.get("fds", [])])
    if "error" in answer and options.get("may_fail"):
        return None
    for variable, path in options.get("capture", {}).items():
        value = answer
        for key in path:
            value = value[key]
        env.vars[variable] = str(value)
    if "return" not in answer:
        raise Mismatch("set-up command %s failed: %s" % (json.dumps(command), json.dumps(answer)))
    return None


def run_step(session, step):
    env = session.env
    for op in step.get("do", []):
        if op["op"] == "qmp_reconnect":
            session.reconnect(op)
        else:
            host.do(env, op)
    fds = [fileno(env.objs[n]) for n in step.get("fds", [])]
    if "send" in step:
        session.write(step["send"], fds)
    expect = step.get("expect")
    wanted = [] if expect is None else expect if isinstance(expect, list) else [expect]
    events_wanted = step.get("expect_events", [])
    # Where nothing is to come, silence has to last longer to mean something.
    settle = session.settle if wanted or events_wanted else 0.2
    replies, events, closed = session.pump(len(wanted), len(events_wanted), step.get("timeout_ms", 5000) / 1000.0,
                                           step.get("quiet_ms", 0) / 1000.0 or settle)
    for op in step.get("do_after", []):
        host.do(env, op)
    check_replies([env.sub(w) for w in wanted], replies, closed)
    if "expect_events" in step:
        patterns = [dict({"timestamp": TIMESTAMP}, **env.sub(e)) for e in events_wanted]
        check_events(patterns, events, step.get("events_any_order"))
    if step.get("expect_closed", False) != closed:
        raise Mismatch("connection %s closed" % ("was" if closed else "was not"))


def check_replies(wanted, replies, closed):
    for i in range(max(len(replies), len(wanted))):
        if i >= len(replies):
            end = " (connection closed)" if closed else ""
            raise Mismatch("reply %d missing%s; wanted %s" % (i, end, json.dumps(wanted[i])))
        if i >= len(wanted):
            raise Mismatch("unexpected reply %s" % json.dumps(replies[i]))
        fail_if(match(wanted[i], replies[i], "reply%d" % i))


def check_events(patterns, events, any_order):
    if any_order:
        return fail_if(match({"$set": patterns}, events, "events"))
    for i in range(max(len(patterns), len(events))):
        if i >= len(events):
            raise Mismatch("event %d missing; wanted %s" % (i, json.dumps(patterns[i])))
        if i >= len(patterns):
            raise Mismatch("unexpected event %s" % json.dumps(events[i]))
        fail_if(match(patterns[i], events[i], "event%d" % i))
    return None


def fail_if(difference):
    if difference:
        raise Mismatch(difference)


def steps_of(vector):
    """The vector's own members are its first step."""
    return [{k: vector[k] for k in STEP_MEMBERS if k in vector}] + vector.get("then", [])


def undo_commands(vector):
    """Commands that clean up behind a vector on a shared server, as far as one can tell; newest first."""
    found = []

    def look(x):
        if isinstance(x, list):
            for item in x:
                look(item)
        elif isinstance(x, dict):
            look(x.get("$send"))
            name = x.get("arguments", {}).get("id") if isinstance(x.get("arguments"), dict) else None
            command = x.get("execute")
            if isinstance(name, str) and isinstance(command, str) and command in UNDO:
                found.append({"execute": UNDO[command], "arguments": {"id": name}})

    look(vector.get("setup", []))
    for step in steps_of(vector):
        look(step.get("send"))
    return list(reversed(found))


def play(vector, session):
    env = session.env
    greeting = session.greeting()
    if "expect_greeting" in vector:
        fail_if(match(env.sub(vector["expect_greeting"]), greeting, "greeting"))
    if vector.get("negotiate", True):
        session.negotiate(vector.get("enable"))
    for item in vector.get("setup", []):
        set_up(session, item)
    if vector.get("setup") and vector.get("drop_setup_events", True):
        # Stragglers arrive, and what set-up itself caused is forgotten.
        _, _, closed = session.pump(0, 0, 0.05, vector.get("setup_quiet_ms", 30) / 1000.0)
        if closed:
            raise Mismatch("connection closed during set-up")
    for i, step in enumerate(steps_of(vector)):
        try:
            run_step(session, step)
        except Mismatch as e:
            raise Mismatch("step %d: %s" % (i, e))
    if vector.get("crlf"):
        bad = [text for text in session.qmp.raw if not text.endswith(b"\r\n")]
        if bad:
            raise Mismatch("a line does not end in CR LF: %r" % bad[0][:80])


def clean_up(vector, session):
    if session.qmp.eof:
        return
    for command in undo_commands(vector):
        try:
            session.command(command)
        except (Mismatch, Closed, OSError):
            return
    clean_up_process(vector, session)


def clean_up_process(vector, session):
    """What outlives a vector without being made by one command: a running machine, descriptor sets."""
    text = json.dumps(vector)
    try:
        if '"device_add"' in text:
            # Devices wait for the guest until the machine is reset.
            session.command({"execute": "system_reset"})
        if '"add-fd"' in text:
            # While no machine runs, a removed descriptor stays listed.
            session.command({"execute": "cont"})
            for fdset in session.command({"execute": "query-fdsets"})["return"]:
                session.command({"execute": "remove-fd", "arguments": {"fdset-id": fdset["fdset-id"]}})
        if '"add-fd"' in text or '"cont"' in text:
            session.command({"execute": "stop"})
    except (Mismatch, Closed, OSError, KeyError, TypeError):
        return


def run_vector(vector, qmp_path, tmp, alive=None, scale=1.0, settle=0.06, shared=False):
    """None if the server behaved as recorded, else what was different."""
    env = Env(tmp)
    env.vars["QMP"] = qmp_path
    session = None
    try:
        for op in vector.get("host", []):
            host.do(env, op)
        session = Session(Qmp(qmp_path, alive=alive), env, scale, settle)
        play(vector, session)
        return None
    except Mismatch as e:
        return str(e)
    except Closed as e:
        return "connection closed unexpectedly %s" % e
    except (OSError, KeyError, ValueError, AssertionError) as e:
        return "%s: %s" % (type(e).__name__, e)
    finally:
        if session:
            if shared:
                clean_up(vector, session)
            session.qmp.close()
        env.close()
