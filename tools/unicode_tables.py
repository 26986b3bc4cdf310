#!/usr/bin/env python3
"""Writes src/text/unicode_tables.c and unicode_properties.c: what the Hugging Face tokenizers library believes about Unicode.

The library is made of parts with Unicode tables of different ages (its regex engine, its
normaliser, Rust's own character functions), none of which is the age of the system's libraries.
Token ids can only be identical when all of them are followed, so every table here is found by asking
the library itself about every code point.  Run with a Python that has `tokenizers` 0.22.2:

    python3 tools/unicode_tables.py > src/text/unicode_tables.c
    python3 tools/unicode_tables.py --properties > src/text/unicode_properties.c
"""
import sys
import unicodedata as U

import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers as N, pre_tokenizers as P

CODES = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
CATEGORIES = ("Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So "
              "Zs Zl Zp Cc Cf Co Cn").split()


def regex_class(pattern):
    """Code points that the regex engine matches with `pattern`."""
    split = P.Split(Regex(pattern), "removed")
    found = set()
    for begin in range(0, len(CODES), 4096):
        block = CODES[begin:begin + 4096]
        kept = set()
        for piece, _ in split.pre_tokenize_str("".join(map(chr, block))):
            kept.update(piece)
        found.update(c for c in block if chr(c) not in kept)
    return found


def word_and_space():
    """\\w and \\s of the engine that looks at the neighbours of added tokens."""
    word, space = set(), set()
    single = Tokenizer(models.BPE({"no character": 0}, []))
    single.add_tokens([AddedToken("<m>", single_word=True, normalized=False)])
    strip = Tokenizer(models.BPE({"x": 0, "y": 1}, []))
    strip.add_tokens([AddedToken("<m>", rstrip=True, normalized=False)])
    for begin in range(0, len(CODES), 65536):
        block = CODES[begin:begin + 65536]
        for c, e in zip(block, single.encode_batch([chr(c) + "<m>" for c in block])):
            if not e.ids:
                word.add(c)
        for c, e in zip(block, strip.encode_batch(["<m>" + chr(c) for c in block])):
            if e.offsets[0][1] > 3:
                space.add(c)
    return word, space


def ranges(codes):
    out = []
    for c in sorted(codes):
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def rows(items, width=100):
    line, lines = "   ", []
    for item in items:
        if len(line) + 1 + len(item) > width:
            lines.append(line)
            line = "   "
        line += " " + item
    return "\n".join(lines + [line])


def print_ranges(name, comment, codes):
    r = ranges(codes)
    print(f"// {comment}\nconst sg_code_range {name}[{len(r)}] = {{")
    print(rows(f"{{0x{a:x}, 0x{b:x}}}," for a, b in r) + "\n};")
    print(f"const size_t {name}_count = {len(r)};\n")


def main():
    category = {}
    for name in CATEGORIES:
        for c in regex_class(r"\p{%s}" % name):
            assert c not in category
            category[c] = name
    assert len(category) == len(CODES)
    space = regex_class(r"\s")
    letter, number = regex_class(r"\p{L}"), regex_class(r"\p{N}")
    assert letter == {c for c in CODES if category[c][0] == "L"}
    assert number == {c for c in CODES if category[c][0] == "N"}
    word, space2 = word_and_space()
    strip = {c for c in CODES if N.Strip().normalize_str(chr(c)) == ""}
    assert space == space2 == strip, "three notions of white space are one table here"
    digits = P.Digits(individual_digits=True)
    numeric = {c for c in CODES if len(digits.pre_tokenize_str("a" + chr(c) + "a")) == 3}

    mark = P.Punctuation("isolated")
    punctuation = {c for c in CODES if len(mark.pre_tokenize_str("a" + chr(c) + "a")) == 3}

    # The normaliser: which code points it treats as if they did not exist.
    nfd, nfkd, nfc = N.NFD(), N.NFKD(), N.NFC()
    inert = set()
    for c in CODES:
        s = chr(c)
        knows = (nfd.normalize_str(s) != s or nfkd.normalize_str(s) != s
                 or nfd.normalize_str(s + "\u0334") != s + "\u0334"
                 or nfd.normalize_str("\u0345" + s) != "\u0345" + s)
        should = (U.combining(s) != 0 or U.normalize("NFKD", s) != s)
        assert should or not knows, hex(c)
        # ccc 1 and 240 show in neither probe, and are old.
        if (not knows and should and U.combining(s) not in (1, 240)) \
                or (U.category(s) == "Cn" and category[c] != "Cn"):
            inert.add(c)
    # Starters that join the character before them.
    second = set()
    for c in CODES:
        d = U.normalize("NFD", chr(c))
        if len(d) == 2 and U.combining(d[1]) == 0 and nfc.normalize_str(d) == chr(c) \
                and not 0xAC00 <= c <= 0xD7A3:
            second.add(ord(d[1]))
        if len(d) > 2 and not 0xAC00 <= c <= 0xD7A3 and U.combining(d[-1]) == 0:
            if nfc.normalize_str(d) == chr(c):
                second.add(ord(d[-1]))
    second |= set(range(0x1161, 0x1176)) | set(range(0x11A8, 0x11C3))

    lower = N.Lowercase()
    mapping = {}
    for c in CODES:
        s = lower.normalize_str(chr(c))
        if s == chr(c):
            continue
        if len(s) == 1:
            mapping[c] = ord(s) - c
        else:
            assert c == 0x130 and s == "i\u0307", "the one character that becomes two"
    runs = []
    for c, delta in sorted(mapping.items()):
        last = runs[-1] if runs else None
        if last and last[2] == delta and (c - last[1] == last[3] or
                                          (last[0] == last[1] and c - last[1] <= 2)):
            last[3] = c - last[1]
            last[1] = c
        else:
            runs.append([c, c, delta, 1])

    print("// Made by tools/unicode_tables.py from tokenizers", tokenizers.__version__ + ".",
          "Do not edit.\n"
          "// clang-format off\n//")
    print("// What the Hugging Face library believes about Unicode: its regex engine knows Unicode 16, "
          "its\n// normaliser Unicode 12.0, its character functions Unicode 17.")
    print('#include "text/unicode_tables.h"\n')

    # Letters, numbers and spaces: pages of 256 code points, two bits each.
    pages, index = {}, []
    for page in range(0x1100):
        data = []
        for c in range(page * 256, page * 256 + 256, 4):
            byte = 0
            for k in range(4):
                code = c + k
                v = 1 if code in letter else 2 if code in number else 3 if code in space else 0
                byte |= v << (2 * k)
            data.append(byte)
        index.append(pages.setdefault(tuple(data), len(pages)))
    assert len(pages) < 256
    print("// Two bits for each of 256 code points a page: 0 other, 1 letter, 2 number, 3 space.")
    print(f"const uint8_t sg_class_pages[{len(pages)}][64] = {{")
    for data in pages:
        print("    {" + rows([f"{b}," for b in data]).strip().rstrip(",").replace("\n    ", "\n     ")
              + "},")
    print("};\n")
    print("// The page of each block of 256 code points.")
    print("const uint8_t sg_class_index[0x1100] = {")
    print(rows([f"{i}," for i in index]) + "\n};\n")

    print_ranges("sg_word_ranges", "\\w of the engine that looks beside added tokens.", word)
    print_ranges("sg_numeric_ranges", "Digits pre-tokenizer: characters that are numeric.", numeric)
    print_ranges("sg_punctuation_ranges", "Punctuation pre-tokenizer: what it takes for punctuation.",
                 punctuation)
    print_ranges("sg_inert_ranges", "Characters too new for the normaliser, which leaves them alone.",
                 inert)
    print_ranges("sg_second_ranges", "Starters that may join the character before them.", second)
    print(f"// Simple lower case: first, last, step, what to add. U+0130 is in the code.\n"
          f"const sg_lower_range sg_lower_ranges[{len(runs)}] = {{")
    print(rows(f"{{0x{a:x}, 0x{b:x}, {step}, {delta}}}," for a, b, delta, step in runs) + "\n};")
    print(f"const size_t sg_lower_ranges_count = {len(runs)};\n")


SCRIPTS = ("Han Hiragana Katakana Hangul Bopomofo Thai Lao Khmer Myanmar Arabic Hebrew Devanagari Latin "
           "Greek Cyrillic").split()


def properties():
    """src/text/unicode_properties.c"""
    category = {c: name for name in CATEGORIES for c in regex_class(r"\p{%s}" % name)}
    changes = []
    for c in CODES:
        before, name = U.category(chr(c)), category[c]
        if before == name:
            continue
        if changes and changes[-1][1] == c - 1 and changes[-1][2:] == [name, before]:
            changes[-1][1] = c
        else:
            changes.append([c, c, name, before])
    assert U.unidata_version == "14.0.0"
    print("// Made by tools/unicode_tables.py --properties from tokenizers", tokenizers.__version__ + ".",
          "Do not edit.\n"
          "// clang-format off\n//\n"
          "// What \\p{…} means to the Hugging Face library, whose regex engine knows Unicode 16.\n"
          '#include "text/unicode_tables.h"\n')
    print("// Code points whose general category is not the one of Unicode 14, which is what PCRE2 "
          "10.40 to\n// 10.42 know.")
    print(f"const sg_category_range sg_category_changes[{len(changes)}] = {{")
    print(rows(f'{{0x{a:x}, 0x{b:x}, "{n}", "{w}"}},' for a, b, n, w in changes) + "\n};")
    print(f"const size_t sg_category_changes_count = {len(changes)};\n")
    sizes = {}
    for name in SCRIPTS:
        r = ranges(regex_class(r"\p{%s}" % name))
        sizes[name.lower()] = len(r)
        print(f"static const sg_code_range script_{name.lower()}[{len(r)}] = {{")
        print(rows(f"{{0x{a:x}, 0x{b:x}}}," for a, b in r) + "\n};\n")
    print(f"const sg_script sg_scripts[{len(sizes)}] = {{")
    print(rows(f'{{"{n}", script_{n}, {k}}},' for n, k in sizes.items()) + "\n};")
    print(f"const size_t sg_scripts_count = {len(sizes)};")


if __name__ == "__main__":
    if sys.argv[1:] == ["--properties"]:
        properties()
    else:
        main()
