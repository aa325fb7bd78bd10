"""Analyses runs: works on the controller, and reads only runs/<run_id>/.

    from pathlib import Path
    from analysis import as_text, compare, load, write_report

    loaded = load(Path("runs").iterdir())   # tidy DataFrames: runs, boards, epochs, windows; problems
    comparison = compare(loaded)            # arms compared, or NotComparable
    print(as_text(comparison), comparison.verdict)
    write_report(comparison, Path("report.html"))

| what | from |
|---|---|
| `load` -> `Runs` | folders of runs |
| `steady`, `measure` -> DataFrames, METRICS | tables of `Runs`: the steady state of each board, a row per run |
| `compare` -> `Comparison` | `Runs`; raises `NotComparable`, which lists each `Difference` |
| `as_text`, `figures` -> `Figure`, `write_report` | a `Comparison` |
| `predict` -> DataFrame | what runs measured (`measured_in` -> `Measured`) and a `Plan` over a `Network` |
| `write_manifest` | a collected run |
| `PAPER` | the paper's numbers |

Errors that the user can correct are `AnalysisError`s. On the command line: `python -m analysis --help`.

The names are imported at their first use (PEP 562): pandas, scipy and matplotlib take seconds, and a command such as
`python -m controller manifest` does not need them. So no name here may equal that of a module in this package.
"""

from __future__ import annotations

import importlib
from typing import Any

_NAMES = {
    "comparison.compare": ["Comparison", "Difference", "NotComparable", "compare"],
    "comparison.metrics": ["METRICS", "measure", "steady"],
    "comparison.paper": ["PAPER", "Paper"],
    "prediction.allreduce": ["Network"],
    "prediction.measured": ["Measured"],
    "prediction.predict": ["Plan", "measured_in", "predict"],
    "report.plots": ["Figure", "figures"],
    "report.report": ["write_report"],
    "report.table": ["as_text"],
    "runs.errors": ["AnalysisError"],
    "runs.loading": ["Runs", "load"],
    "runs.manifest": ["write_manifest"],
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names}
__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
