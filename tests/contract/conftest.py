"""TensorFlow lives in the boards' environment, not in that of the tests: snippets run there."""

import json
import os
import subprocess
import textwrap
from collections.abc import Callable
from typing import Any

import pytest

from tests import PROJECT


@pytest.fixture(scope="session")
def on_board() -> Callable[..., Any]:
    """Run a snippet with the boards' Python; returns the value that it hands to `answer`, through JSON."""

    def run(snippet: str, *arguments: object) -> Any:
        code = "import json, sys\ndef answer(value): print('ANSWER' + json.dumps(value))\n" + textwrap.dedent(snippet)
        done = subprocess.run(
            [PROJECT / ".board-venv" / "bin" / "python", "-c", code, *map(str, arguments)],
            cwd=PROJECT,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""},
            capture_output=True,
            text=True,
            check=False,
        )
        answers = [line for line in done.stdout.splitlines() if line.startswith("ANSWER")]
        assert done.returncode == 0 and answers, done.stderr[-3000:]
        return json.loads(answers[-1].removeprefix("ANSWER"))

    return run
