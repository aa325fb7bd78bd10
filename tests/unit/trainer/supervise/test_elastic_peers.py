"""What supervisors of a run that goes on tell each other; strangers change nothing."""

import os
import time

from tests.unit.trainer.supervise.test_elastic import free_ports
from trainer.contract.cluster import Cluster
from trainer.contract.generation import Generation
from trainer.supervise.elastic_peers import ElasticPeers
from trainer.supervise.membership import decision
from trainer.supervise.peers import CHANGING


def test_strangers_change_no_generation(tmp_path):
    addresses, names, key = [f"127.0.0.1:{port}" for port in free_ports(2)], ["a", "b"], os.urandom(32)
    here = ElasticPeers(Cluster(addresses, 0), names, key, 60, tmp_path)
    there = ElasticPeers(Cluster(addresses, 1), names, os.urandom(32), 60, tmp_path)
    try:
        there.say(0, decision(Generation(2, (1,), 0)))
        time.sleep(0.1)
        assert here.exchange() is None and here.taken() == [], "another key"
        there._key = key
        for odd in ("no JSON", "{}", '{"number": "two", "kind": "prepare"}', '{"number": 2}'):
            there._send(CHANGING, odd, [0])
        time.sleep(0.1)
        assert here.exchange() is None and here.taken() == [], "no messages"
        there.say(0, decision(Generation(2, (1,), 0)))
        time.sleep(0.1)
        assert here.exchange().kind == "peer" and len(here.taken()) == 1
    finally:
        here._socket.close()
        there._socket.close()


def test_what_boards_outside_the_generation_say_of_their_end_stops_nobody(tmp_path):
    addresses, names, key = [f"127.0.0.1:{port}" for port in free_ports(2)], ["a", "b"], os.urandom(32)
    here, there = (ElasticPeers(Cluster(addresses, rank), names, key, 60, tmp_path) for rank in (0, 1))
    here.begin(Generation(2, (0,), 1))
    there.farewell("interrupted", "stopped from outside")
    try:
        assert here.exchange() is None
    finally:
        here._socket.close()


def test_a_board_that_missed_a_generation_is_told_of_it(tmp_path):
    addresses, names, key = [f"127.0.0.1:{port}" for port in free_ports(2)], ["a", "b"], os.urandom(32)
    here, there = (ElasticPeers(Cluster(addresses, rank), names, key, 60, tmp_path) for rank in (0, 1))
    try:
        here.begin(Generation(3, (0,), 7))
        there.deciding = True
        there.say(0, {"kind": "prepare", "number": 2, "ballot": [1, 1]})
        time.sleep(0.1)
        assert here.exchange() is None
        time.sleep(0.1)
        there.exchange()
        ((sender, told),) = there.taken()
        assert sender == 0 and told["value"] == {"number": 3, "members": [0], "epoch": 7, "joined": [], "images": 0}
    finally:
        here._socket.close()
        there._socket.close()
