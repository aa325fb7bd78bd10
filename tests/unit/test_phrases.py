"""Phrases that must be read twice are not in docs, messages, docstrings, task names and comments."""

import re
import subprocess
from pathlib import Path

import pytest

from tests import PROJECT

# As patterns without case, in which a space is any white space; each with what an engineer writes instead.
PHRASES = {
    r"(every|each) gate is passed": "all gates passed",
    r"warned of": "3 warnings",
    r"at that rate agreeing": "the link is calibrated so that ...",
    r"\bagree(d|ing|s)?\b(?! (in|on|with)\b)": "synchronise, or equal",
    r"what no board knows": "what boards cannot measure",
    r"(what is|that are|is) not given again": "omitted values are kept",
    r"wants? the boards? back": "stop whatever is running",
    r"knows? better than a gate": "override a gate",
    r"costs? -\d": "takes less time",
    r"the paper's way": "plain Keras, or the paper's method",
    r"never gets good": "never pays off",
    r"what training is told": "validate the training options",
    r"late later": "validate first",
    r"takes? up the run|run that is to go on|goes on with a run": "resume the run",
    r"no share of right answers": "not a fraction between 0 and 1",
    r"boards that nobody has": "clusters we could not measure",
    r"in the place of": "instead of",
    r"st(and|ands|ood|anding) still": "stall, wait",
    r"\bst(oo|an)d through\b": "stalled",
    r"\bsittings?\b": "benchmark run",
    r"sync\.way\b": "sync.method",
    r"\bno exchange\b": "no_sync",
    r"\btr(y|ies|ied)_out\b": "dry_run",
    r"gives? back the|gave back the": "restore",
    r"picks? (it|them|the run) up|picked up": "collect",
    r"lost sight of": "lost, cannot reach",
    r"\bmend(s|ed)? (the|it|that)\b": "correct",
    r"(as )?told above": "see above",
    r"nobody (vouches|trusts|watches)": "not verified",
    r"beside each other": "compared",
    r"begin anew": "start a new run",
    r"where nothing is[;:]": "which does not exist",
    r"(?<!there.)\bis no (file|text|time|list of|number|share|dress|lab's|gate|mode)\b": "is not a ...",
    r"see (its|whose) (owner|it is)": "check its owner",
    r"see that the board is on": "check the board's power",
    r"is its cable in": "check the cable",
    r"\ban? (step|epoch|image|second) and board": "per step and board",
    r"\bimages a (step|second)\b": "images per step",
    r"\b(bytes|seconds|s|ms) a step\b": "seconds per step",
    r"\b(s|seconds) an epoch\b": "seconds per epoch",
    r"\bpixels a side\b": "pixels per side",
}
LEFT_OUT = {
    "tests/unit/test_phrases.py",
    # names of earlier versions
    "CHANGELOG.md",
    "docs/upgrade.md",
    "tests/unit/trainer/contract/test_schema1.py",
    "trainer/contract/schema1.py",
}
KINDS = (".md", ".py", ".yml", ".sh", ".j2")


def sources() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    names = [name for name in listed.split("\0") if name.endswith(KINDS) and name not in LEFT_OUT]
    return [PROJECT / name for name in names if (PROJECT / name).is_file()]


def text_of(path: Path) -> str:
    """The file's text; what continues on the next line of a comment or a string is in one piece."""
    text = path.read_text(encoding="utf-8", errors="replace")
    return re.sub(r"""["']\s*\n\s*[rf]?["']|\n[ \t]*#[ \t]?|\s+""", " ", text)


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    return {path.relative_to(PROJECT).as_posix(): text_of(path) for path in sources()}


@pytest.mark.parametrize("phrase", PHRASES)
def test_no_source_has_the_phrase(texts: dict[str, str], phrase: str) -> None:
    pattern = re.compile(phrase.replace(" ", r"\s+"), re.IGNORECASE)
    found = [
        f"{name}: {text[max(0, match.start() - 40) : match.end() + 40]}"
        for name, text in texts.items()
        for match in pattern.finditer(text)
    ]
    assert not found, f"write '{PHRASES[phrase]}' instead:\n" + "\n".join(found)
