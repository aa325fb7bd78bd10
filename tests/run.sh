#!/usr/bin/env bash
# `make test`: the tests of the lab in two lanes, as much of their time is waiting, each with boards of its own; and
# beside them all others, which take what the lab leaves of the cores. The first lane is shown as it goes on, the rest
# afterwards. Arguments go to pytest.
set -uo pipefail

# All that dress boards as Orins with the tests' password: they share these, and test_enrolment looks for that password
# among all processes of this machine. They take about as long as the others.
second=(tests/lab/test_{dressed,enrolment,journey,provision}.py)

logs=.cache/tests
mkdir -p "$logs"
.venv/bin/pytest "${second[@]}" "$@" >"$logs/second.log" 2>&1 &
lane=$!
nice -n 10 .venv/bin/pytest tests/unit tests/contract "$@" >"$logs/others.log" 2>&1 &
others=$!

# Ctrl-C reaches all of them; a lane takes its boards down then, which is waited for.
interrupted=
trap interrupted=yes INT
trap 'kill "$others" 2>/dev/null; [ "$interrupted" ] || kill -INT "$lane" 2>/dev/null; ended "$lane"' EXIT

ended() {
  while kill -0 "$1" 2>/dev/null; do wait "$1"; done # Ctrl-C ends the waiting
  wait "$1"
}

.venv/bin/pytest tests/lab "${second[@]/#/--ignore=}" "$@"
codes=$?
# 2: interrupted, or a module that cannot be imported
[ "$codes" -ne 2 ] || exit 2
ended "$lane"
codes+=" $?"
ended "$others"
codes+=" $?"
cat "$logs/second.log" "$logs/others.log"
# 5: the arguments left no test of these
[[ " $codes" = *' 0'* && " $codes" != *' '[!05]* ]]
