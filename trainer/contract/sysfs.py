"""Files of the kernel's, of which any may refuse to be read. Standard library only."""

from __future__ import annotations

from pathlib import Path
from typing import Optional


def text(path: Path) -> Optional[str]:
    """What is in a file, without white space around it; null where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except (OSError, TypeError):  # what Python makes of EAGAIN, as zones of parts without power answer
        return None


def number(path: Path) -> Optional[int]:
    """The whole number in a file; null where there is none to be read."""
    try:
        return int(text(path) or "")
    except ValueError:
        return None
