#!/usr/bin/env bash
# `make test`: the tests of the lab in lanes, as much of their time is waiting, each with boards of its own; and beside
# them all others, which take what the lab leaves of the cores. The first lane is shown as it goes on, the rest
# afterwards. Arguments go to pytest.
set -uo pipefail

# Modules of the other lanes; the first one has the rest. Those that dress boards as Orins with the tests' password share
# these, and test_enrolment looks for that password among all processes of this machine.
orins=(tests/lab/test_{dressed,enrolment,journey,provision}.py)
faults=(tests/lab/test_{faults,strangers,watch}.py)

logs=.cache/tests
mkdir -p "$logs"
.venv/bin/pytest "${orins[@]}" "$@" >"$logs/orins.log" 2>&1 &
lanes=($!)
.venv/bin/pytest "${faults[@]}" "$@" >"$logs/faults.log" 2>&1 &
lanes+=($!)
nice -n 10 .venv/bin/pytest tests/unit tests/fuzz tests/contract "$@" >"$logs/others.log" 2>&1 &
others=$!

ended() {
  while kill -0 "$1" 2>/dev/null; do wait "$1"; done # Ctrl-C interrupts wait
  wait "$1"
}

# Ctrl-C reaches all of them; a lane takes its boards down then, which is waited for.
finish() {
  kill "$others" 2>/dev/null
  [ "$interrupted" ] || kill -INT "${lanes[@]}" 2>/dev/null
  for lane in "${lanes[@]}"; do ended "$lane"; done
}
interrupted=
trap interrupted=yes INT
trap finish EXIT

.venv/bin/pytest tests/lab "${orins[@]/#/--ignore=}" "${faults[@]/#/--ignore=}" "$@"
codes=$?
# 2: interrupted, or an import error
[ "$codes" -ne 2 ] || exit 2
for job in "${lanes[@]}" "$others"; do
  ended "$job"
  codes+=" $?"
done
cat "$logs"/{orins,faults,others}.log
# 5: the arguments left no test of these
[[ " $codes" = *' 0'* && " $codes" != *' '[!05]* ]]
