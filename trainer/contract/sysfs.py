"""Reads files of the kernel, any of which may be unreadable. Standard library only."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Optional

_WHOLE = re.compile(r"[-+]?[0-9]{1,20}")  # the kernel's have 64 bits


def text(path: Path) -> Optional[str]:
    """A file's content, stripped; null where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except (OSError, TypeError):  # Python's TypeError for EAGAIN, from zones without power
        return None


def number(path: Path) -> Optional[int]:
    """The whole number in a file; null where there is none."""
    content = text(path) or ""
    return int(content) if _WHOLE.fullmatch(content) else None
