#!/usr/bin/env python3
"""Upper, lower and title case of Python's str as C tables.

    python3 tools/chat_case_table.py src/text/chat_case_tables.c

Runs of characters whose case lies a fixed distance away, every one or every second of them, and those
that become several characters.  Made with Unicode 14.0 (Python 3.11).
"""
import sys
import unicodedata

ALL = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]


def runs(change):
    moved = [(c, ord(change(chr(c))) - c) for c in ALL if len(change(chr(c))) == 1 and change(chr(c)) != chr(c)]
    out = []
    for code, delta in moved:
        if out and out[-1][3] == delta:
            first, last, step, _ = out[-1]
            if code - last == step or (first == last and code - last <= 2):
                out[-1] = (first, code, code - last, delta)
                continue
        out.append((code, code, 1, delta))
    return out


def table(name, rows, kind, form):
    lines = [f"const {kind} {name}[] = {{"]
    line = "   "
    for row in rows:
        text = " " + form % tuple(row) + ","
        if len(line) + len(text) > 100:
            lines.append(line)
            line = "   "
        line += text
    return lines + [line + " " + form % (0, 0, 0, 0) + "};", ""]


def main(path):
    many = sorted({c for c in ALL if len(chr(c).upper()) > 1 or len(chr(c).title()) > 1})
    # A title case of one character that is not the upper case.
    other = [c for c in ALL if c not in many and chr(c).title() != chr(c).upper()]
    lines = ["// Cases of letters, by run and by letter; what they are is said in chat_case.h. Made by",
             f"// tools/chat_case_table.py from Unicode {unicodedata.unidata_version}. Do not edit.",
             "// clang-format off",
             "#include \"text/chat_case.h\"", ""]
    run = ("sg_chat_case_run", "{%d, %d, %d, %d}")
    lines += table("sg_chat_lower_runs", runs(str.lower), *run)
    lines += table("sg_chat_upper_runs", runs(str.upper), *run)
    special = ("sg_chat_case_special", "{%d, {%d, %d, %d}}")
    pad = lambda s: [ord(x) for x in s] + [0] * (3 - len(s))
    lines += table("sg_chat_upper_special", [[c] + pad(chr(c).upper()) for c in many], *special)
    lines += table("sg_chat_title_special", [[c] + pad(chr(c).title()) for c in sorted(many + other)],
                   *special)
    with open(path, "w", encoding="ascii") as f:
        f.write("\n".join(lines).rstrip("\n") + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
