"""Renders pages in headless Chromium: the report's picture in docs/, and the tests of the page."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from analysis import compare, load, write_report
from benchmarks.lab.benchmark_run import PROJECT, BenchmarkError

REHEARSAL = PROJECT / "tests" / "data" / "rehearsal"
# no network, no profile
_QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--hide-scrollbars",
)
_TIMEOUT_S = 120.0


def chromium() -> str | None:
    """Path of the browser, or None if it is not installed."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def browse(page: Path, *options: str, width: int = 1100, height: int = 1400) -> subprocess.CompletedProcess[str]:
    """Open a page. Its console is in stderr, the output of `options` in stdout.

    Raises BenchmarkError without Chromium.
    """
    browser = chromium()
    if browser is None:
        raise BenchmarkError("Chromium is not installed: make setup-browser")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        return subprocess.run(
            [
                browser,
                *_QUIET,
                f"--user-data-dir={profile}",
                f"--window-size={width},{height}",
                "--enable-logging=stderr",
                "--v=0",
                *options,
                page.as_uri(),
            ],
            capture_output=True,
            text=True,
            check=True,
            timeout=_TIMEOUT_S,
        )


def picture_report(out: Path) -> Path:
    """The upper part of the report on the committed rehearsal, as PNG."""
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        write_report(compare(load(REHEARSAL.iterdir())), page)
        browse(page, f"--screenshot={out}", "--blink-settings=preferredColorScheme=1", height=1640)
    return out
