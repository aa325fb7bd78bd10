"""The table at the top of docs/results.md: the machine, the boards and the links of each benchmark.

Where a benchmark's file has no share of a core or no link, its module fixes them, and they stand here.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

_UNKNOWN = "not recorded"
_MACHINE = {
    "CPU": "cpu",
    "cores": "cores",
    "memory [GiB]": "memory_gib",
    "Linux": "kernel",
    "Python of the controller": "python",
}
# boards, their share of a core, their link: where the module fixes them
_FIXED = {
    "single": ("2 at once", "a whole core each", "not used"),
    "straggler": ("1, 2", "0.6; the slower one 0.3", "1000"),
    "chaos": ("3", "", "1000"),
    "playbook": ("2, 8, 32", "cores shared as they come", "1000"),
    "telemetry": ("none", "one process on a core", "not used"),
    "learning": ("none", "one process on a core", "not used"),
    "curves": ("none", "one process, as it comes", "not used"),
    "sync-cores": ("1, 2", "a whole core each", ""),
}


def table(results: Mapping[str, dict[str, Any]]) -> str:
    """The machine, and a row per published benchmark by its file's name; in Markdown."""
    lines = ["| | |", "|---|---|"]
    for name, field in _MACHINE.items():
        lines.append(f"| {name} | {_distinct({of: result['machine'][field] for of, result in results.items()})} |")
    lines += [
        "",
        "| benchmark | measured | commit | boards | a board's share of a core | link [Mbit/s] | took |",
        "|---|---|---|---|---|--:|--:|",
    ]
    for name, result in results.items():
        boards, share, link = _boards(name, result)
        commit = result["git_commit"][:10] + (", with uncommitted changes" if result["git_dirty"] else "")
        lines.append(
            f"| [{name}](data/bench-{name}.json) | {result['began'][:10]} | {commit} | {boards} | {share} | {link} | "
            f"{took(result)} |"
        )
    return "\n".join(lines)


def took(result: dict[str, Any]) -> str:
    """From the beginning of the benchmark, or of its first run, to its last row: minutes."""
    began = datetime.datetime.fromisoformat(result["began"])
    ended = datetime.datetime.fromisoformat(result["ended"])
    for row in result["rows"]:  # a file that sums up runs, which were made before
        if "run_id" in row:
            made = datetime.datetime.strptime(row["run_id"][:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.UTC)
            began = min(began, made)
    if result["benchmark"] == "playbook":
        return _UNKNOWN  # it notes when its last number of boards began
    if result["benchmark"] == "learning":  # in several calls, with a run on every core
        own = (row["seconds"] for row in result["rows"] if not row["arm"].startswith("{"))  # without what was tried
        return f"{sum(own) / result['machine']['cores'] / 60:.0f} min"
    return f"{(ended - began).total_seconds() / 60:.0f} min"


def _distinct(by_name: dict[str, Any]) -> str:
    """The value of most files, and which files have another one."""
    values = list(by_name.values())
    usual = max(values, key=values.count)
    others: dict[Any, list[str]] = {}
    for name, value in by_name.items():
        if value != usual:
            others.setdefault(value, []).append(name)
    told = "; ".join(f"{value} for {', '.join(names)}" for value, names in others.items())
    return f"{usual}" + (f" ({told})" if told else "")


def _boards(name: str, result: dict[str, Any]) -> tuple[str, str, str]:
    boards, share, link = _FIXED.get(name, ("", "", ""))
    rows, known = result["rows"], result.get("calibration", {})
    rates = sorted({row["link_rate_bit_per_s"] for row in rows if "link_rate_bit_per_s" in row}, reverse=True)
    if not rates and not link:
        rates = [known["link_rate_bit_per_s"]]
    if not boards:
        boards = ", ".join(map(str, sorted({row["boards"] for row in rows})))
    if not share:
        share = _share(name, result)
    return boards, share, link or ", ".join(f"{rate / 1e6:.0f}" for rate in rates)


def _share(name: str, result: dict[str, Any]) -> str:
    core_share = result.get("core_share", result.get("calibration", {}).get("core_share"))
    if name != "scale":
        return f"{core_share:g}"
    of_two = result["calibration"]["core_share"]
    boards = sorted({row["of"] for row in result["rows"]})
    return ", ".join(f"{2 * of_two / count:.3g}" for count in boards)
