"""Packages for provisioning dressed boards without an index: wheels packed from the boards' environment of this
machine, TensorFlow's named and versioned as NVIDIA's is, a few packages of source, and a lock of their hashes.
"""

from __future__ import annotations

import contextlib
import csv
import fcntl
import gzip
import hashlib
import inspect
import io
import json
import platform
import re
import shutil
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from .lab_layer import settings_of

FILE_VERSION, VERSION = "2.12.0+nv23.05", "2.12.0+nv23.5"  # of NVIDIA's TensorFlow: in its file's name, installed
TENSORFLOW = re.compile(r"tensorflow_cpu(_aws)?-")
OF_THE_INSTALLER = ("INSTALLER", "RECORD", "REQUESTED", "direct_url.json", "uv_cache.json")
SETTINGS = "settings.json"  # written last: the role python_env's, for these wheels


def make_wheels(python_env: Path, sources: Path, folder: Path) -> bool:
    """Makes the folder anew unless it was made from the same; returns whether it did. Without TensorFlow there is none.

    Args:
        python_env: the environment to pack
        sources: a folder per package of source, NAME-VERSION
        folder: for the wheel of TensorFlow, `packages/`, requirements.txt and settings.json
    """
    site = next((python_env / "lib").glob("python*/site-packages"))
    if not any(TENSORFLOW.match(path.name) for path in site.glob("*.dist-info")):
        return False
    key = _key(site, sources)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _alone(folder.with_name(f"{folder.name}.lock")):
        if (folder / SETTINGS).is_file() and json.loads((folder / SETTINGS).read_text()).get("made_from") == key:
            return False
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f"{folder.name}-") as name:
            made = Path(name, "made")
            (made / "packages").mkdir(parents=True)
            settings = _settings(python_env, folder)
            for info in sorted(site.glob("*.dist-info")):
                if TENSORFLOW.match(info.name):
                    settings["python_env_tensorflow"] = str(folder / _pack_tensorflow(info, made))
                else:
                    _pack(info, made / "packages")
            for source in sorted(sources.iterdir()):
                _archive(source, made / "packages")
            _lock(made)
            (made / SETTINGS).write_text(json.dumps({**settings, "made_from": key}, indent=2) + "\n")
            shutil.rmtree(folder, ignore_errors=True)
            made.rename(folder)
    return True


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _key(site: Path, sources: Path) -> str:
    """A digest of all that the wheels are made from."""
    records = [*site.glob("*.dist-info/RECORD"), *(path for path in sources.rglob("*") if path.is_file())]
    digest = hashlib.sha256(f"{site}{inspect.getsource(sys.modules[__name__])}".encode())
    for path in sorted(records):
        digest.update(f"{path.parent.name}/{path.name}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def _settings(python_env: Path, folder: Path) -> dict[str, str]:
    config = settings_of(str(python_env))
    version = ".".join((config.get("version_info") or config["version"]).split(".")[:2])
    return {
        "python_env_python": f"{config['home']}/python{version}",
        "python_env_python_version": version,
        "python_env_requirements": str(folder / "requirements.txt"),
        "python_env_wheels": str(folder / "packages"),
    }


def _pack(info: Path, folder: Path) -> None:
    _write_wheel(info, folder / f"{info.name.removesuffix('.dist-info')}-{_tag(info)}.whl", info.name, {})


def _pack_tensorflow(info: Path, folder: Path) -> str:
    """With the name and version of NVIDIA's wheel, and without asking for what the environment leaves out."""
    metadata = (info / "METADATA").read_text()
    metadata = re.sub(r"(?m)^Name: .*", "Name: tensorflow", metadata, count=1)
    metadata = re.sub(r"(?m)^Version: .*", f"Version: {VERSION}", metadata, count=1)
    metadata = re.sub(r"(?m)^Requires-Dist: (libclang|tensorflow-io-gcs-filesystem|tensorflow-cpu).*\n", "", metadata)
    python, abi, _ = _tag(info).split("-")
    name = f"tensorflow-{FILE_VERSION}-{python}-{abi}-linux_{platform.machine()}.whl"
    _write_wheel(info, folder / name, f"tensorflow-{VERSION}.dist-info", {"METADATA": metadata})
    return name


def _tag(info: Path) -> str:
    """The tag in a wheel's name, of those in its metadata: py2.py3-none-any."""
    tags = [tag.split("-") for tag in re.findall(r"(?m)^Tag: (\S+)", (info / "WHEEL").read_text())]
    return "-".join(".".join(dict.fromkeys(parts)) for parts in zip(*tags))


def _write_wheel(info: Path, path: Path, inside: str, changed: dict[str, str]) -> None:
    """Packs what the package's RECORD lists; `inside` is what its folder of metadata is called in the wheel."""
    with (info / "RECORD").open(newline="") as file:
        names = [row[0] for row in csv.reader(file) if row]
    record = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as wheel:
        for name in names:
            here, is_info = info.parent / name, name.startswith(f"{info.name}/")
            if name.startswith("..") or "__pycache__" in name or not here.is_file():
                continue  # pip makes programs and compiled files itself
            if is_info and here.name in OF_THE_INSTALLER:
                continue
            where = f"{inside}/{name.split('/', 1)[1]}" if is_info else name
            if is_info and here.name in changed:
                wheel.writestr(where, changed[here.name])
            else:
                wheel.write(here, where)
            record.append(f"{where},,")
        wheel.writestr(f"{inside}/RECORD", "\n".join([*record, f"{inside}/RECORD,,", ""]))


def _archive(source: Path, folder: Path) -> None:
    """An archive of source as an index has it, the same bytes each time."""
    name, _, version = source.name.rpartition("-")
    files = {str(path.relative_to(source)): path.read_bytes() for path in source.rglob("*") if path.is_file()}
    files["PKG-INFO"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for where, content in sorted(files.items()):
            member = tarfile.TarInfo(f"{source.name}/{where}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    (folder / f"{source.name}.tar.gz").write_bytes(gzip.compress(packed.getvalue(), mtime=0))


def _lock(folder: Path) -> None:
    lines = []
    for path in sorted((folder / "packages").iterdir()):
        name, version = path.name.removesuffix(".tar.gz").split("-")[:2]
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        lines.append(f"{name.replace('_', '-').lower()}=={version} \\\n    --hash=sha256:{digest}\n")
    (folder / "requirements.txt").write_text("".join(lines))
