#!/bin/sh
# docs/sgatlin.1 says what the command says: it is what tools/man.sh writes.
#
#     tests/cli/man.sh PROGRAM ROOT
set -eu
bash "$2/tools/man.sh" "$1" | diff "$2/docs/sgatlin.1" - || {
    echo "docs/sgatlin.1 differs from the help of the command: run make man"
    exit 1
}
