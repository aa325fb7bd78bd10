"""Downloads on the controller that take long, through the roles that make them: what is on the screen meanwhile."""

import hashlib
import os
import shutil
import subprocess

import pytest
import yaml

from controller import assets
from tests import PROJECT
from tests.slow_site import slow_site, told_in_time

CONTENT = os.urandom(4_000_000)
BOARD = {"relative_speed": 1, "training_address": "192.168.1.11", "ssh_address": "192.168.1.11"}
RATE = 250_000  # bytes a second: 16 s, with a line after 10
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def play(folder, role, tasks_from, project=PROJECT, **variables):
    """What a playbook prints that has one board, which is this machine, and these tasks of a role; `project`: whose
    Python packages run."""
    include = {"ansible.builtin.include_role": {"name": role, "tasks_from": tasks_from}}
    (folder / "play.yml").write_text(
        yaml.safe_dump([{"hosts": "boards", "gather_facts": False, "vars": variables, "tasks": [include]}])
    )
    (folder / "hosts.yml").write_text(yaml.safe_dump({"boards": {"hosts": {"orin-1": BOARD}}}))
    done = subprocess.run(
        [PROJECT / ".venv/bin/ansible-playbook", "-i", folder / "hosts.yml", "-c", "local", folder / "play.yml"],
        env={**os.environ, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "PYTHONPATH": str(project)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_the_resolve_stage_says_how_much_of_the_data_set_is_there(tmp_path, monkeypatch):
    """From a checkout whose CIFAR-100 is at another address, which is https as well."""
    for folder in ("trainer", "controller", "analysis", "experiments", "plugins/modules"):
        shutil.copytree(PROJECT / folder, tmp_path / folder)
    certificate = make_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with slow_site({"cifar-100-python.tar.gz": CONTENT}, RATE, certificate=certificate) as site:
        source = (tmp_path / "controller/assets.py").read_text()
        address, sha256 = assets.DOWNLOADS["cifar100"]
        for real, standin in ((address, f"{site.url}/cifar-100-python.tar.gz"), (sha256, SHA256)):
            assert source.count(real) == 1
            source = source.replace(real, standin)
        (tmp_path / "controller/assets.py").write_text(source)
        settings = {"kit_project": str(tmp_path), "run_config_override": {"model": {"weights": "none"}}}
        code, output = play(tmp_path, "run_config", "resolve", project=tmp_path, **settings)
    assert code == 0, output
    task = "run_config : resolve | Validate the inputs of all stages, and resolve the run"
    assert told_in_time(output, task, "localhost", "cifar-100-python.tar.gz"), output
    (archive,) = (tmp_path / ".cache").glob("*-cifar-100-python.tar.gz")
    assert archive.read_bytes() == CONTENT


def make_certificate(folder):
    """A certificate of this machine with its key."""
    path = folder / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", path, "-out", folder / "own.pem"]
    command += ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(command, check=True, capture_output=True)
    path.write_text(path.read_text() + (folder / "own.pem").read_text())
    return path


@pytest.mark.slow
def test_provisioning_says_how_much_of_the_wheel_is_there_and_pins_it(tmp_path):
    name, settings = "tensorflow-2.12.0-cp38-cp38-linux_aarch64.whl", {"python_env_downloads": str(tmp_path)}
    with slow_site({name: CONTENT}, RATE) as site:
        settings["python_env_tensorflow"] = f"{site.url}/{name}"
        code, output = play(tmp_path, "python_env", "wheel", **settings)
        assert code == 0 and told_in_time(output, "python_env : wheel | Download the wheel", "localhost", name), output
        assert "WARNING: no checksum" in output and SHA256 in output
        assert (tmp_path / f"{name}.sha256").read_text() == f"{SHA256}\n"
        code, output = play(tmp_path, "python_env", "wheel", **settings)
        assert "changed=0" in output and code == 0 and len(site.asked) == 1, "it is there"
    (tmp_path / name).write_bytes(b"torn")
    with slow_site({name: b"another one"}, 1e9) as site:  # the pin is asked for, which is not met
        settings["python_env_tensorflow"] = f"{site.url}/{name}"
        code, output = play(tmp_path, "python_env", "wheel", **settings)
    said = " ".join(output.split())
    assert (
        code == 2 and f"cannot be downloaded (it has the checksum {hashlib.sha256(b'another one').hexdigest()}" in said
    )
    assert "fetch it elsewhere" in said and (tmp_path / name).read_bytes() == b"torn"
