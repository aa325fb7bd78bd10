"""Playbooks that a playbook starts: the command's options and secrets reach them, and nothing else sees the secrets."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from ansible.cli.playbook import PlaybookCLI
from ansible.parsing.vault import VaultLib, VaultSecret

from controller import child_playbook
from controller.child_playbook import HANDED_ON, REFUSED
from tests import PROJECT

BIN = Path(sys.executable).parent
OWN = {
    "check",
    "args",
    "listhosts",
    "listtasks",
    "listtags",
    "syntax",
    "help",
    "version",
}  # what starts no child, or asks
# of ansible-playbook's options those for secrets, which the child gets through its standard input
SECRETS = {
    "--vault-id": "vault_ids",
    "--vault-password-file": "vault_password_files",
    "--ask-vault-password": "ask_vault_pass",
    "--connection-password-file": "connection_password_file",
    "--ask-pass": "ask_pass",
    "--become-password-file": "become_password_file",
    "--ask-become-pass": "become_ask_pass",
}
PLAYBOOK = Path("/kit/playbooks/run_experiment.yml")
TOLD = {"value": "{{ secret }}", "another": "{{ another | default(None) }}"}

# An action that writes down all that the child was given, and all that other processes can see of it.
TELL = """
import json, os
from pathlib import Path
from ansible import context
from ansible.plugins.action import ActionBase

class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        seen, pid = [f"{name}={value}" for name, value in os.environ.items()], os.getpid()
        while pid > 1:
            seen.append(Path(f"/proc/{pid}/cmdline").read_text())
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        context_ = self._play_context
        told = {"password": context_.password, "become": context_.become_pass, "args": self._task.args,
                "user": context.CLIARGS["remote_user"], "folder": os.getcwd(), "seen": "\\n".join(seen)}
        with open(os.environ["TOLD"], "a") as file:
            print(json.dumps(told, default=str), file=file)
        return {}
"""


def parsed(*arguments: str) -> Mapping:
    """ansible-playbook's CLIARGS."""
    cli = PlaybookCLI(["ansible-playbook"])
    cli.init_parser()
    return vars(cli.post_process_args(cli.parser.parse_args([*arguments, str(PLAYBOOK)])))


def of_child(*arguments: str) -> Mapping:
    words = child_playbook.command(parsed(*arguments), PLAYBOOK, {"workers": 2})
    assert words[:3] == [sys.executable, "-P", child_playbook.__file__] and words[-1] == str(PLAYBOOK)
    return parsed(*words[3:-1])


def test_every_option_of_ansible_playbook_has_its_place():
    cli = PlaybookCLI(["ansible-playbook"])
    cli.init_parser()
    for action in cli.parser._actions:
        placed = [table for table in (HANDED_ON, REFUSED, SECRETS) if action.dest in table.values()]
        assert len(placed) + (action.dest in OWN) == 1, action.option_strings
        for option in (option for table in placed for option, key in table.items() if key == action.dest):
            assert option in action.option_strings


@pytest.mark.parametrize(
    "given",
    [
        ["-i", "some/hosts.yml", "-i", "one,two,"],
        ["--limit", "orin-1,!orin-2"],
        ["-e", "seed=2", "-e", "@some/vars.yml", "-e", '{"override": {"epochs": 2}}'],
        ["-u", "nvidia"],
        ["--private-key", "keys/id"],
        ["-c", "local"],
        ["-T", "7"],
        ["--ssh-common-args", "-o ProxyJump=there"],
        ["--sftp-extra-args=-l 10"],
        ["--scp-extra-args=-l 10"],
        ["--ssh-extra-args=-R 1:localhost:1"],
        ["-b"],
        ["--become-method", "su"],
        ["--become-user", "it's me"],
        ["-f", "3"],
        ["-M", "one:two", "-M", "three"],
        ["-D"],
        ["--force-handlers"],
        ["--flush-cache"],
        ["-vvv"],
        [],
    ],
    ids=lambda given: given[0].partition("=")[0] if given else "none",
)
def test_the_child_has_the_options_of_the_command(given: Sequence[str]):
    wanted, got = dict(parsed(*given)), dict(of_child(*given))
    assert not given or wanted != dict(parsed())
    assert got.pop("extra_vars") == [*wanted.pop("extra_vars"), '{"workers": 2}'], "its own come last, and so win"
    assert got == wanted


def test_verbosity_of_the_configuration_is_not_added_twice(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("ansible.constants.DEFAULT_VERBOSITY", 1)
    assert child_playbook.command(parsed("-v"), PLAYBOOK, {}).count("--verbose") == 1


@pytest.mark.parametrize(
    "given, told",
    [
        (["--tags", "train,check"], "--tags "),
        (["--skip-tags", "collect"], "--skip-tags collect"),
        (["--start-at-task", "Compare them"], "--start-at-task Compare them"),
        (["--step"], "--step selects"),
    ],
)
def test_what_is_for_one_playbook_is_refused(given: Sequence[str], told: str):
    (problem,) = child_playbook.problems(parsed(*given))
    assert problem.startswith(told) and problem.endswith("leave it out")


def test_all_that_is_refused_is_said_at_once():
    assert len(child_playbook.problems(parsed("--step", "-t", "train"))) == 2
    assert child_playbook.problems(parsed("-e", "seed=1", "-vv", "--limit", "orin-1")) == []


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Stands in for the checkout: playbooks that tell what they were given, on a board without a connection."""
    play = {"hosts": "boards", "gather_facts": False, "tasks": [{"tell": TOLD}]}
    files = {
        "playbooks/run_experiment.yml": yaml.safe_dump([play]),
        "playbooks/action_plugins/tell.py": TELL,
        "studies/small.yml": "{experiment: rehearsal, repeats: 2, order_seed: 1, arms: {one: {workers: 1}}}",
        "inventory/hosts.yml": "boards: {hosts: {orin-1: {}}}",
        "runs/.keep": "",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "experiments").symlink_to(PROJECT / "experiments")
    return tmp_path


def vaulted(text: str, password: bytes, label: str | None = None) -> str:
    sealed = VaultLib().encrypt(text, secret=VaultSecret(password), vault_id=label).decode()
    return "!vault |\n" + "".join(f"  {line}\n" for line in sealed.splitlines())


def environment(project: Path, **more: str) -> dict[str, str]:
    own = {"ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1", "TOLD": str(project / "told")}
    return {**os.environ, **own, **more}


def told(project: Path) -> list[dict]:
    return [json.loads(line) for line in (project / "told").read_text().splitlines()]


def in_terminal(
    command: Sequence[str], answers: Sequence[tuple[str, str]], folder: Path, environment: Mapping[str, str]
) -> tuple[int, str]:
    """Runs a command in a terminal of its own, and answers when it asks: exit code and what was on the screen."""
    pid, terminal = pty.fork()
    if not pid:
        os.chdir(folder)
        os.execve(command[0], command, environment)
    shown, left = b"", list(answers)
    while True:
        try:
            chunk = os.read(terminal, 4096)
        except OSError:  # its end
            break
        shown += chunk
        if left and shown.rstrip().endswith(left[0][0].encode()):
            os.write(terminal, f"{left.pop(0)[1]}\n".encode())
    os.close(terminal)
    assert not left, f"never asked: {left}\n{shown.decode()}"
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown.decode(errors="replace")


@pytest.mark.parametrize("way", ["options", "configuration"])
def test_a_study_asks_for_secrets_once_and_its_runs_have_them(project: Path, way: str):
    """Two labels of the vault, and passwords that are typed or in the vault; no other process sees them."""
    vault, other, password, become = "v@ult 'pä$s\"", "0ther\\secret", "  s5h pass ", "b€come\t "
    boards = f"ansible_become: true\nsecret: {vaulted('the value', vault.encode())}"
    asked = [("SSH password:", password), ("(other):", other), ("Vault password:", vault)]
    if way == "options":
        given, asking = ["-k", "-K", "--ask-vault-pass", "--vault-id", "other@prompt"], {}
        asked.insert(1, ("[defaults to SSH password]:", become))
    else:
        boards += f"ansible_become_password: {vaulted(become, vault.encode())}"
        given, asking = [], {"ANSIBLE_ASK_PASS": "1", "ANSIBLE_ASK_VAULT_PASS": "1"}
        asking["ANSIBLE_VAULT_IDENTITY_LIST"] = "other@prompt"
    (project / "inventory/group_vars").mkdir()
    (project / "inventory/group_vars/boards.yml").write_text(boards)
    (project / "more.yml").write_text(f"another: {vaulted('another value', other.encode(), 'other')}")
    variables = {"study": "studies/small.yml", "study_measure": False, "study_tries": 1}
    variables |= {"kit_project": str(project), "study_runs_dir": str(project / "runs")}
    code, shown = in_terminal(
        [
            *(str(BIN / "ansible-playbook"), str(PROJECT / "playbooks/run_study.yml"), *given),
            *("-i", "inventory", "-u", "nvidia", "-e", "@more.yml", "-e", json.dumps(variables)),
        ],
        asked,
        project,
        environment(project, **asking),
    )
    assert code == 2 and "Missing are small/one/1, small/one/2" in shown, "the stand-in leaves no run"
    assert len(told(project)) == 2
    for run in told(project):
        assert (run["user"], run["folder"]) == ("nvidia", str(project))
        assert (run["password"], run["become"]) == (password, become)
        assert run["args"] == {"value": "the value", "another": "another value"}
        assert "--user=nvidia" in run["seen"], "the child's arguments are among it"
        for secret in (vault, other, password.strip(), become.strip()):
            assert secret not in run["seen"] + shown


def test_a_study_refuses_before_it_starts_anything(project: Path):
    variables = {"kit_project": str(project), "study_runs_dir": str(project / "runs"), "study": "small"}
    done = subprocess.run(
        [
            *(BIN / "ansible-playbook", PROJECT / "playbooks/run_study.yml", "-i", project / "inventory"),
            *("-e", json.dumps(variables), "--tags", "train"),
        ],
        env=environment(project),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2 and "--tags train selects tasks of a single playbook" in done.stdout
    assert not (project / "told").exists()


@pytest.mark.parametrize("secret", [b" blanks \n", "pässwörd".encode(), b"\xff\x00 no text", b"k" * 100_000])
def test_a_vault_secret_arrives_as_it_is(project: Path, monkeypatch: pytest.MonkeyPatch, secret: bytes):
    """A script's secret may end in blanks, and a file's may be any bytes; and the child asks for nothing."""
    (project / "inventory/group_vars").mkdir()
    (project / "inventory/group_vars/all.yml").write_text("secret: " + vaulted("the value", secret))
    current = SimpleNamespace(secrets=[("wrong", VaultSecret(b"wrong")), ("default", VaultSecret(secret))])
    monkeypatch.setattr("ansible.parsing.vault.VaultSecretsContext.current", lambda optional: current)
    done = subprocess.run(
        child_playbook.command(
            {**parsed("-i", str(project / "inventory")), "become_ask_pass": True, "ask_vault_pass": True},
            project / "playbooks/run_experiment.yml",
            {},
        ),
        input=child_playbook.handed_over(SimpleNamespace(password=None, become_pass=None)),
        env=environment(project, ANSIBLE_VAULT_PASSWORD_FILE="/nowhere", ANSIBLE_BECOME_ASK_PASS="1"),
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert [(it["args"]["value"], it["become"]) for it in told(project)] == [("the value", None)]
    assert done.stderr == b""
