#!/bin/sh
# Runs one case of the command line and compares all that it said. A case is a folder with
#
#     cmd     a script for sh, run in an empty folder; `sgatlin` is on the PATH, $CASE is the
#             case's folder, $DATA the folder of real test data; 77 as its code skips the case
#     out     what stdout must be; no file means nothing
#     err     what stderr must be; no file means nothing
#     code    the exit code; no file means 0
#
# In out and err a line "..." stands for any number of lines, and a line that begins with "~ " is an
# extended regular expression for a whole line; all others are taken letter by letter.
#
#     tests/cli/run.sh PROGRAM CASE_FOLDER [DATA_FOLDER]
#     SG_UPDATE=1 tests/cli/run.sh …       writes what was said into out, err and code, except over
#                                          files with patterns; read the difference before committing
set -eu
program=$1
CASE=$(cd "$2" && pwd)
DATA=${SG_TEST_DATA:-${3:-}}
here=$(cd "$(dirname "$0")" && pwd)
export CASE DATA
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/bin" "$work/empty"
ln -s "$(cd "$(dirname "$program")" && pwd)/$(basename "$program")" "$work/bin/sgatlin"
PATH=$work/bin:$PATH
LC_ALL=C
export PATH LC_ALL
unset COLUMNS

code=0
(cd "$work/empty" && sh "$CASE/cmd") >"$work/out" 2>"$work/all" </dev/null || code=$?
# How busy this machine is, or whether its frequency can be read, is no matter of a case.
sed -e '/: bench: warning: products reach .* shares of this limit mean little$/d' \
    -e '/^bench: the frequency of this processor cannot be read/d' "$work/all" >"$work/err"
if [ "$code" -eq 77 ]; then
    echo "skipped: $(cat "$work/out" "$work/err")"
    exit 77
fi
echo "$code" >"$work/code"

failed=0
for name in out err code; do
    expected=$CASE/$name
    if [ ! -f "$expected" ]; then
        expected=$work/expected
        if [ $name = code ]; then echo 0 >"$expected"; else : >"$expected"; fi
    fi
    if awk -f "$here/match.awk" "$expected" "$work/$name"; then continue; fi
    if [ -n "${SG_UPDATE:-}" ] && ! grep -qE '^(~ |\.\.\.$)' "$expected"; then
        cp "$work/$name" "$CASE/$name"
        echo "updated $CASE/$name"
        continue
    fi
    failed=1
    echo "== $name is not as expected (- expected, + found)"
    diff -u "$expected" "$work/$name" | sed 1,2d || true
done
[ $failed -eq 0 ] || {
    echo "== case $CASE"
    [ ! -s "$work/err" ] || { echo "== stderr was"; cat "$work/err"; }
    exit 1
}
