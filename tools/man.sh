#!/usr/bin/env bash
# Writes the manual page from what the command says about itself, so that the two never differ.
# docs/sgatlin.1 is this script's output (make man), and a test compares them.
#
#     tools/man.sh build/sgatlin >docs/sgatlin.1
set -euo pipefail
program=$1

# From the --help of a verb to troff. part=own leaves the common options out, part=common takes
# nothing else.
troff() {
    awk -v part="$1" '
    function text(s) {
        gsub(/\\/, "\\e", s)
        gsub(/-/, "\\-", s)
        if (s ~ /^[.\x27]/) s = "\\&" s
        return s
    }
    function leave() { if (filled) print ".fi"; filled = 0 }
    # "train - learn a model": the summary becomes a paragraph.
    NR == 1 { if (part == "own") { sub(/^sgatlin [a-z ]* - /, ""); print text($0) "." }; next }
    /^Common options:$/ { leave(); common = 1; next }
    /^Example:$/ { leave(); common = 0; example = 1
        if (part == "own") print ".PP\nExample:\n.PP\n.RS\n.nf"
        next }
    (part == "own") == common { next }
    example { sub(/^  /, ""); print text($0); next }
    /^Usage: / { usage = 1; print ".PP" }
    /^$/ { usage = 0 }
    usage { print ".B " text(substr($0, 8)); next }
    /^$/ { if (part == "own") { print ".PP" }; next }
    /^[^ ].*:$/ { print ".PP\n" text($0); next }
    /^  --/ {
        line = substr($0, 3)
        split_at = match(line, /  +/)
        option = split_at ? substr(line, 1, split_at - 1) : line
        print ".TP\n.B " text(option)
        if (split_at) print text(substr(line, split_at + RLENGTH))
        next
    }
    { sub(/^ +/, ""); print text($0) }
    END { leave(); if (part == "own" && example) print ".fi\n.RE" }'
}

# The first line alone: the others are of this machine.
version=$("$program" version | sed -n '1s/^sgatlin //p')
cat <<PAGE
.\" Written by tools/man.sh from the help of the command: change that, then run make man.
.TH SGATLIN 1 "" "sgatlin $version" "User Commands"
.SH NAME
sgatlin \- train, run and look inside sparse feed\-forward language models
.SH SYNOPSIS
.B sgatlin
.I VERB
.RI [ OBJECT ]
.RI [ options ]
.RI [ arguments ]
.SH DESCRIPTION
A transformer language model spends most of its work in feed\-forward layers.
sgatlin trains and runs models in which each token uses only a few of the
neurons there, at equal counts of floating\-point operations beside their dense
rivals, and needs no Python and no graphics processor.
.PP
Results go to standard output, talk and progress to standard error.
Every verb explains itself with
.BR \-\-help .
.SH VERBS
PAGE
mapfile -t verbs < <("$program" help | sed -n '/^Verbs:/,/^$/p' |
    sed -n 's/^  \([a-z]*\( [a-z][a-z]*\)\{0,1\}\)  .*/\1/p')
for verb in "${verbs[@]}"; do
    echo ".SS sgatlin $verb"
    read -ra words <<<"$verb"
    "$program" "${words[@]}" --help | troff own
done
echo ".SH COMMON OPTIONS"
echo "Every verb has these."
"$program" version --help | troff common
cat <<'PAGE'
.SH OPTIONS IN GENERAL
An option is written
.B \-\-name value
or
.BR \-\-name=value ;
.B \-\-
ends the options.
Counts may be written 1e6, 64k or 1.5M (powers of 1000) and 64Ki or 1Mi (powers
of 1024).
.SH EXIT STATUS
.TP
.B 0
done
.TP
.B 1
failed while working: the disk is full, memory ran out, the loss diverged, a
signal asked to stop
.TP
.B 2
wrong usage or input: an unknown option, a missing or damaged file, things that
do not fit each other
.TP
.B 141
nobody reads the standard output any more; nothing is said about it
.SH SIGNALS
The first SIGINT or SIGTERM lets
.B sgatlin train
save and stop; the next one ends it at once.
.SH SEE ALSO
The documentation that comes with the source: docs/MODEL.md, docs/TOUR.md.
PAGE
