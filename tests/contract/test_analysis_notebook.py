"""The notebook does what the package does, and is kept without outputs."""

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from tests import PROJECT
from tests.data.build_runs import build_run

NOTEBOOK = PROJECT / "analysis" / "compare.ipynb"


def execute(folder):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(folder)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "".join(output.get("text", "") for output in outputs), outputs


def test_it_is_kept_without_outputs():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)


@pytest.mark.parametrize("folder", [PROJECT, PROJECT / "analysis"])
def test_it_runs_from_the_repository_and_from_analysis(tmp_path, monkeypatch, folder):
    build_run(tmp_path, workers=1, step_s=0.4)
    build_run(tmp_path, workers=2, step_s=1.25)
    monkeypatch.setenv("RUNS", str(tmp_path))
    text, outputs = execute(folder)
    assert "Two boards took 2.84 times as long per epoch as one, with 0.64 times the images/s" in text
    html = [output.data.get("text/html", "") for output in outputs if "data" in output]
    assert sum("<svg" in page for page in html) == 4


def test_by_default_it_reads_the_runs_that_are_kept_with_the_kit(monkeypatch):
    monkeypatch.delenv("RUNS", raising=False)
    text, _ = execute(PROJECT)
    assert "paper: 2 boards, keras" in text and "the speed per pass; the paper: 3.03, 0.66 and 0.33." in text


def test_without_runs_it_says_how_to_make_some(tmp_path, monkeypatch):
    monkeypatch.setenv("RUNS", str(tmp_path))
    with pytest.raises(CellExecutionError, match="has no runs: make some with `make rehearse`"):
        execute(PROJECT)
