"""What the role network makes of interfaces: names of boards, and the file that sets an MTU at every start."""

import importlib
import json
import socket
import sys

import pytest

DEFAULT_LINK = """\
# Ubuntu's
[Match]
OriginalName=*

[Link]
NamePolicy=keep kernel database onboard slot path
; MTUBytes=9000
MTUBytes=1500
MACAddressPolicy=persistent
[SR-IOV]
VirtualFunction=0
"""


class Module:
    """Ansible's module, as far as it runs programs; these print what a test says."""

    def __init__(self, options, printed):
        self.params, self.printed, self.ran = options, printed, []

    def get_bin_path(self, name):
        return name if any(command[0] == name for command in self.printed) else None

    def run_command(self, arguments, **_):
        self.ran.append(tuple(arguments))
        return 0, self.printed.get(tuple(arguments), ""), ""


@pytest.fixture
def modules(monkeypatch):
    """The role's modules, with what Ansible puts beside them."""
    board_link = importlib.import_module("plugins.module_utils.board_link")
    monkeypatch.setitem(sys.modules, "ansible.module_utils.board_link", board_link)
    return importlib.import_module("plugins.modules.training_link"), importlib.import_module("plugins.modules.link_mtu")


@pytest.fixture
def eth0(modules, tmp_path, monkeypatch):
    """An interface of an Orin, and the commands that tell of it; the module's class for it."""
    _, link_mtu = modules
    monkeypatch.setattr(link_mtu, "NET", tmp_path)
    monkeypatch.setattr("plugins.module_utils.board_link.NET", tmp_path)
    (tmp_path / "eth0").mkdir()
    for name, text in (("mtu", "1466"), ("address", "48:b0:2d:00:00:01"), ("addr_assign_type", "0")):
        (tmp_path / "eth0" / name).write_text(f"{text}\n")
    (tmp_path / "99-default.link").write_text(DEFAULT_LINK)
    printed = {
        ("nmcli", "--get-values", "GENERAL.CON-UUID", "device", "show", "eth0"): "uuid-1\n",
        ("nmcli", "--get-values", "802-3-ethernet.mtu", "connection", "show", "uuid", "uuid-1"): "auto\n",
        ("udevadm", "info", "--query=property", f"--path={tmp_path / 'eth0'}"): (
            f"INTERFACE=eth0\nID_NET_LINK_FILE={tmp_path / '99-default.link'}\n"
        ),
    }
    options = {
        "state": "set",
        "interface": "eth0",
        "mtu": 1400,
        "state_dir": str(tmp_path / "state"),
        "link_file": str(tmp_path / "10-cluster-kit.link"),
    }
    return lambda **changes: link_mtu.Change(Module({**options, **changes}, printed))


def test_an_interface_is_found_by_a_name_as_the_board_knows_it(modules, monkeypatch):
    training_link, _ = modules
    shown = [
        {"ifname": "lo", "addr_info": [{"local": "127.0.0.1"}]},
        {"ifname": "eth0", "addr_info": [{"local": "192.168.1.11"}, {"local": "10.0.0.1"}]},
    ]
    module = Module({}, {("ip", "-json", "address", "show"): json.dumps(shown)})
    known = {"orin-1": "10.0.0.1", "orin-2": "10.0.0.2", "10.0.0.1": "10.0.0.1"}

    def resolve(name, port, family):
        if name not in known:
            raise socket.gaierror("Name or service not known")
        return [(family, 0, 0, "", (known[name], 0))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    for name in ("orin-1", "10.0.0.1"):
        assert training_link.find_interface(module, name).name == "eth0"
    for name, told in (("orin-2", r"orin-2 \(10\.0\.0\.2\)"), ("orin-3", r"orin-3 \(unknown on the board\)")):
        with pytest.raises(training_link.LinkError, match=f"{told} is on no interface.* eth0 192.168.1.11, 10.0.0.1:"):
            training_link.find_interface(module, name)


def test_the_file_that_sets_an_mtu_also_says_what_the_one_before_it_said(eth0, modules):
    change = eth0()
    assert modules[1].link_text(change.match, change.others, 1434).splitlines()[1:] == [
        "[Match]",
        "PermanentMACAddress=48:b0:2d:00:00:01",
        "",
        "[Link]",
        "NamePolicy=keep kernel database onboard slot path",
        "MACAddressPolicy=persistent",
        "MTUBytes=1434",
    ]


def test_an_interface_whose_hardware_has_no_address_is_matched_by_its_name(eth0, tmp_path):
    (tmp_path / "eth0/addr_assign_type").write_text("1\n")  # a random one
    assert eth0().match == "OriginalName=eth0"


def test_a_file_that_would_count_before_ours_is_told(eth0, modules, tmp_path):
    (tmp_path / "99-default.link").rename(tmp_path / "05-mine.link")
    change = eth0()  # udev still says the one of the last start
    change.module.printed = {key: text.replace("99-default", "05-mine") for key, text in change.module.printed.items()}
    with pytest.raises(modules[1].LinkError, match=r"05-mine\.link sets up eth0 .*: write MTUBytes=1400 there"):
        change._link_file()


def test_an_mtu_too_small_to_train_over_is_refused(eth0, modules):
    with pytest.raises(modules[1].LinkError, match=r"network_mtu=1279 .*: give 1280 bytes or more"):
        eth0(mtu=1279)


def test_a_change_that_is_not_confirmed_is_taken_back(eth0, modules, tmp_path, monkeypatch):
    """Nor is anything kept for later starts."""
    _, link_mtu = modules
    asked = []

    def set_now(module, name, mtu):
        asked.append(mtu)
        (tmp_path / "eth0/mtu").write_text(f"{mtu}\n")
        return mtu + 34

    monkeypatch.setattr(link_mtu, "set_now", set_now)
    change = eth0()
    assert change.differs
    with pytest.raises(link_mtu.LinkError, match=r"with an MTU of 1400 bytes .* 0\.2 s, so that eth0 has 1466 again"):
        change.make(0.2)
    assert asked == [1400, 1466] and list((tmp_path / "state").iterdir()) == []
    assert not (tmp_path / "10-cluster-kit.link").exists()
    assert not any("modify" in command for command in change.module.ran)


def test_what_fails_after_the_confirmation_is_taken_back_too(eth0, modules, tmp_path, monkeypatch):
    _, link_mtu = modules
    asked = []
    monkeypatch.setattr(link_mtu, "set_now", lambda module, name, mtu: asked.append(mtu))
    monkeypatch.setattr(link_mtu.Change, "_wait", lambda self, confirm_s: (tmp_path / "eth0/mtu").write_text("1400\n"))

    def refuse(self, later):
        raise link_mtu.LinkError("no such connection")

    monkeypatch.setattr(link_mtu.Change, "_set_profile", refuse)
    (tmp_path / "10-cluster-kit.link").write_text("before\n")
    with pytest.raises(link_mtu.LinkError, match="no such connection"):
        eth0().make(1)
    assert asked == [1400, 1466] and list((tmp_path / "state").iterdir()) == []
    assert (tmp_path / "10-cluster-kit.link").read_text() == "before\n"
