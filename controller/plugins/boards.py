"""Fails before a playbook starts if it has no boards, or a play without hosts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible import context
from ansible.plugins.callback import CallbackBase

_GROUP = "boards"
_PLAYBOOKS = Path(__file__).resolve().parents[2] / "playbooks"
_SHOWN = 8  # names in a message


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "boards"

    def v2_playbook_on_start(self, playbook: Any) -> None:
        plays = playbook.get_plays()
        if Path(playbook._basedir).resolve() != _PLAYBOOKS or not plays:
            return
        inventory = plays[0].get_variable_manager()._inventory
        problems = _missing(inventory.get_groups_dict(), context.CLIARGS["inventory"]) or [
            _left_out(play, inventory.get_groups_dict()[_GROUP], context.CLIARGS["subset"])
            for play in plays
            if not inventory.get_hosts(play.hosts)
        ]
        if problems:
            self._display.error("\n".join(dict.fromkeys(problems)))
            raise SystemExit(1)  # the only exception with which a callback can end the command


def _missing(groups: dict[str, list[str]], sources: tuple[str, ...]) -> list[str]:
    """Why the group has no hosts; empty if it has some."""
    if groups.get(_GROUP):
        return []
    others = [name for name, hosts in groups.items() if hosts and name not in ("all", "ungrouped")]
    named = ", ".join(sources)
    absent = [source for source in sources if "," not in source and not Path(source).exists()]
    if absent:
        reason = f"the inventory {', '.join(absent)} does not exist"
    elif _GROUP in groups:
        reason = f"the group '{_GROUP}' of the inventory {named} is empty"
    elif others:
        reason = f"the inventory {named} has no group '{_GROUP}', but {_some(others)}"
    else:
        reason = f"the inventory {named} lists no group '{_GROUP}', or cannot be read"
    return [
        f"No board found: {reason}. List the boards in the group '{_GROUP}', as inventory/boards/hosts.yml does, "
        "or give another inventory with -i."
    ]


def _left_out(play: Any, boards: list[str], limit: str) -> str:
    """Why a play has no hosts although the group has some."""
    if "localhost" in play.hosts:
        return (
            f"--limit {limit} leaves out localhost, which the playbook needs: "
            f"give --limit '{limit},localhost', or no limit."
        )
    return (
        f"No board found: --limit {limit} selects no host of the group '{_GROUP}', which has "
        f"{_some(boards)}: give some of these names, or no limit."
    )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
