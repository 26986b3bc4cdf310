#!/bin/sh
# A test that cannot fail is none: shows check.sh a good tree, and then one tree for every rule in
# which just that rule is broken.
#
#     tests/arrows/selftest.sh
set -eu
here=$(cd "$(dirname "$0")" && pwd)
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
failures=0

fresh() {
    rm -rf "$tree"
    mkdir -p "$tree/src/base" "$tree/src/op" "$tree/src/kernel/ref" "$tree/src/kernel/avx2" \
        "$tree/src/train" "$tree/cli" "$tree/examples" "$tree/tests/unit"
    echo '#include "sgatlin.h"' >"$tree/src/base/status.h"
    echo '#include "base/status.h"' >"$tree/src/op/softmax.c"
    echo '#include "op/softmax.h"' >"$tree/src/train/loop.c"
    echo '#include "base/status.h"' >"$tree/src/kernel/ref/dot.c"
    echo '#include "base/status.h"' >"$tree/src/kernel/avx2/dot.c"
    echo '#include "cli/cli.h"' >"$tree/cli/main.c"
    echo '#include <sgatlin.h>' >"$tree/examples/hello.c"
    echo '#include "train/loop.h"' >"$tree/tests/unit/test_loop.c"
}

# expect 'WORDS' : the tree must be refused with these words
expect() {
    if output=$("$here/check.sh" "$tree" 2>&1); then
        echo "accepted, expected: $1"
        failures=$((failures + 1))
    elif ! echo "$output" | grep -qF "$1"; then
        echo "expected: $1"
        echo "found: $output"
        failures=$((failures + 1))
    fi
    fresh
}

fresh
"$here/check.sh" "$tree" >/dev/null || { echo "the good tree was refused"; failures=1; }

echo '#include "op/softmax.h"' >>"$tree/src/base/status.h"
expect 'src/base/status.h:2: base may not include op ("op/softmax.h")'
printf '\n  #  include   "train/loop.h" // x\n' >>"$tree/src/op/softmax.c"
expect 'src/op/softmax.c:3: op may not include train'
echo '#include "base/alloc.h"' >>"$tree/cli/main.c"
expect 'cli/main.c:2: cli may not include base'
echo '#include "cli/cli.h"' >>"$tree/src/train/loop.c"
expect 'src/train/loop.c:2: train may not include cli'
echo '#include <base/alloc.h>' >>"$tree/src/op/softmax.c"
expect 'includes <base/alloc.h>, expected quotes'
echo '#include "alloc.h"' >>"$tree/src/base/status.h"
expect 'expected "room/file.h"'
echo '#include "base/alloc.h"' >>"$tree/examples/hello.c"
expect 'an example may include <sgatlin*.h> only'
echo 'int x;' >"$tree/cli/loop.c"
expect 'the name loop.c is taken by cli/loop.c'
echo 'int x;' >"$tree/src/op/dot.c"
expect 'the name dot.c is taken by'
echo 'int x;' >"$tree/src/lost.c"
expect 'src/lost.c: not in a room of the house'
mkdir "$tree/src/attic"
echo 'int x;' >"$tree/src/attic/old.c"
expect 'src/attic/old.c: not in a room of the house'
awk 'BEGIN { for (i = 0; i < 1000; i++) print "int x;" }' >>"$tree/src/op/softmax.c"
expect 'src/op/softmax.c: 1001 lines'
{ echo '{'; awk 'BEGIN { for (i = 0; i < 59; i++) print "    x();" }'; echo '}'; } >>"$tree/cli/main.c"
expect 'cli/main.c:2: a function of 61 lines, at most 60'
echo '#include "base/file.h"' >>"$tree/src/base/status.h"
echo '#include "base/map.h"' >"$tree/src/base/file.h"
echo '#include "base/status.h"' >"$tree/src/base/map.h"
expect 'which includes it too'

[ $failures -eq 0 ] || exit 1
echo "arrows: every rule can fail"
