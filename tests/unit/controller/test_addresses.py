"""Where boards are, as people write it: what is wrong with an address is told before a board is asked."""

import pytest

from controller.addresses import is_own_network, peer_faults, problems_with


def told(address, board="b") -> list[str]:
    return problems_with(["a", board], {"a": "192.168.1.11", board: address}, {"a": "192.168.1.11"})


@pytest.mark.parametrize(
    "address",
    ["192.168.1.12", "10.0.0.0", "198.18.77.12", "169.254.3.4", "orin-2", "orin_2", "orin-2.lan.example", "2nd-orin"],
)
def test_a_plain_address_or_name_is_taken(address):
    assert told(address) == []


@pytest.mark.parametrize(
    ("address", "says"),
    [
        (
            "fd00::12",
            "it is an IPv6 address, but TF_CONFIG and the gates support only IPv4; give the board's IPv4 address",
        ),
        ("[fd00::12]", "IPv6"),
        ("[fd00::12]:22", "IPv6"),
        ("fe80::1%eth0", "IPv6"),
        ("fd00::12/64", "IPv6"),
        ("::ffff:192.168.1.12", "IPv6"),
        ("nvidia@192.168.1.12", "it has a user, which goes into ansible_user; give the address alone"),
        ("nvidia@orin-2:22", "it has a user"),
        ("192.168.1.12:22", "it has a port, which goes into ansible_port"),
        ("orin-2:12345", "it has a port"),
        ("192.168.1.12/24", "it has a prefix; give the address alone"),
        ("192.168.1.12/255.255.255.0", "it has a prefix"),
        ("ssh://nvidia@orin-2", "it has a port"),
        ("http://192.168.1.12/", "it has a port"),
        ("010.0.0.1", "Leading zeros are not permitted in '010'"),
        ("192.168.001.012", "Leading zeros are not permitted"),
        ("192.168.1.12.5", "Expected 4 octets"),
        ("192.168.1", "Expected 4 octets"),
        ("3232235788", "Expected 4 octets"),
        ("0x7f.1", "Expected 4 octets"),
        ("0xc0.168.1.12", "Only decimal digits permitted in '0xc0'"),
        ("192.168.1.256", "Octet 256 (> 255) not permitted"),
        ("192.168..12", "give an IPv4 address such as 192.168.1.11, or a host name"),
        ("", "it is empty; give the board's IPv4 address or host name"),
        (" \t", "it is empty"),
        (None, "it is empty"),
        (" 192.168.1.12", "it has a space; give the address alone"),
        ("192.168.1.12\n", "it has a space"),
        ("192.168.1.12 10.0.0.12", "it has a space"),
        ("192.168.1.12,10.0.0.12", "Expected 4 octets"),
        (192.168, "it is not text"),
        (True, "it is not text"),
        (["192.168.1.12"], "it is not text"),
        ("0.0.0.0", "it is not a host's address"),
        ("127.0.0.1", "every board has this address itself"),
        ("127.3.2.1", "every board has this address itself"),
        ("localhost", "every board has this address itself"),
        ("LocalHost.localdomain", "every board has this address itself"),
        (
            "192.168.55.1",
            "every Jetson has this network itself: l4tbr0, for a PC at its USB port; give the address at which the",
        ),
        ("172.17.0.1", "every machine with Docker has this network itself: docker0; give the address"),
        ("224.0.0.251", "it is a multicast, broadcast or reserved address"),
        ("255.255.255.255", "it is a multicast, broadcast or reserved address"),
        ("-orin", "it is neither an IPv4 address nor a host name"),
        ("orin-.lan", "it is neither"),
        ("orin-2.", "it is neither"),
        ("würfel", "it is neither"),
        ("\uff11\uff19\uff12.168.1.12", "Only decimal digits permitted"),
        ("$BOARD", "it is neither"),
        ("x" * 64, "it is neither"),
        (".".join(["x"] * 128), "it is neither"),
    ],
)
def test_what_is_wrong_with_an_address_is_told_with_the_remedy(address, says):
    (problem,) = told(address)
    assert problem.startswith(f"training_address of b is {address!r}: ") and says in problem


def test_a_single_board_may_be_this_machine():
    for address in ("127.0.0.1", "localhost", "192.168.55.1"):
        assert problems_with(["a"], {"a": address}, {"a": address}) == []


def test_an_address_that_ssh_alone_uses_may_be_that_of_the_usb_port():
    assert problems_with(["a", "b"], {"a": "10.0.0.1", "b": "10.0.0.2"}, {"a": "192.168.55.1", "b": "10.0.0.2"}) == []


def test_a_firewall_takes_addresses_alone_and_tells_of_all_others():
    assert peer_faults(["192.168.1.11", "10.0.0.2", "fd00::12"]) == peer_faults(["127.0.0.1"]) == []
    wrong = {
        "1.2.3.4:22": "it has a port",
        "1.2.3.4/24": "it has a prefix",
        "1.2.3.456": "Octet 456 (> 255) not permitted",
        "[fd00::12]:22": "it is an IPv6 address",
        "fe80::1%eth0": "it is an IPv6 address",
        "orin-2": "firewall rules need numbers, not names",
        "face": "firewall rules need numbers",
        "": "it is empty",
        "192.168.55.1": "every Jetson has this network itself",
        "::1": "it is an IPv6 address",
    }
    faults = peer_faults(["192.168.1.11", *wrong])
    assert len(faults) == len(wrong)
    for fault, (address, told) in zip(faults, wrong.items(), strict=True):
        assert fault.startswith(f"{address!r}: {told}"), fault


@pytest.mark.parametrize("interface", ["l4tbr0", "docker0", "br-0123456789ab", "usb0", "rndis0", "virbr0", "veth3f"])
def test_networks_inside_a_board_are_known_by_the_names_of_their_interfaces(interface):
    assert is_own_network(interface)


@pytest.mark.parametrize("interface", ["eth0", "br0", "br-lan", "enx0050b6", "bond0", "usb", "wlan0", "lo"])
def test_other_interfaces_reach_other_boards(interface):
    assert not is_own_network(interface)


def test_two_boards_cannot_share_an_address():
    shared = {"a": "Orin", "b": "10.0.0.2", "c": "orin"}
    (problem,) = problems_with(["a", "b", "c"], shared, {})
    assert problem == "a and c have the same training_address, 'orin': give each board its own in hosts.yml"


def test_an_address_that_ssh_uses_too_is_told_once_by_its_name_in_the_inventory():
    same = {"a": "nvidia@192.168.1.11", "nvidia@orin-2": "nvidia@orin-2"}
    by_host, by_name = problems_with(list(same), same, same)
    assert by_host.startswith("ansible_host of a is 'nvidia@192.168.1.11': it has a user")
    assert by_name.startswith("the inventory's name nvidia@orin-2 is 'nvidia@orin-2': it has a user")


def test_an_address_of_ssh_alone_may_be_ipv6_or_a_forwarded_port_of_this_machine():
    training = {"a": "10.0.0.1", "b": "10.0.0.2"}
    assert problems_with(["a", "b"], training, {"a": "fd00::11", "b": "127.0.0.1"}) == []
    (problem,) = problems_with(["a", "b"], training, {"a": "nvidia@fd00::11", "b": "127.0.0.1"})
    assert problem.startswith("ansible_host of a is 'nvidia@fd00::11': it has a user")
