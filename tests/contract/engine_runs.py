"""Runs of the trainer itself, a process for each worker, in folders as boards have them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from pathlib import Path
from typing import Any

from tests import PROJECT
from trainer.contract.config import parse, to_dict
from trainer.contract.layout import LOG, TF_CONFIG
from trainer.formats.archives import sha256

PYTHONS = {"tensorflow": PROJECT / ".board-venv/bin/python", "pytorch": PROJECT / ".torch-venv/bin/python"}


def on_torch(snippet: str, *arguments: object) -> None:
    """Run code with PyTorch, which must succeed."""
    done = subprocess.run(
        [PYTHONS["pytorch"], "-c", snippet, *map(str, arguments)], cwd=PROJECT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Run:
    """A run of some workers on this machine."""

    def __init__(self, folder: Path, assets: dict[str, Path], config: dict[str, Any], workers: int = 1) -> None:
        self.config = parse(config)
        assert self.config.problems_with(workers) == []
        self.folder = folder
        self.boards = [folder / "boards" / f"board-{rank}" for rank in range(workers)]
        addresses = [f"127.0.0.1:{port}" for port in free_ports(workers)]
        staged = {kind: {"path": str(path), "sha256": sha256(path)} for kind, path in assets.items()}
        self._run = {
            "schema": 2,
            "run_id": "r",
            "task": "train",
            "experiment": "x",
            "workers": workers,
            "boards": [path.name for path in self.boards],
            "seed": 1,
            "config": to_dict(self.config),
            "assets": staged,
            "trainer_sha256": "",
            "git_commit": None,
            "git_dirty": None,
        }
        folder.mkdir()
        (folder / "run.json").write_text(json.dumps(self._run))
        (folder / "manifest.json").write_text("{}")
        self._addresses = addresses
        self.place()

    def place(self) -> None:
        """Give each worker its part of the run, as before each attempt."""
        for rank, board in enumerate(self.boards):
            board.mkdir(parents=True, exist_ok=True)
            (board / "run.json").write_text(json.dumps(self._run))
            task = {"type": "worker", "index": rank}
            (board / TF_CONFIG).write_text(json.dumps({"cluster": {"worker": self._addresses}, "task": task}))

    def start(self, before: str = "pass") -> list[subprocess.Popen[str]]:
        """Start all workers' processes; each runs the code `before` first."""
        code = f"{before}\nimport sys\nfrom trainer.__main__ import main\nsys.exit(main())"
        quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
        workers = []
        for board in self.boards:
            with (board / LOG).open("w") as log:
                command = [PYTHONS[self.config.engine], "-c", code, "--config", board / "run.json"]
                workers.append(subprocess.Popen(command, cwd=PROJECT, env=quiet, stdout=log, stderr=log, text=True))
        return workers

    def train(self) -> Run:
        """Run to the end, which must be a success."""
        self.succeed(self.start())
        return self

    def succeed(self, workers: list[subprocess.Popen[str]]) -> None:
        """Wait for the workers' end, which must be a success."""
        try:
            for worker, board in zip(workers, self.boards, strict=True):
                assert worker.wait(timeout=200) == 0, (board / LOG).read_text()[-3000:]
        finally:
            for worker in workers:
                worker.kill()

    def records(self, rank: int, kind: str) -> list[dict[str, Any]]:
        """A worker's records of one kind."""
        lines = (self.boards[rank] / "events.jsonl").read_text().splitlines()
        return [record for record in map(json.loads, lines) if record["event"] == kind]

    def result(self, rank: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.boards[rank] / "result.json").read_text())
        return found
