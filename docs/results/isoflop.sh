#!/usr/bin/env bash
# The figures of docs/results/isoflop.md: six families at equal FLOPs and equal seconds, on two
# kinds of text, and what a sgatlin layer is made of, one thing changed at a time.
set -euo pipefail
shopt -s inherit_errexit
# shellcheck source=tools/common.sh
. "$(dirname "$0")/../../tools/common.sh"

help() {
    cat <<'HELP'
docs/results/isoflop.sh - the figures of docs/results/isoflop.md

Usage: docs/results/isoflop.sh FOLDER stories TEXT...
       docs/results/isoflop.sh FOLDER ablations TEXT...
       docs/results/isoflop.sh FOLDER kernel
       docs/results/isoflop.sh FOLDER time PART...

stories     mlp, glu, moe, peer, sgatlin and avgk at three budgets on the stories of these files
            (TinyStories), documents parted by a line <|endoftext|>
ablations   activation, router, k and channels of sgatlin at one budget, on the same stories
kernel      the six families at two budgets on the documentation of the Linux kernel, which the
            Debian package linux-doc-6.1 brings (installed where it is missing)
time        the steps of these parts (stories, kernel), on a machine that has nothing else to do

Runs that docs/results/ has as isoflop_PART.csv are not made again, on the same data and program;
all of them take a night on two cores. Stop it at any time: the same command goes on. What is
finished ends up in FOLDER/isoflop_PART.csv and FOLDER/isoflop_PART.html. From outside:
  SGATLIN=build/sgatlin     the command
  SG_SWEEP_JOBS=N           runs at once, one thread each (default: all cores)
HELP
}

fail() {
    echo "isoflop: $1" >&2
    exit 2
}

case ${1:---help} in
--help) help && exit 0 ;;
-*) fail "$1: there is no such option; see --help" ;;
esac
[ $# -ge 2 ] || fail "found no part; see --help"
here=$(cd "$(dirname "$0")/../.." && pwd)
sgatlin=${SGATLIN:-$here/build/sgatlin}
jobs=${SG_SWEEP_JOBS:-$(nproc 2>/dev/null || echo 2)}
folder=$1 part=$2
shift 2
[[ $jobs =~ ^[1-9][0-9]*$ ]] || fail "SG_SWEEP_JOBS: found \"$jobs\", expected a whole number"
command -v "$sgatlin" >/dev/null || fail "$sgatlin is no program; run make first"

run() {
    show "$@"
    "$sgatlin" "$@"
}

# packed NAME OPTION-OF-PACK... -- TEXT...: FOLDER/NAME, data of a thousand tokens.
packed() {
    local at=$folder/$1 options=()
    shift
    while [ "$1" != -- ]; do options+=("$1") && shift; done
    shift
    [ -e "$at/data.json" ] && return
    [ $# -gt 0 ] || fail "found no text; see --help"
    rm -rf "$at" "$at.tokenizer"
    run data tokenizer --vocab-size 1024 --out "$at.tokenizer" "${options[@]}" "$@"
    run data pack --tokenizer "$at.tokenizer" --seq-len 128 --mode concat --val-fraction 0.03 \
        --out "$at" "${options[@]}" "$@"
}

# Files of the documentation of the kernel, translations left out, a line each.
kernel_files() {
    local doc=/usr/share/doc/linux-doc-6.1/Documentation
    [ -d "$doc" ] || if [ "$(id -u)" -eq 0 ]; then
        apt-get install -y --no-install-recommends linux-doc-6.1 >&2
    else
        sudo apt-get install -y --no-install-recommends linux-doc-6.1 >&2
    fi
    find "$doc" -type f -not -path '*/translations/*' |
        grep -E '\.(rst|txt)(\.gz)?$' | LC_ALL=C sort
}

# swept PART FILE DATA: the sweep, what is known of it already taken in first.
swept() {
    local at=$folder/$1 known=$here/docs/results/isoflop_$1.csv
    if [ ! -e "$at/sweep.db" ] && [ -e "$known" ]; then run sweep import "$at" "$known"; fi
    run sweep "$here/sweeps/$2" --data "$folder/$3" --out "$at" --jobs "$jobs" --threads 1
    written "$1"
}

written() {
    run sweep export "$folder/$1" --force --out "$folder/isoflop_$1.csv"
    run report "$folder/$1" --force --out "$folder/isoflop_$1.html" --svg "$folder/isoflop_$1" \
        --csv "$folder/isoflop_$1"
    run report "$folder/$1" --text
}

mkdir -p "$folder"
case $part in
stories | ablations)
    packed stories-data -- "$@"
    case $part in
    stories) swept stories laptop-isoflop.json stories-data ;;
    *) swept ablations laptop-ablations.json stories-data ;;
    esac
    ;;
kernel)
    mapfile -t files < <(kernel_files)
    packed kernel-data --no-separator -- "${files[@]}"
    swept kernel laptop-isoflop-kernel.json kernel-data
    ;;
time)
    for part in "$@"; do
        run sweep time "$folder/$part"
        written "$part"
    done
    ;;
*) fail "found \"$part\", expected stories, ablations, kernel or time" ;;
esac
