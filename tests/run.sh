#!/usr/bin/env bash
# `make test`: the tests of the lab in two lanes, as much of their time is waiting, each with boards of its own; and
# beside them all others, which take what the lab leaves of the cores. The first lane is shown as it goes on, the rest
# afterwards. Arguments go to pytest.
set -uo pipefail

# Modules of the second lane; the first one has the rest. `make test-boards` runs those that provision Orins.
faults=(tests/lab/test_{faults,strangers,watch}.py)
orins=(tests/lab/test_{dressed,enrolment,journey,provision}.py)

logs=.cache/tests
mkdir -p "$logs"
.venv/bin/pytest "${faults[@]}" "$@" >"$logs/faults.log" 2>&1 &
lane=$!
nice -n 10 .venv/bin/pytest tests/unit tests/fuzz tests/contract "$@" >"$logs/others.log" 2>&1 &
others=$!

ended() {
  while kill -0 "$1" 2>/dev/null; do wait "$1"; done # Ctrl-C interrupts wait
  wait "$1"
}

# Ctrl-C reaches all of them; a lane takes its boards down then, which is waited for.
finish() {
  kill "$others" 2>/dev/null
  [ "$interrupted" ] || kill -INT "$lane" 2>/dev/null
  ended "$lane"
}
interrupted=
trap interrupted=yes INT
trap finish EXIT

.venv/bin/pytest tests/lab "${orins[@]/#/--ignore=}" "${faults[@]/#/--ignore=}" "$@"
codes=$?
# 2: interrupted, or an import error
[ "$codes" -ne 2 ] || exit 2
for job in "$lane" "$others"; do
  ended "$job"
  codes+=" $?"
done
cat "$logs"/{faults,others}.log
# 5: the arguments left no test of these
[[ " $codes" = *' 0'* && " $codes" != *' '[!05]* ]]
