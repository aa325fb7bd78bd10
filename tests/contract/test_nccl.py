"""NCCL asked for where TensorFlow has no GPU and no kernels of it, as two real processes."""

import json
import os
import socket
import subprocess

import pytest

from controller.gates.answers import trial
from tests import PROJECT

pytestmark = pytest.mark.tensorflow


def test_the_trial_of_the_check_tells_that_the_ring_ran_in_place_of_it():
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    addresses = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    program = (PROJECT / "roles/check/files/all_reduce.py").read_bytes()
    boards = []
    for rank in range(2):
        request = json.dumps({"addresses": addresses, "rank": rank, "interface": "lo"})
        boards.append(
            subprocess.Popen(
                ["timeout", "120", PROJECT / ".board-venv/bin/python", "-", request],
                env={**os.environ, "http_proxy": "http://192.0.2.9:3128"},
                stdin=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        )
        boards[-1].stdin.write(program)
        boards[-1].stdin.close()
    for board in boards:
        said = board.stderr.read().decode()
        assert trial({"rc": board.wait(), "stderr": said}) == {"used": "RingReduce", "error": None}, said[-3000:]
