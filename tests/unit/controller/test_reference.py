"""Generated references are up to date, and the generated experiment is the paper's."""

from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from controller.presets import configuration
from controller.reference import PROJECT, readme, references
from trainer.contract.config import Config, known_keys, parse


@pytest.mark.parametrize(("path", "content"), references().items(), ids=lambda value: Path(str(value)[:200]).name)
def test_a_committed_reference_is_up_to_date(path: Path, content: str) -> None:
    assert path.read_text(encoding="utf-8") == content, "run 'make reference'"


def test_the_reference_is_a_preset_equal_to_the_papers_experiment() -> None:
    found: list[str] = []
    experiments = [
        configuration({"experiment": name, "override": {}}, PROJECT, found) for name in ("reference", "paper")
    ]
    assert found == []
    reference, paper = (parse(raw) for raw in experiments)
    assert reference == paper == Config()


def test_the_reference_has_every_field_with_a_comment() -> None:
    text = (PROJECT / "experiments/reference.yml").read_text(encoding="utf-8")

    def keys(raw: dict, above: str = ""):
        for name, value in raw.items():
            yield from keys(value, f"{name}.") if isinstance(value, dict) else [above + name]

    assert sorted(keys(yaml.safe_load(text))) == sorted(known_keys(Config))
    lines = text.splitlines()
    assert all(above.strip().startswith("# ") for above, line in pairwise(lines) if ":" in line and "#" not in line)


def test_every_role_has_a_reference_with_its_variables() -> None:
    for role in sorted((PROJECT / "roles").iterdir()):
        defaults = yaml.safe_load((role / "defaults/main.yml").read_text(encoding="utf-8")) or {}
        text = readme(role)
        assert all(f"| `{name}` |" in text for name in defaults), role.name
