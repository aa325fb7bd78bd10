"""The training interface: found by each of its addresses, and by names that the board knows."""

import json
import os
import socket
import subprocess
import sys

import pytest

from tests import PROJECT
from trainer.contract import interface

ADDRESSES = """\
ip link set lo up && ip link add eth0 type veth peer name eth1 &&
ip address add 10.1.0.1/24 dev eth0 && ip address add 10.1.0.2/24 dev eth0 &&
ip address add 10.2.0.1/24 dev eth0 label eth0:1 && ip address add 10.2.0.2/24 dev eth1
for last in $(seq 80); do ip address add 10.3.0.$last/24 dev eth1; done
"""
ASK = """\
import json, sys
from trainer.contract import interface
print(json.dumps([interface.interface_with(address) for address in sys.argv[1:]]))
"""


def test_every_address_of_an_interface_counts():
    """In a network namespace of its own; an interface may have many addresses beside its first one."""
    asked = ["10.1.0.1", "10.1.0.2", "10.2.0.1", "10.2.0.2", "10.3.0.80", "10.9.9.9"]
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    own_network = ["unshare", *user, "--net", "sh", "-c"]
    if subprocess.run([*own_network, "ip link add one type veth peer name two"], capture_output=True).returncode:
        pytest.skip("this machine makes no network namespaces for its users")
    command = [*own_network, f'{ADDRESSES}exec "$@"', "sh", sys.executable, "-c", ASK, *asked]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=PROJECT)
    assert json.loads(done.stdout) == ["eth0", "eth0", "eth0", "eth1", "eth1", None]


def test_a_name_counts_as_the_address_that_it_has_here(monkeypatch):
    monkeypatch.setattr(
        interface, "addresses", lambda: [("lo", "127.0.0.1"), ("eth0", "10.1.0.1"), ("eth0", "10.1.0.2")]
    )
    known = {"orin-1": "10.1.0.2", "orin-2": "10.1.0.3"}

    def resolve(name, port, family):
        if name not in known:
            raise socket.gaierror("Name or service not known")
        return [(family, 0, 0, "", (known[name], 0))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    assert [interface.interface_with(name) for name in ("orin-1", "orin-2", "orin-3")] == ["eth0", None, None]
