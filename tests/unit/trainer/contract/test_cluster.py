"""TF_CONFIG as a board reads it."""

import json
import os

import pytest

from trainer.contract.cluster import Cluster, dispensable, load_cluster


def written(tmp_path, value):
    path = tmp_path / "tf_config.json"
    path.write_text(json.dumps(value))
    return path


def tf_config(index: int = 1, kind: str = "worker") -> dict:
    return {
        "cluster": {"worker": ["10.0.0.1:12345", "10.0.0.2:12345"]},
        "task": {"type": kind, "index": index},
    }


def test_a_board_knows_its_rank_and_address(tmp_path):
    cluster = load_cluster(written(tmp_path, tf_config()))
    assert (cluster.rank, cluster.workers, cluster.own_ip, cluster.is_chief) == (1, 2, "10.0.0.2", False)
    assert load_cluster(written(tmp_path, tf_config(0))).is_chief


def test_tensorflow_gets_what_was_rendered(tmp_path, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", "")
    load_cluster(written(tmp_path, tf_config())).export()
    assert json.loads(os.environ["TF_CONFIG"]) == tf_config()


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"cluster": {}}, "is not a TF_CONFIG"),
        (tf_config(index=2), "task index 2 is outside the cluster of 2 workers"),
        (tf_config(kind="ps"), "task type 'ps', but this kit has only workers: render"),
    ],
)
def test_what_is_not_a_cluster_is_refused(tmp_path, value, says):
    with pytest.raises(ValueError, match=says):
        load_cluster(written(tmp_path, value))


def test_a_torn_file_is_named(tmp_path):
    path = tmp_path / "tf_config.json"
    path.write_text(json.dumps(tf_config())[:30])
    with pytest.raises(ValueError, match=r"tf_config.json is not a TF_CONFIG .*: render TF_CONFIG with playbooks/"):
        load_cluster(path)


BOARDS = [f"10.0.0.{number}:12345" for number in (1, 2, 3)]


def test_each_board_has_a_server_beside_its_worker_and_the_first_is_chief():
    cluster = Cluster(BOARDS, 0)
    assert cluster.tasks(0) == {
        "chief": ["10.0.0.1:12345"],
        "worker": ["10.0.0.1:12347", "10.0.0.2:12347", "10.0.0.3:12347"],
        "ps": ["10.0.0.1:12348", "10.0.0.2:12348", "10.0.0.3:12348"],
    }
    assert cluster.own_tasks(0) == [("ps", 0), ("worker", 0), ("chief", 0)]
    assert Cluster(BOARDS, 2).own_tasks(0) == [("ps", 2), ("worker", 2)]


def test_the_last_boards_are_dedicated_servers():
    cluster = Cluster(BOARDS, 0)
    assert cluster.tasks(1)["worker"] == ["10.0.0.1:12347", "10.0.0.2:12347"]
    assert cluster.tasks(1)["ps"] == ["10.0.0.3:12348"]
    assert [Cluster(BOARDS, rank).own_tasks(1) for rank in range(3)] == [
        [("worker", 0), ("chief", 0)],
        [("worker", 1)],
        [("ps", 0)],
    ]


def test_tensorflow_gets_the_task_of_a_cluster_with_servers(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", "")
    cluster = Cluster(BOARDS, 2)
    cluster.export_task(1, "ps", 0)
    told = json.loads(os.environ["TF_CONFIG"])
    assert told == {"cluster": cluster.tasks(1), "task": {"type": "ps", "index": 0}}


def test_only_boards_that_are_workers_alone_can_be_done_without():
    assert [*dispensable(4, 1)] == [1, 2] and [*dispensable(2, 1)] == []
    assert [*dispensable(4, 0)] == [], "each of them has a server"
