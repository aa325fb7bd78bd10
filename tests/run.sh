#!/usr/bin/env bash
# `make test`, `make test-boards`, `make test-trainer`, `make test-torch`: tests in lanes, since much of a lab's time is
# waiting; each lane has boards of its own. The first lane is shown as it goes on, the others afterwards.
#
#   tests/run.sh fast|boards|trainer|torch [PYTEST ARGUMENT...]
set -uo pipefail

faults=(tests/lab/test_{faults,study}.py)
provisioned=(tests/lab/test_{dressed,enrolment,provision}.py)
torch=(tests/contract/test_pytorch_{engine,parts}.py tests/lab/test_pytorch.py)
trainer=(tests/contract/test_{keras_collectives,new_method,pace,sync,trainer,turns}.py)
living=(tests/lab/test_{kinds,recovery,strangers,trial,watch}.py)
gates=(tests/lab/test_{check,check_mode,journey}.py)
analysis=(tests/unit/analysis tests/contract)
board_code=(tests/unit/trainer tests/fuzz)

set=$1
shift
logs=.cache/tests
mkdir -p "$logs"
lanes=() # process ids
names=()

# lane NAME COMMAND...: run it in the background, its output in a file
lane() {
  "${@:2}" >"$logs/$1.log" 2>&1 &
  lanes+=($!)
  names+=("$1")
}

ended() {
  while kill -0 "$1" 2>/dev/null; do wait "$1"; done # Ctrl-C interrupts wait
  wait "$1"
}

# Ctrl-C reaches all of them; a lane takes its boards down then, which is waited for.
finish() {
  for job in "${lanes[@]}"; do
    [ "$interrupted" ] || kill -INT "$job" 2>/dev/null
    ended "$job"
  done
}
interrupted=
trap interrupted=yes INT
trap finish EXIT

case $set in
  fast)
    lane faults .venv/bin/pytest "${faults[@]}" "$@"
    # with what the lab leaves of the cores, and with both of them once it has ended
    lane analysis nice -n 10 .venv/bin/pytest "${analysis[@]}" "${trainer[@]/#/--ignore=}" "${torch[@]/#/--ignore=}" "$@"
    lane boards nice -n 10 .venv/bin/pytest "${board_code[@]}" "$@"
    lane units nice -n 10 .venv/bin/pytest tests/unit "${analysis[@]/#/--ignore=}" "${board_code[@]/#/--ignore=}" "$@"
    others=("${faults[@]}" "${provisioned[@]}" "${gates[@]}" "${living[@]}" "${torch[@]}")
    .venv/bin/pytest tests/lab "${others[@]/#/--ignore=}" "$@"
    ;;
  boards)
    lane gates .venv/bin/pytest "${gates[@]}" "$@"
    lane living .venv/bin/pytest "${living[@]}" "$@"
    .venv/bin/pytest "${provisioned[@]}" "$@"
    ;;
  trainer) .venv/bin/pytest "${trainer[@]}" "$@" ;;
  torch)
    lane processes .venv/bin/pytest "${torch[@]:0:2}" "$@"
    .venv/bin/pytest "${torch[2]}" "$@"
    ;;
esac
codes=$?
# 2: interrupted, or an import error
[ "$codes" -ne 2 ] || exit 2
for job in "${lanes[@]}"; do
  ended "$job"
  codes+=" $?"
done
for name in "${names[@]}"; do cat "$logs/$name.log"; done
# 5: the arguments left no test of these
[[ " $codes" = *' 0'* && " $codes" != *' '[!05]* ]]
