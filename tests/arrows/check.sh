#!/bin/sh
# The rules of the house about files, read from the files: which room may include which, no cycle of
# headers, one name for one file, no file over 1,000 lines, no function of src, cli, bench or
# examples over 60. Prints every breach and fails when there is one.
#
#     tests/arrows/check.sh ROOT
set -eu
cd "$1"
folders=
for folder in src cli include tests examples bench; do
    [ -d $folder ] && folders="$folders $folder"
done
if ! [ -d src ] || ! [ -d cli ]; then
    echo "arrows: $1 has no src/ and cli/" >&2
    exit 2
fi

# Paths in the tree have no spaces; one that had would show up below as a file that awk cannot read.
# shellcheck disable=SC2016,SC2086 # $ is awk's
find $folders -name .venv -prune -o -name '*.[ch]' -print | LC_ALL=C sort | xargs awk '
BEGIN {
    # room: what it may include besides itself, DESIGN.md section 3
    may["base"] = " "
    may["kernel"] = " base "
    may["tensor"] = " base kernel "
    may["op"] = " base kernel tensor "
    may["ffn"] = " base kernel tensor op "
    may["format"] = " base "
    may["text"] = " base format "
    may["model"] = " base kernel tensor op ffn format text "
    may["probe"] = " base kernel tensor op ffn format text model "
    may["convert"] = " base kernel tensor op ffn format text model "
    may["train"] = " base kernel tensor op ffn format text model probe "
    may["sweep"] = " base kernel tensor op ffn format text model probe train "
    may["sparsify"] = " base kernel tensor op ffn format text model probe train "
    may["cli"] = " "
    limit = 1000
    body = 60 # lines of a function, its braces among them
}
function breach(text) { print text; breaches++ }
function over() { if (lines > limit) breach(last ": " lines " lines, at most " limit) }
# Where a header lies that is included by this name.
function lies(target) {
    if (target ~ /^cli\//) return target
    return (target ~ /^sgatlin/ ? "include/" : "src/") target
}
# Depth first: state 1 while what a header includes is gone through, 2 afterwards.
function cycle(header,    i) {
    state[header] = 1
    for (i = 1; i <= out[header]; i++) {
        if (state[to_of[header, i]] == 1)
            breach(header ": includes " to_of[header, i] ", which includes it too")
        else if (state[to_of[header, i]] == 0)
            cycle(to_of[header, i])
    }
    state[header] = 2
}
FNR == 1 {
    over()
    start = 0
    last = FILENAME
    files++
    count = split(FILENAME, part, "/")
    name = part[count]
    room = part[1] == "src" ? part[2] : part[1]
    # One operation has one name in every folder of kernels.
    place = room == "kernel" && count == 4 ? "kernel/*/" name : FILENAME
    if (name in seen && seen[name] != place)
        breach(FILENAME ": the name " name " is taken by " seen[name])
    seen[name] = place
    if (part[1] == "src" && (count < 3 || !(room in may)))
        breach(FILENAME ": not in a room of the house")
}
{ lines = FNR }
# clang-format puts the braces of a function, and of nothing else, at the beginning of a line.
/^\{/ { start = FNR }
/^\}/ {
    if (start > 0 && FNR - start + 1 > body && part[1] != "tests")
        breach(FILENAME ":" start ": a function of " FNR - start + 1 " lines, at most " body)
    start = 0
}
/^[ \t]*#[ \t]*include/ {
    text = $0
    sub(/^[ \t]*#[ \t]*include[ \t]*/, "", text)
    quoted = substr(text, 1, 1) == "\""
    target = substr(text, 2)
    sub(/[">].*/, "", target)
    where = FILENAME ":" FNR ": "
    if (part[1] == "examples" && quoted) {
        breach(where "includes \"" target "\", an example may include <sgatlin*.h> only")
        next
    }
    if (part[1] != "src" && part[1] != "cli" && part[1] != "include") next
    slash = index(target, "/")
    to = slash > 0 ? substr(target, 1, slash - 1) : ""
    if (!quoted) {
        # A room in angle brackets would be the same arrow in disguise.
        if (to in may || target ~ /^sgatlin(_[a-z]+)?\.h$/)
            breach(where "includes <" target ">, expected quotes")
        next
    }
    arrows++
    if (FILENAME ~ /\.h$/) {
        if (!(FILENAME in out)) headers[++header_count] = FILENAME
        to_of[FILENAME, ++out[FILENAME]] = lies(target)
    }
    if (target ~ /^sgatlin(_[a-z]+)?\.h$/) next
    if (!(to in may)) breach(where "includes \"" target "\", expected \"room/file.h\"")
    else if (to != room && index(may[room], " " to " ") == 0)
        breach(where room " may not include " to " (\"" target "\")")
}
END {
    over()
    for (h = 1; h <= header_count; h++)
        if (state[headers[h]] == 0) cycle(headers[h])
    if (files < 1 || arrows < 1) breach("found no files or no includes to check")
    printf "arrows: %d files, %d includes, %d breaches\n", files, arrows, breaches
    exit breaches > 0
}'
