"""Writes result.json, the last file of a worker. Standard library only."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from pathlib import Path
from typing import Optional

from trainer.contract.causes import REMEDIES, Cause
from trainer.contract.cluster import load_cluster
from trainer.contract.events import Epoch
from trainer.contract.interface import interface_with
from trainer.contract.layout import EVENTS, LOG, RESERVE, RESULT, TF_CONFIG, write_json
from trainer.contract.records import read_records
from trainer.contract.results import Result
from trainer.supervise import collective_log, facts

_RESERVED = 64 * 1024  # bytes


def reserve(folder: Path) -> None:
    """Leave room for the result on a disk that gets full."""
    with contextlib.suppress(OSError):  # full already, which the trainer will find
        (folder / RESERVE).write_bytes(bytes(_RESERVED))


def is_written(path: Path) -> bool:
    """Whether a file has content: an empty one, of a disk that was full, counts as none."""
    try:
        return path.stat().st_size > 0
    except OSError:
        return False


def write_result(
    folder: Path,
    *,
    status: str,
    cause: Optional[Cause],
    exit_code: Optional[int],
    started_s: float,
    ended_s: Optional[float] = None,
) -> None:
    """Write a worker's result into its run's folder, with the board's facts.

    `ended_s` defaults to now. Raises OSError if the disk has no room even for this.
    """
    with contextlib.suppress(FileNotFoundError):
        (folder / RESERVE).unlink()
    interface = interface_with(load_cluster(folder / TF_CONFIG).own_ip)
    events = folder / EVENTS
    records = read_records(events)[0] if events.exists() else []
    result = Result(
        status=status,
        cause=cause.sentence if cause else None,
        cause_kind=cause.kind if cause else None,
        remedy=(REMEDIES[cause.kind] or None) if cause else None,
        exit_code=exit_code,
        started_s=started_s,
        ended_s=time.time() if ended_s is None else ended_s,
        epochs_completed=sum(record["event"] == Epoch.KIND for record in records),
        facts={
            **facts.gather(interface),
            **facts.clocks(folder),
            "collective_used": collective_log.collective_used(folder / LOG),
        },
    )
    write_json(folder / RESULT, dataclasses.asdict(result))
