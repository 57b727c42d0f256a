#!/bin/bash
# Runs go test with these arguments, and when that fails repeats at its end what failed: between the results of a
# hundred packages, and what the libraries of servers that end write to standard error, nobody finds it.
set -uo pipefail
log=$(mktemp)
trap 'rm -f "$log"' EXIT

go test "$@" 2>&1 | tee "$log"
status=${PIPESTATUS[0]}
((status == 0)) && exit

echo
echo 'What failed:'
# A failed test's lines are indented; those of a panic, of a race and of a compiler are not.
awk '
	/^ *--- FAIL/                               { inside = 1 }
	inside && !/^( |--- FAIL)/                  { inside = 0 }
	/^(panic|fatal error|WARNING: DATA RACE|#)/ { more = 40 }
	/^FAIL\t/                                   { more = 1 }
	inside || more-- > 0
' "$log" | tail -n 400
exit "$status"
