#!/usr/bin/env bash
# `make test`: the tests of the lab, whose boards share this machine and its clock, and beside them all others, which
# take what the lab leaves of the cores and are shown afterwards. Arguments go to pytest.
set -uo pipefail

log=.cache/tests.log
nice -n 10 .venv/bin/pytest tests/unit tests/contract "$@" >"$log" 2>&1 &
others=$!
trap 'kill "$others" 2>/dev/null' EXIT
.venv/bin/pytest tests/lab "$@"
lab=$?
# 2: interrupted
[ "$lab" -ne 2 ] || exit 2
wait "$others"
rest=$?
cat "$log"
# 5: the arguments left no test of these
[ "$lab" -eq 0 ] && [ "$rest" -eq 0 ] || [ "$lab,$rest" = 0,5 ] || [ "$lab,$rest" = 5,0 ]
