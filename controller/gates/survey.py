"""What a board is sent, so that it can say what it is and has before anything of the kit is there."""

from __future__ import annotations

from pathlib import Path

from trainer.contract.layout import entries


def sources(project: str) -> dict[str, str]:
    """By path in the checkout, the modules with which files/begin.py of the role check runs the survey."""
    trainer = Path(project) / "trainer"
    own = [trainer / name for name in ("__init__.py", "supervise/__init__.py", "supervise/facts.py")]
    paths = [*own, *entries(trainer / "contract", "*.py")]
    return {path.relative_to(project).as_posix(): path.read_text(encoding="utf-8") for path in paths}
