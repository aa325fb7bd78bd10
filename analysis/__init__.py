"""What the runs of the kit measured; runs on the controller, reads runs/<run_id>/ and nothing else.

    from pathlib import Path
    from analysis import as_text, compare, load, write_report

    loaded = load(Path("runs").iterdir())   # tidy DataFrames: runs, boards, epochs, windows; problems
    comparison = compare(loaded)            # arms beside each other, or NotComparable
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
| `PAPER` | what the paper prints |

Every error that the user can mend is an `AnalysisError`. The same from the shell: `python -m analysis --help`.

The names are imported when they are first used (PEP 562): pandas, scipy and matplotlib take seconds, and a command such
as `python -m analysis manifest` needs none of them. So no name here may be that of a module of this package.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.allreduce import Network as Network
    from analysis.comparison import Comparison as Comparison
    from analysis.comparison import Difference as Difference
    from analysis.comparison import NotComparable as NotComparable
    from analysis.comparison import compare as compare
    from analysis.errors import AnalysisError as AnalysisError
    from analysis.loading import Runs as Runs
    from analysis.loading import load as load
    from analysis.manifest import write_manifest as write_manifest
    from analysis.measured import Measured as Measured
    from analysis.metrics import METRICS as METRICS
    from analysis.metrics import measure as measure
    from analysis.metrics import steady as steady
    from analysis.paper import PAPER as PAPER
    from analysis.paper import Paper as Paper
    from analysis.plots import Figure as Figure
    from analysis.plots import figures as figures
    from analysis.prediction import Plan as Plan
    from analysis.prediction import measured_in as measured_in
    from analysis.prediction import predict as predict
    from analysis.report import write_report as write_report
    from analysis.table import as_text as as_text

_NAMES = {
    "allreduce": ["Network"],
    "comparison": ["Comparison", "Difference", "NotComparable", "compare"],
    "errors": ["AnalysisError"],
    "loading": ["Runs", "load"],
    "manifest": ["write_manifest"],
    "measured": ["Measured"],
    "metrics": ["METRICS", "measure", "steady"],
    "paper": ["PAPER", "Paper"],
    "plots": ["Figure", "figures"],
    "prediction": ["Plan", "measured_in", "predict"],
    "report": ["write_report"],
    "table": ["as_text"],
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names}
__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
