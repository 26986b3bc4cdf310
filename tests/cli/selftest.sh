#!/bin/sh
# Shows that the runner sees a difference: cases made here that must pass, fail or be skipped.
#
#     tests/cli/selftest.sh
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# shellcheck disable=SC2016 # $word is the program's
printf '#!/bin/sh\nfor word; do echo "$word"; done\necho talk 12 >&2\nexit 3\n' >"$work/program"
chmod +x "$work/program"
failures=0
unset SG_UPDATE

# expect CODE NAME : runs the case in $work/case
expect() {
    code=0
    "$here/run.sh" "$work/program" "$work/case" >"$work/said" 2>&1 || code=$?
    if [ $code -ne "$1" ]; then
        echo "$2: found code $code, expected $1"
        cat "$work/said"
        failures=1
    fi
}
fresh() {
    rm -rf "$work/case"
    mkdir "$work/case"
    echo 'sgatlin one two' >"$work/case/cmd"
    printf 'one\ntwo\n' >"$work/case/out"
    echo '~ talk [0-9]+' >"$work/case/err"
    echo 3 >"$work/case/code"
}

fresh && expect 0 "as expected"
fresh && echo three >>"$work/case/out" && expect 1 "a line missing"
fresh && echo one >"$work/case/out" && expect 1 "a line too many"
fresh && printf 'one\ntw\n' >"$work/case/out" && expect 1 "another line"
fresh && rm "$work/case/out" && expect 1 "output where none is expected"
fresh && rm "$work/case/err" && expect 1 "talk where none is expected"
fresh && echo '~ talk [a-z]+' >"$work/case/err" && expect 1 "a pattern that does not fit"
fresh && echo '~ alk 12' >"$work/case/err" && expect 1 "a pattern that fits a part"
fresh && rm "$work/case/code" && expect 1 "another code"
fresh && echo ... >"$work/case/out" && expect 0 "any lines"
fresh && printf '...\ntwo\n...\n' >"$work/case/out" && expect 0 "any lines, some none"
fresh && printf '...\none\n' >"$work/case/out" && expect 1 "any lines, then another"
fresh && echo 'exit 77' >"$work/case/cmd" && expect 77 "skipped"
[ $failures -eq 0 ] || exit 1
echo "cli: the runner sees every difference"
