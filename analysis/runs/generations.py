"""The generations of a run that went on without boards that it lost: which there were, why, and what the change cost.

From the boards' records; see trainer/contract/generation.py. Standard library only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from trainer.contract import causes
from trainer.contract.checkpoints import Place
from trainer.contract.events import NewGeneration, Resume, Start
from trainer.contract.reading import is_number

Records = Sequence[Mapping[str, Any]]


def generations(boards: Sequence[str], records: Mapping[str, Records]) -> list[dict[str, Any]]:
    """A run's generations in order, from its boards in rank order and their records; one without a loss.

    number: from 1; boards: in rank order, the first is chief; epoch: the last one that is kept, 0 for none, and images:
    of the next one that are kept, too; lost: boards of the generation before, joined: boards that were not of it;
    culprit, cause_kind, cause: why the generation before ended, as the board says that knows best, null for the first;
    time_s: when it was decided; stopped_s: from the last step until training could begin again, on the slowest board,
    null where unknown; discarded_s: of steps that were made again.
    """
    found = [_generation(1, boards)]
    by_number: dict[int, dict[str, Mapping[str, Any]]] = {}
    for board in boards:
        for record in records.get(board, ()):
            if record["event"] == NewGeneration.KIND and _is_of(record, boards):
                by_number.setdefault(record["number"], {})[board] = record
    for number in sorted(by_number):
        by_board = by_number[number]
        culprit = min(by_board, key=lambda name: causes.weight(by_board[name]["cause_kind"]))
        of = by_board[culprit]
        lost = [board for board in found[-1]["boards"] if board not in of["boards"]]
        joined = [board for board in of["boards"] if board not in found[-1]["boards"]]
        stayed = [board for board in of["boards"] if board not in joined]
        stops = [_stopped_s(records[board], by_board[board]) for board in stayed if board in by_board]
        known = [seconds for seconds in stops if seconds is not None]
        found.append(
            {
                **_generation(number, of["boards"]),
                "epoch": of["epoch"],
                "images": of.get("images") or 0,
                "lost": lost,
                "joined": joined,
                "culprit": culprit if causes.weight(of["cause_kind"]) == 0 else None,
                "cause_kind": of["cause_kind"],
                "cause": of["cause"],
                "time_s": min(record["time_s"] for record in by_board.values()),
                "stopped_s": max(known) if len(known) == len(stayed) else None,
                "discarded_s": max((record["discarded_s"] or 0.0 for record in by_board.values()), default=0.0),
            }
        )
    return found


def made_by(found: Sequence[Mapping[str, Any]], epoch: int) -> Mapping[str, Any]:
    """The generation that made an epoch, for good."""
    return next((generation for generation in reversed(found) if generation["epoch"] < epoch), found[0])


def sentences(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A sentence for each generation after the first."""
    for generation in found[1:]:
        lost = f"without {', '.join(generation['lost'])}" if generation["lost"] else ""
        back = f"with {', '.join(generation['joined'])}, which came back" if generation["joined"] else ""
        changes = ", ".join(filter(None, (lost, back))) or "with the same boards"
        why = f"{generation['culprit']}: " if generation["culprit"] else ""
        after = Place(generation["epoch"], generation.get("images", 0))  # older manifests have no images
        stopped = "" if generation["stopped_s"] is None else f", {generation['stopped_s']:.0f} s without training"
        yield (
            f"Generation {generation['number']}: {', '.join(generation['boards'])} went on from {after}, {changes} "
            f"({why}{generation['cause']}){stopped}, {generation['discarded_s']:.0f} s of steps made again."
        )


def _generation(number: int, boards: Sequence[str]) -> dict[str, Any]:
    return {
        "number": number,
        "boards": list(boards),
        "epoch": 0,
        "images": 0,
        "lost": [],
        "joined": [],
        "culprit": None,
        "cause_kind": None,
        "cause": None,
        "time_s": None,
        "stopped_s": 0.0,
        "discarded_s": 0.0,
    }


def _is_of(record: Mapping[str, Any], boards: Sequence[str]) -> bool:
    """Whether a record, which may come from anywhere, is of a generation of these boards."""
    names = record["boards"]
    whole = None not in (record["number"], record["epoch"], record["cause_kind"], record["cause"])
    return whole and isinstance(names, list) and bool(names) and set(names) <= set(boards)


def _stopped_s(records: Records, of: Mapping[str, Any]) -> float | None:
    """Seconds until the trainer was ready, on one board."""
    later = [record for record in records if record["time_s"] >= of["time_s"]]
    ready = next((record["startup_s"] for record in later if record["event"] in (Start.KIND, Resume.KIND)), None)
    if not is_number(ready) or not is_number(of["stopped_s"]):
        return None
    return float(of["stopped_s"] + ready)
