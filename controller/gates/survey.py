"""The modules sent to a board to survey it before the kit is installed."""

from __future__ import annotations

from pathlib import Path

from trainer.contract.layout import entries


def sources(project: str) -> dict[str, str]:
    """Source by path in the checkout, for files/begin.py of the role check."""
    trainer = Path(project) / "trainer"
    own = [trainer / name for name in ("__init__.py", "supervise/__init__.py", "supervise/facts.py")]
    paths = [*own, *entries(trainer / "contract", "*.py")]
    return {path.relative_to(project).as_posix(): path.read_text(encoding="utf-8") for path in paths}
