"""Runs a command where nothing leads out, and counts whatever tries: `unshare --net --map-root-user python this.py`.

In a network namespace of its own the only interface besides the loopback is one end of a cable whose other end nobody
reads. All addresses are routed there, so that the kernel counts each packet that a program sends out, name look-ups
included. A proxy on the loopback, named in the environment as any user's would be, counts what asks for it first. The
last line of the output is the count, as JSON.
"""

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

CABLE, OTHER_END = "out0", "out1"

HIDING = ("CI", "GITHUB_ACTIONS", "GITLAB_CI", "JENKINS_URL", "DO_NOT_TRACK", "MLFLOW_DISABLE_TELEMETRY")
"""Telemetry hides itself where one of these is set; as do the variables of pytest."""


def connect_cable() -> None:
    """Bring the loopback up, and route everything else into a cable that ends nowhere."""
    commands = [
        "link set lo up",
        f"link add {CABLE} type veth peer name {OTHER_END}",
        f"link set {OTHER_END} up",
        f"link set {CABLE} arp off up",
        f"address add 192.0.2.2/24 dev {CABLE}",
        f"route add default via 192.0.2.1 dev {CABLE}",
    ]
    for command in commands:
        if "arp off" in command:
            # The kernel itself looks for IPv6 neighbours; those packets are nobody's.
            for end in (CABLE, OTHER_END):
                Path(f"/proc/sys/net/ipv6/conf/{end}/disable_ipv6").write_text("1")
        subprocess.run(["ip", *command.split()], check=True)


def packets_sent() -> int:
    """Return the packets that went into the cable."""
    for line in Path("/proc/net/dev").read_text().splitlines():
        name, _, counts = line.partition(":")
        if name.strip() == CABLE:
            return int(counts.split()[9])
    raise RuntimeError("the cable is gone")


def counting_proxy(asked: list[str]) -> int:
    """Serve as a proxy that notes what it is asked for and refuses; return its port."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            connection, _ = server.accept()
            with connection:
                connection.settimeout(5)
                try:
                    first = connection.recv(4096).split(b"\r\n", 1)[0]
                    connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                except OSError:
                    first = b"?"
                asked.append(first.decode("latin-1")[:80])

    threading.Thread(target=serve, daemon=True).start()
    return server.getsockname()[1]


def counting_resolver(asked: list[str]) -> None:
    """Note the name look-ups that go to the loopback, where some machines have their resolver; answer none."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("", 53))

    def serve() -> None:
        while True:
            server.recv(4096)
            asked.append("name look-up")

    threading.Thread(target=serve, daemon=True).start()


def as_a_user(environment: dict[str, str], proxy: str) -> dict[str, str]:
    """Return the environment of a user behind a proxy, in which no telemetry has a reason to hide."""
    kept = {key: value for key, value in environment.items() if key not in HIDING and not key.startswith("PYTEST")}
    names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
    kept |= dict.fromkeys([*names, *(name.lower() for name in names)], proxy)
    return {key: value for key, value in kept.items() if key.lower() != "no_proxy"}


def main(command: list[str]) -> int:
    """Run the command and print what tried to get out."""
    connect_cable()
    asked: list[str] = []
    environment = as_a_user(dict(os.environ), f"http://127.0.0.1:{counting_proxy(asked)}")
    counting_resolver(asked)
    before = packets_sent()
    code = subprocess.run(command, env=environment, check=False).returncode
    print(json.dumps({"returncode": code, "packets": packets_sent() - before, "asked": asked}), flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
