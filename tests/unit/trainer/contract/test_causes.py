"""Causes: how they are told apart, and which of several boards' is the first."""

import errno

import pytest

from trainer.contract import causes
from trainer.contract.causes import KerasError, NotLearningError


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (FloatingPointError("the loss is nan in epoch 2"), "nan"),
        (NotLearningError("the optimizer applied no step in the whole run"), "not_learning"),
        (KerasError("this environment's TensorFlow has Keras 3 alone"), "keras"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk_full"),
        (RuntimeError("x; No space left on device"), "disk_full"),
        (RuntimeError("Could not start gRPC server"), "port_taken"),
        (RuntimeError("Connection reset by peer"), "peer"),
        (RuntimeError("Failed to recv, got 0 bytes. Connection was likely closed. Did the remote server shut"), "peer"),
        (RuntimeError("[unbound_buffer.cc:81] Timed out waiting 9000ms for recv operation to complete"), "peer"),
        (RuntimeError("NCCL error: remote process exited or there was a network error, NCCL version 2.18.3"), "peer"),
        (ValueError(""), "error"),
    ],
)
def test_an_exception_has_a_kind(error, kind):
    assert causes.of_exception(error).kind == kind
    assert kind in causes.REMEDIES


def test_a_signal_from_outside_killed_it_and_an_abort_is_told_by_the_log():
    assert causes.of_exit(-9, "Connection reset by peer").kind == "killed"
    assert causes.of_exit(-6, "Error reported: /job:worker/task:1 heartbeat timeout").kind == "peer"
    assert causes.of_exit(-11, "last words\n") == causes.Cause(
        "error", "the trainer was ended by SIGSEGV; its log ends with: last words"
    )


def ended(kind, at):
    return {"cause_kind": kind, "ended_s": at}


@pytest.mark.parametrize(
    ("boards", "first"),
    [
        ({"a": ended("peer", 1), "b": ended("killed", 2)}, "b"),
        ({"a": ended("network", 1), "b": ended("reboot", 9)}, "b"),
        ({"a": ended("peer", 1), "b": ended("network", 2)}, "b"),
        ({"a": ended("slow_start", 1), "b": ended("never_started", 2)}, "b"),
        ({"a": ended("stalled", 1), "b": ended("stopped", 2)}, "b"),
        ({"a": ended("interrupted", 1), "b": ended("nan", 2)}, "b"),
        ({"a": ended("error", 2), "b": ended("error", 1)}, "b"),
        ({"a": ended(None, 2), "b": ended("peer", 1)}, "a"),
        ({}, None),
    ],
)
def test_a_boards_own_cause_is_before_what_it_noticed_of_others(boards, first):
    assert causes.first_cause(boards) == first
