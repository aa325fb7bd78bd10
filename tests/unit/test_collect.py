"""Fetching what a board left; tests/lab has the rest of the collect stage."""

import importlib.util
import tarfile
from pathlib import Path
from types import SimpleNamespace

PLUGIN = Path(__file__).parents[2] / "roles/collect/action_plugins/collect_run.py"


def test_boards_that_are_named_by_their_addresses_keep_their_logs_apart(tmp_path):
    spec = importlib.util.spec_from_file_location("collect_run", PLUGIN)
    plugin = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(plugin)
    fetched = []
    for board in ("192.168.1.11", "192.168.1.12"):
        home = tmp_path / "boards" / board
        home.mkdir(parents=True)
        (tmp_path / "trainer.log").write_text(board)

        def fetch(source, local):
            with tarfile.open(local, "w:gz") as archive:
                archive.add(tmp_path / "trainer.log", "trainer.log")
            fetched.append(local)

        action = object.__new__(plugin.ActionModule)
        action._connection = SimpleNamespace(fetch_file=fetch)
        action._unpack("/dev/shm/r.tar.gz", home, "r")
        assert (home / "trainer.log").read_text() == board
    assert len(set(fetched)) == 2, "all boards are fetched from at once"
    assert not any(Path(local).exists() for local in fetched)
