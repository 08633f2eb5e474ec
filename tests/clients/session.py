"""A session with the library qemu.qmp: SOCKET is a monitor in a network namespace where taps may be made."""
import asyncio
import sys

from qemu.qmp import EventListener, ExecuteError, QMPClient


async def main(path):
    client = QMPClient("framewire-test")
    stopped = EventListener(names=("STOP", "RESUME"))
    client.register_listener(stopped)
    await client.connect(path)
    assert client.greeting.QMP.version["qemu"]["major"] >= 5, client.greeting

    tap = {"type": "tap", "id": "n0", "ifname": "n0", "script": "no", "downscript": "no"}
    assert await client.execute("netdev_add", tap) == {}
    assert await client.execute("netdev_add", {"type": "hubport", "id": "h0", "hubid": 0, "netdev": "n0"}) == {}
    assert await client.execute("set_link", {"name": "n0", "up": False}) == {}
    ports = (await client.execute("x-query-status"))["ports"]
    assert [port["id"] for port in ports] == ["n0", "h0"], ports
    names = [command["name"] for command in await client.execute("query-commands")]
    assert "netdev_add" in names, names
    try:
        await client.execute("netdev_add", tap)
        raise AssertionError("a name was given twice")
    except ExecuteError as error:
        assert (error.error_class, str(error)) == ("GenericError", "Duplicate ID 'n0'"), error
    # Several at once, each answered to its own id.
    answers = await asyncio.gather(*(client.execute("query-name") for _ in range(20)))
    assert answers == [{}] * 20, answers

    await client.execute("cont")
    assert (await asyncio.wait_for(stopped.get(), 10))["event"] == "RESUME"
    await client.execute("stop")
    assert (await asyncio.wait_for(stopped.get(), 10))["event"] == "STOP"
    for name in ("h0", "n0"):
        assert await client.execute("netdev_del", {"id": name}) == {}
    await client.disconnect()


asyncio.run(main(sys.argv[1]))
