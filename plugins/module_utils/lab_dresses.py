"""The dresses: what emulated boards can look like, told by how each differs from the first one."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Dress:
    """What a dress changes in the first one's files, roles/lab/files/orin: an AGX Orin devkit with JetPack 5.1.1."""

    jetson: bool = True
    changed: Mapping[str, str] = field(default_factory=dict)  # text, in files and their names; in this order
    without: tuple[str, ...] = ()  # files and folders that it lacks
    own: str = ""  # folder beside that one, whose files it has in their place
    suite: str = "r35.3"  # of NVIDIA's packages


def _release(l4t: str, jetpack: str, cuda: str = "11.4") -> dict[str, str]:
    """What another release of Jetson Linux changes; the build numbers are the lab's own."""
    major, minor = l4t.split(".", 1)
    apart, whole = cuda.replace(".", "-"), ".".join(l4t.split(".")[:2])
    old = {"cuda-11.4": f"cuda-{cuda}", "11-4": apart, "release 11.4, V11.4": f"release {cuda}, V{cuda}"}
    before, after = whole.rsplit(".", 1)
    return {
        "R35 (release), REVISION: 3.1": f"R{major} (release), REVISION: {minor}",
        "35.3.1-": f"{l4t}-",
        "5.1.1-b56": f"{jetpack}-b1",
        "(>> 35.3)": f"(>> {whole})",
        "(<< 35.4)": f"(<< {before}.{int(after) + 1})",
        "r35.3": f"r{whole}",
        **(old if cuda != "11.4" else {}),
    }


_NANO = {
    "p3737-0000+p3701-0000": "p3768-0000+p3767-0005",
    "AGX Orin Developer Kit": "Orin Nano Developer Kit",
    "NAME=MAXN": "NAME=15W",  # it has modes of other names
}
DRESSES = {
    "orin": Dress(),
    "orin-5.1.5": Dress(changed=_release("35.6.1", "5.1.5"), suite="r35.6"),
    "orin-6.2": Dress(changed=_release("36.4.3", "6.2", "12.6"), suite="r36.4"),
    "orin-nano": Dress(changed={**_release("35.6.1", "5.1.5"), **_NANO}, suite="r35.6"),
    "debian": Dress(
        jetson=False,
        without=(
            "bin/jetson_clocks.py",
            "bin/tegrastats.py",
            "bin/nmcli.sh",
            "sbin/ip.sh",
            "sbin/nvpmodel.py",
            "units/nvpmodel.service",
            "etc/systemd/system/multi-user.target.wants/nvpmodel.service",
            "etc/nv_tegra_release",
            "etc/nvpmodel.conf",
            "etc/environment",
            "etc/apt/sources.list.d",
            "device-tree",
            "devices",
            "packages/nvidia-repo.control",
        ),
        changed={
            "Package: nvidia-l4t-core\n": "Package: base-files\n",
            "35.3.1-20230319081403": "12.4",
        },
        own="debian",
    ),
}


def compose(name: str, files: Path, lab_dir: Path) -> Path:
    """The folder of a dress in the lab's, made of the first one's (in `files`) where that was not done before."""
    dress, target = DRESSES[name], lab_dir / f"dress-{name}"
    if target.exists():
        return target
    draft = target.with_name(f"{target.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(files / "orin", draft, symlinks=True)
    for absent in dress.without:
        shutil.rmtree(draft / absent) if (draft / absent).is_dir() else (draft / absent).unlink()
    if dress.own:
        shutil.copytree(files / dress.own, draft, dirs_exist_ok=True)
    for path in sorted(draft.rglob("*"), reverse=True):  # what is in a folder before the folder
        if path.is_symlink():
            link = _changed(str(path.readlink()), dress.changed)
            path.unlink()
            path.symlink_to(link)
        elif path.is_file():
            path.write_text(_changed(path.read_text(encoding="utf-8"), dress.changed), encoding="utf-8")
        path.rename(path.with_name(_changed(path.name, dress.changed)))
    draft.rename(target)
    return target


def _changed(text: str, changes: Mapping[str, str]) -> str:
    for old, new in changes.items():
        text = text.replace(old, new)
    return text
