#!/usr/bin/env bash
# `make test`: runs the tests of the lab in two lanes with separate boards, since they mostly wait, and all other tests
# beside them at lower priority. Shows the first lane's output as it comes, the rest afterwards. Arguments go to pytest.
set -uo pipefail

# All tests that dress boards as Orins with the tests' password, since test_enrolment looks for that password among all
# processes of this machine. They take about as long as the others.
second=(tests/lab/test_{dressed,enrolment,journey,provision}.py)

logs=.cache/tests
mkdir -p "$logs"
.venv/bin/pytest "${second[@]}" "$@" >"$logs/second.log" 2>&1 &
lane=$!
nice -n 10 .venv/bin/pytest tests/unit tests/contract "$@" >"$logs/others.log" 2>&1 &
others=$!

# Ctrl-C reaches all of them; wait until the lanes have stopped their boards.
interrupted=
trap interrupted=yes INT
trap 'kill "$others" 2>/dev/null; [ "$interrupted" ] || kill -INT "$lane" 2>/dev/null; ended "$lane"' EXIT

ended() {
  while kill -0 "$1" 2>/dev/null; do wait "$1"; done # Ctrl-C interrupts wait
  wait "$1"
}

.venv/bin/pytest tests/lab "${second[@]/#/--ignore=}" "$@"
codes=$?
# 2: interrupted, or an import error
[ "$codes" -ne 2 ] || exit 2
ended "$lane"
codes+=" $?"
ended "$others"
codes+=" $?"
cat "$logs/second.log" "$logs/others.log"
# 5: the arguments selected no test
[[ " $codes" = *' 0'* && " $codes" != *' '[!05]* ]]
