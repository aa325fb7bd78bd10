"""What the documents name exists: files, anchors, targets, commands with their options, fields, variables."""

import argparse
import json
import re
import shlex
import statistics
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from analysis import commands
from analysis.__main__ import COMMANDS
from benchmarks import __main__ as benchmarks
from benchmarks.machine import learning
from controller import cli
from controller.gates.judge import judge
from controller.gates.table import lines
from tests import PROJECT
from tests.unit.controller.gates.facts import GOOD, NEEDS
from trainer.contract.config import Config, known_keys, parse
from trainer.contract.methods import METHODS, OPTIONS, those_with
from trainer.contract.strategies import of_engine

PAGES = [*PROJECT.glob("*.md"), *(PROJECT / "docs").glob("*.md")]
FOLDERS = sorted(
    path.name for path in PROJECT.iterdir() if path.is_dir() and path.name.isalpha() and path.name != "runs"
)
FILES = [path for folder in FOLDERS for path in (PROJECT / folder).rglob("*") if path.is_file()]
ANSIBLE = {"--check", "--diff", "--limit", "--skip-tags", "--tags"}


@pytest.fixture(params=PAGES, ids=lambda page: page.name)
def page(request):
    return request.param


@pytest.fixture
def code(page):
    """What stands in code spans and blocks, a piece each; a command that goes on in the next line is one."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^ *```\w*\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    prose = re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)
    lines = "\n".join([*blocks, *re.findall(r"^ {4}(?! )(.*)", prose, re.MULTILINE)]).replace("\\\n", " ").splitlines()
    return [*lines, *(" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose))]


@pytest.fixture(scope="module")
def sources():
    kinds = {".cfg", ".css", ".in", ".j2", ".py", ".sh", ".yml"}
    return "\n".join(path.read_text(encoding="utf-8") for path in FILES if path.suffix in kinds)


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def options(parser: argparse.ArgumentParser) -> set[str]:
    return set(parser._option_string_actions)


def commands_of(*groups: commands.Group) -> dict[str, argparse.ArgumentParser]:
    found = argparse.ArgumentParser().add_subparsers()
    for group in groups:
        group.add(found)
    return dict(found.choices)


def test_links_lead_somewhere(page):
    for target, anchor in re.findall(r"\]\((?!\w+:)([^)#]*)#?([^)]*)\)", page.read_text(encoding="utf-8")):
        other = page.parent / target if target else page
        assert other.exists(), target
        assert not anchor or anchor in anchors(other), f"{target}#{anchor}"


def test_files_are_there(code):
    starts = "|".join(FOLDERS)
    for piece in code:
        for named in re.findall(rf"(?<![\w/.~>-])(?:{starts})/[\w./*-]*", piece.replace("NAME", "*")):
            assert list(PROJECT.glob(named.rstrip("."))), piece
        if re.fullmatch(r"\w+\.(py|yml)", piece):
            assert any(path.name == piece for path in FILES), piece


def test_make_has_the_targets(code):
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    for piece in code:
        for target in re.findall(r"\bmake ([a-z][a-z-]+)", piece):
            assert re.search(rf"^{target}:.*## ", makefile, re.MULTILINE), piece


def test_the_packages_have_the_commands_and_their_options(code):
    known = {"analysis": commands_of(*COMMANDS), "controller": commands_of(*COMMANDS, cli)}
    every = set().union(ANSIBLE, *map(options, known["controller"].values()))
    for piece in code:
        for package, name, rest in re.findall(
            r"(?:\bpython -m (analysis|controller)|(?<![\w/-])(?:\.venv/bin/)?cluster-kit) ([a-z]+)([^;&|]*)", piece
        ):
            commands_there = known[package or "controller"]
            given = {word.partition("=")[0] for word in shlex.split(rest, comments=True) if word.startswith("-")}
            assert name in commands_there and given <= options(commands_there[name]), piece
        if piece.startswith("--"):
            assert piece.split()[0] in every, piece


def test_help_says_what_every_argument_is():
    for name, parser in commands_of(*COMMANDS, cli).items():
        assert all(action.help for action in parser._actions), name


def test_benchmarks_have_the_commands(code, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["benchmarks", "--help"])
    with pytest.raises(SystemExit):
        benchmarks.main()
    known = re.findall(r"^    (\w+)", capsys.readouterr().out, re.MULTILINE)
    for piece in code:
        assert set(re.findall(r"\bpython -m benchmarks (\w+)", piece)) <= set(known), piece


def test_tests_are_there(code):
    for piece in code:
        for path, name in re.findall(r"pytest (?:-m \w+ )?(tests/[\w/]+\.py)(?: -k (\w+))?", piece):
            assert re.search(rf"def test_\w*{name}", (PROJECT / path).read_text(encoding="utf-8")), piece


def test_presets_and_studies_are_there(code):
    for kind, folder in (("experiment", "experiments"), ("study", "studies")):
        for name in re.findall(rf"-e {kind}=([a-z]\w*)", "\n".join(code)):
            assert (PROJECT / folder / f"{name}.yml").exists(), name


def test_fields_are_those_of_the_configuration(code):
    sections = "|".join({name.partition(".")[0] for name in known_keys(Config) if "." in name})
    for piece in code:
        for overridden in re.findall(r"'(\{\"override\".*?\})'", piece):
            parse(json.loads(overridden)["override"])
        field = re.match(rf"((?:{sections})\.\w+)(?!\.?\w|/)", piece)
        if field and not field[1].endswith(".py"):
            assert field[1] in known_keys(Config), piece


def test_the_table_has_every_method_and_option():
    table = (PROJECT / "docs/methods.md").read_text(encoding="utf-8")
    for method in METHODS.values():
        assert f"\n| `{method.name}` | {method.sends} | {method.when}{' ' if method.when else ''}|\n" in table
    for option, does in OPTIONS.items():
        methods = ", ".join(f"`{name}`" for name in those_with(option))
        assert f"\n| `{option}` | {does} | {methods} |\n" in table


def test_the_table_has_every_strategy():
    table = (PROJECT / "docs/methods.md").read_text(encoding="utf-8")
    for strategy in of_engine("tensorflow"):
        methods, boards = ", ".join(f"`{name}`" for name in strategy.methods), strategy.most_boards or "any number"
        assert f"\n| `{strategy.name}` | {strategy.does} | {boards} | {methods} |\n" in table


def test_names_are_known_to_the_code(code, sources):
    """Roles' variables, records' fields, functions: whatever is written with an underscore."""
    known = set(re.findall(r"\w+", sources)) | {path.stem for path in FILES}
    for piece in code:
        if "/" not in piece:
            named = re.findall(r"(?<!\S)(?<!-k )[a-z]+_\w+", piece)
            assert set(named) <= known, piece


def test_mutants_that_are_explained_are_of_lines_that_there_are():
    for mutant in yaml.safe_load((PROJECT / "tests/mutants.yml").read_text(encoding="utf-8")):
        lines = (PROJECT / mutant["module"]).read_text(encoding="utf-8").splitlines()
        assert mutant["line"] in map(str.strip, lines), mutant


def test_the_hooks_before_a_commit_are_make_lint():
    hooks = yaml.safe_load((PROJECT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0]["hooks"]
    (lint,) = re.findall(r"-j --output-sync (.*)", (PROJECT / "Makefile").read_text(encoding="utf-8"))
    assert [hook["entry"] for hook in hooks] == [f"make {target}" for target in lint.split()]


def rows(page: str, heading: str) -> list[list[str]]:
    """The cells of the tables below a heading, up to the next one of its level or above."""
    level = heading.partition(" ")[0]
    text = (PROJECT / page).read_text(encoding="utf-8").partition(f"\n{heading}\n")[2]
    text = re.split(rf"^#{{1,{len(level)}}} ", text, maxsplit=1, flags=re.MULTILINE)[0]
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| `")
    ]


def test_the_readme_is_short_and_begins_with_its_status():
    readme = (PROJECT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(readme) <= 120
    beginning = " ".join(readme[:11])
    assert "no real Orin has run this yet" in beginning and "*emulated boards*" in beginning


def test_every_threat_has_tests_and_they_are_there():
    table = (PROJECT / "SECURITY.md").read_text(encoding="utf-8").partition("## Threats")[2]
    rows = [line for line in table.splitlines() if line.startswith("|")][2:]
    named = [re.findall(r"`([\w/]+\.py)::(test_\w+)`", row) for row in rows]
    assert len(rows) > 10 and all(named), "each row names a test"
    for path, name in (test for tests in named for test in tests):
        content = (PROJECT / "tests" / path).read_text(encoding="utf-8")
        assert re.search(rf"^\s*(async )?def {name}\(", content, re.MULTILINE), f"{path} has no {name}"


def test_usage_has_every_command():
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE)) - {"help"}
    told = {name for row in rows("docs/usage.md", "### make") for name in re.findall(r"`make ([a-z-]+)", row[0])}
    told |= set(re.findall(r"`make ([a-z-]+)", (PROJECT / "CONTRIBUTING.md").read_text(encoding="utf-8")))
    parts = {name for name in targets if name.startswith("lint-")}
    assert told | parts == targets
    told = {name for row in rows("docs/usage.md", "### Playbooks") for name in re.findall(r"`(\w+)`", row[0])}
    assert told == {path.stem for path in (PROJECT / "playbooks").glob("*.yml")}
    told = {
        name for row in rows("docs/usage.md", "### cluster-kit") for name in re.findall(r"`cluster-kit (\w+)", row[0])
    }
    assert told == set(commands_of(*COMMANDS, cli))


def test_the_guide_has_every_role_that_provisions():
    (play,) = yaml.safe_load((PROJECT / "playbooks/provision.yml").read_text(encoding="utf-8"))
    told = [row[0].strip("`") for row in rows("docs/boards.md", "## 5. Provision")]
    assert told == [it["role"] for it in play["roles"]]


def test_usage_tells_which_playbooks_become_root_on_boards():
    for row in rows("docs/usage.md", "### Playbooks"):
        for name in re.findall(r"`(\w+)`", row[0]):
            plays = yaml.safe_load((PROJECT / f"playbooks/{name}.yml").read_text(encoding="utf-8"))
            if any(play.get("become") for play in plays):
                assert row[2] == "on the boards", name


# What playbooks give to roles, and nobody else does.
GIVEN = {
    *("apt_packages", "apt_recommends", "apt_state", "apt_update", "apt_valid_s", "check_boards"),
    *("check_communication", "check_strategy", "check_strict_communication", "collect_interrupted"),
    *("firewall_peers", "lab_inventory"),
    *("run_config_boards", "run_config_gates", "run_config_given", "run_config_stages", "run_config_study"),
    "run_config_design",
    "study_boards",
}


def test_docs_have_every_variable_of_roles_with_its_default():
    tables = [*rows("docs/usage.md", "## Variables"), *rows("docs/variables.md", "## By role")]
    table = {row[0].strip("`"): row[1] for row in tables}
    files = (PROJECT / "roles").glob("*/defaults/main.yml")
    defaults = {
        name: value for file in files for name, value in yaml.safe_load(file.read_text(encoding="utf-8")).items()
    }
    short = {
        name for name in table if not name.startswith(tuple(f"{path.name}_" for path in (PROJECT / "roles").iterdir()))
    }
    assert short >= {"workers", "experiment", "override", "seed", "resume", "run_id", "study", "waive", "purge"}
    assert table.keys() - short - {"lab_core_share"} == defaults.keys() - GIVEN - {"lab_core_share"}
    for name in table.keys() - short:
        value = defaults[name]
        if isinstance(value, (bool, int, float)):
            shown = {str(value).lower(), str(value)}
            assert table[name].strip("`") in shown, name
        elif value in (None, "", [], {}) and not table[name].startswith("`"):
            assert table[name] in ("empty", "none"), name
        elif isinstance(value, str) and value and "{{" not in value:
            assert table[name].strip("`") == value, name


OF_OTHERS = {"No space left on device", "THESE PACKAGES DO NOT MATCH THE HASHES", "Could not start gRPC server"}


def test_messages_that_are_explained_are_those_of_the_code():
    code = [path for path in FILES if path.suffix in (".py", ".sh", ".yml") and PROJECT / "tests" not in path.parents]
    told = "\n".join(path.read_text(encoding="utf-8") for path in code)
    told = " ".join(re.sub(r"""["']\s*\n\s*f?["']""", "", told).split())
    quoted = [row[0] for row in rows("docs/boards.md", "## When something is wrong")]
    messages = {it for cell in quoted for it in re.findall(r"`([^`]+)`", cell) if " " in it} - OF_OTHERS
    for message in messages:
        for piece in message.split("..."):
            assert piece.strip(" ,:();") in told, message
    assert len(messages) > 15


def test_the_guide_shows_checks_as_they_are():
    guide, boards = (PROJECT / "docs/boards.md").read_text(encoding="utf-8"), ["orin-1", "orin-2"]
    pairs = [{"from": one, "to": other, "tool": "iperf3"} for one, other in (boards[::-1], boards)]
    good = [
        {**pair, "bit_per_s": rate, "round_trip_s": seconds}
        for pair, rate, seconds in zip(pairs, (938e6, 941e6), (0.00097, 0.00098), strict=True)
    ]
    # another program has orin-2's port, and its MTU was changed
    held = {"free": False, "pid": None, "command": None}
    boards_facts = {"orin-1": GOOD, "orin-2": {**GOOD, "port": held, "link": {**GOOD["link"], "mtu_bytes": 1400}}}
    errors = ("the kit does not answer at the port", "port 12345: Address already in use")
    bad = [{**pair, "error": error} for pair, error in zip(pairs, errors, strict=True)]
    found = [asdict(finding) for finding in judge(boards_facts, NEEDS, measured=bad)]
    for printed in (lines([], boards, good), lines(found, boards, bad)):
        assert "```\n" + "".join(f"  {line}\n" for line in printed) + "```" in guide


def test_usage_has_the_times_of_claims():
    """Benchmarks' times are those of docs/data, with which another test compares claims.md."""
    claims = (PROJECT / "docs/claims.md").read_text(encoding="utf-8")
    for name, minutes in re.findall(r"`make (bench-\w+)[^`]*`, (\d+) minutes", claims):
        (time,) = (row[2] for row in rows("docs/usage.md", "### make") if f"`make {name}" in row[0])
        assert time == f"{minutes} minutes", name


def measured(name):
    return json.loads((PROJECT / f"docs/data/bench-{name}.json").read_text())["summary"]


def times(rows: list[dict[str, Any]], base: str, arm: str) -> float:
    """An arm's images/s over those of its base in the same repeat: the median."""
    alone = {row["repeat"]: row["images_per_s"] for row in rows if row["arm"] == base}
    return statistics.median(row["images_per_s"] / alone[row["repeat"]] for row in rows if row["arm"] == arm)


def test_figures_in_words_are_the_measured_ones():
    """README, usage.md and claims.md repeat some of docs/data; results.md is made from it."""
    readme, usage = (" ".join((PROJECT / name).read_text().split()) for name in ("README.md", "docs/usage.md"))
    claims = (PROJECT / "docs/claims.md").read_text()
    efficiency = {(row["sync"], row["boards"]): row for row in measured("scale")}
    keras, local = (
        [efficiency[method, boards] for boards in (2, 4, 8)] for method in ("keras", "local_sgd, period 16")
    )
    two, four, eight = (f"{100 * row['of_no_sync']:.0f} %" for row in keras)
    assert (
        f"with plain Keras, two boards reach {two} of their images per second without communication, four {four} and "
        f"eight {eight}; with local SGD "
    ) in readme
    two, four, eight = (f"{100 * row['of_no_sync']:.0f} %" for row in local)
    assert f"; with local SGD {two}, {four} and {eight}." in readme
    learned = json.loads((PROJECT / "docs/data/bench-learning.json").read_text())["rows"]
    told = {row["boards"]: row for row in learning.summary(learned, "fashion")}
    assert {len(told[boards]["seeds"]) for boards in (1, 2, 4, 8)} == {5}
    two, four, eight = (f"{-100 * told[boards]['difference']:.1f}" for boards in (2, 4, 8))
    assert f"two boards end {two} points below it, four {four} and eight {eight}" in readme
    for boards in (2, 4, 8):
        row = told[boards]
        spread = f"{row['accuracy']:.4f} ({row['accuracy_min']:.4f} to {row['accuracy_max']:.4f})"
        points = f"{100 * row['difference']:+.2f} ({100 * row['bound']:+.2f})"
        passes = "not reached" if row["passes_ratio"] is None else f"{row['passes_ratio']:.2f}"
        assert f"| {spread} | {points} | {passes} |" in claims, boards
    for row in (*keras, *local):
        spread = f"{row['efficiency_min']:.2f} to {row['efficiency_max']:.2f}"
        assert f"{row['efficiency']:.2f} ({spread}); {100 * row['of_no_sync']:.0f} %" in claims
    for row in measured("playbook"):
        if row["warm"] and row["boards"] != 8:
            least, middle, most = (row[f"outside_training_s{end}"] for end in ("_min", "", "_max"))
            assert f"{middle:.1f} s ({least:.1f} to {most:.1f})" in claims, row["boards"]
    slower = json.loads((PROJECT / "docs/data/bench-straggler.json").read_text())["rows"]
    seconds = {row["arm"]: [it["epoch_s"] for it in slower if it["arm"] == row["arm"]] for row in slower}
    middle = {arm: statistics.median(found) for arm, found in seconds.items()}
    for arm in ("equal parts", "in proportion"):
        assert f"{1.5 * middle[arm] / middle['one board']:.2f} (n={len(seconds[arm])})" in claims, arm
    told = json.loads((PROJECT / "docs/data/bench-prediction.json").read_text())["rows"]
    furthest = f"within {100 * max(abs(row['error']) for row in told):.1f} %"
    assert f"time per epoch {furthest}" in claims and f"was predicted {furthest}" in usage
    controllers = {row["boards"]: row for row in measured("playbook") if row["warm"]}
    for stage in ("check", "collect"):
        few, many = (controllers[boards]["stages_s"][stage] for boards in (2, 32))
        assert f"{few:.1f} s for 2 boards, {many:.1f} s for 32" in usage, stage
    few, many = (controllers[boards]["outside_training_s"] for boards in (2, 32))
    assert f"{few:.1f} s for 2 boards, {many:.1f} s for 32" in usage
    methods = {(row["engine"], row["sync"], row["link"]): row for row in measured("sync")}
    told = ("bucket_bytes 2000000", "delay_steps 1")
    for sync in ("keras", *(f"allreduce, float16, {it}" for it in told), "powersgd, rank 4", "local_sgd, period 32"):
        row = methods["tensorflow", sync, "paper's ratio"]
        assert f"{row['speedup']:.2f} times" in claims, sync
        assert f"({row['speedup_min']:.2f} to {row['speedup_max']:.2f})" in claims, sync
    every, rare, ddp, post, c10d = (
        [f"{100 * methods[engine, sync, link]['of_no_sync']:.0f}" for link in ("paper's ratio", "1 Gbit/s")]
        for engine, sync in (
            ("tensorflow", "local_sgd, period 16"),
            ("tensorflow", "local_sgd, period 32"),
            ("pytorch", "ddp powersgd, rank 4"),
            ("pytorch", "ddp local_sgd, period 16"),
            ("pytorch", "c10d local_sgd, period 16"),
        )
    )
    of_links = f"period 16: {every[0]} and {every[1]} % at the two links; period 32: {rare[0]} and {rare[1]} %"
    assert of_links in claims
    assert f"PowerSGD {ddp[0]} %, post-local SGD {post[0]} %; the kit's local SGD on c10d {c10d[0]} %" in claims
    strategies = json.loads((PROJECT / "docs/data/bench-strategies.json").read_text())["rows"]
    alone = {row["repeat"]: row["images_per_s"] for row in strategies if row["arm"] == "none"}
    for arm in ("multi_worker_mirrored", "shared_servers", "dedicated_server"):
        found = sorted(row["images_per_s"] / alone[row["repeat"]] for row in strategies if row["arm"] == arm)
        assert f"{statistics.median(found):.2f}" in claims, arm
        assert arm == "dedicated_server" or f"({found[0]:.2f} to {found[-1]:.2f})" in claims, arm
    engines = json.loads((PROJECT / "docs/data/bench-engines.json").read_text())["rows"]
    alone = {(row["engine"], row["repeat"]): row["images_per_s"] for row in engines if row["boards"] == 1}
    for arm in ("keras", "local_sgd", "pytorch_ddp", "pytorch_local_sgd"):
        own = [row for row in engines if row["arm"] == arm]
        found = sorted(row["images_per_s"] / alone[row["engine"], row["repeat"]] for row in own)
        assert f"({found[0]:.2f} to {found[-1]:.2f})" in claims and f"{statistics.median(found):.2f} times" in claims, (
            arm
        )
    tensorflow, of_servers, ddp, ours, theirs = (
        f"{times(rows, base, arm):.2f}"
        for rows, base, arm in (
            (strategies, "none", "multi_worker_mirrored"),
            (strategies, "none", "shared_servers"),
            (engines, "pytorch_one_board", "pytorch_ddp"),
            (engines, "one_board", "local_sgd"),
            (engines, "pytorch_one_board", "pytorch_local_sgd"),
        )
    )
    assert (
        f"servers process {of_servers} times the images/s of one board (Multi Worker Mirrored {tensorflow}), and {ddp} "
        f"times with PyTorch's DDP. With local SGD it is {ours} times in TensorFlow and {theirs} times in PyTorch."
    ) in readme
    single = {row["variant"]: row for row in measured("single")}
    kit, head, cached = single["kit"], single["head"], single["head, cached features"]
    saved = [f"{-100 * kit[name]:.1f}" for name in ("cost", "cost_max", "cost_min")]
    assert f"{saved[0]} % less ({saved[1]} to {saved[2]} %)" in claims
    assert f"an epoch {head['epoch_s'] / cached['epoch_s']:.1f} times as fast" in claims
