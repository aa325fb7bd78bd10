"""What the runs of the kit measured; runs on the controller, reads runs/<run_id>/ and nothing else.

    from pathlib import Path
    from analysis import as_text, compare, load

    runs = load(Path("runs").iterdir())   # tidy DataFrames: runs, boards, epochs, windows; problems
    comparison = compare(runs)            # arms beside each other, or NotComparable
    print(as_text(comparison), comparison.verdict)

`analysis.plots` draws the figures and `analysis.report.write_report` the report (both import
matplotlib).
The same from the shell: `python -m analysis compare runs/*`.
"""

from analysis.compare import Comparison, Difference, NotComparable, compare
from analysis.errors import AnalysisError
from analysis.load import Runs, load
from analysis.manifest import write_manifest
from analysis.metrics import METRICS, measure, steady
from analysis.paper import PAPER, Paper
from analysis.table import as_text

__all__ = [
    "METRICS",
    "PAPER",
    "AnalysisError",
    "Comparison",
    "Difference",
    "NotComparable",
    "Paper",
    "Runs",
    "as_text",
    "compare",
    "load",
    "measure",
    "steady",
    "write_manifest",
]
