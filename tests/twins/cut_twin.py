#!/usr/bin/env python3
"""Golden file of cutting words: what pre-tokenizers of the Hugging Face library make of nasty texts.

    python3 tests/twins/cut_twin.py GOLDEN_DIR

Reads GOLDEN_DIR/strings.gz (see tokenizer_twin.py) and writes GOLDEN_DIR/cuts.json:

    ranges   code points; all of them in a row are one more text, in front of the others
    cuts     pre: a pre-tokenizer as tokenizer.json has it; crcs: zlib.crc32 of the words, a NUL behind
             each, for the first text, and then for each 100 of every 4th of the others; null where the
             library refuses the pattern, or gives up on a text.  random: the pattern was drawn, and may be refused by us

Made with tokenizers 0.22.2.
"""
import gzip
import json
import random
import sys
import zlib

from tokenizers import Tokenizer, models

RANGES = [[0x20, 0x30FF], [0x3400, 0x3410], [0x4DB0, 0x4E20], [0x9FF0, 0xA0FF], [0xA480, 0xABFF], [0xD7A0, 0xD7FF],
          [0xF900, 0xFFFF], [0x10000, 0x12FFF], [0x16800, 0x18D20], [0x1AFF0, 0x1FFFF], [0x2A6D0, 0x2A710],
          [0x2CEA0, 0x2CEC0], [0x2EBE0, 0x2EE70], [0x2FA00, 0x2FA20], [0x31340, 0x323C0], [0xE0000, 0xE01F0]]

PATTERNS = [
    # (?i with classes, and options in all places
    r"'(?i:[sdx]|ll|ve)|\p{L}+|\p{N}{1,2}|\s+|[^\s\p{L}\p{N}]+",
    r"(?i:[a-k])+", r"(?i:[^a-k]+)", r"(?i:[^kse\s\p{N}])", r"(?i:\p{L})+", r"(?i:\w+|[\d_]+)", r"(?i:k)", r"(?i:[k])",
    r"(?i)the|FOX", r"x(?i)a|b", r"(a(?i)b|c)d", r"(?i:the(?-i: A))", r"(?m:.{1,20})e", r"(?-m:.)+", r"(?i:[[:digit:]x]+)",
    r"(?i:a(?=b))", r"(?i:(?!the)\w+)", r"(?<word>\w+)|(?#others).", r"(?i-m:i'm.)",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
    # words and their borders
    r"\w+|[^\w\s]+", r"\w", r"\W", r"[\w]", r"[\W]", r"[^\w]", r"[^\W_]+", r"\w+\W*", r"\b", r"\B", r"\b\w", r"\w\b",
    r"\d{1,3}(?=(?:\d{3})*\b)", r"\bthe\b", r"\b.\B", r"(?<=\b)a", r"[\w\-']+", r"\p{Word}+", r"[\p{word}]", r"[[:word:]]",
    # the ends of a text and of a line
    r"\Athe|\w+", r"\A.", r".\z", r"\s\Z", r"\n\Z", r"$", r"^.", r"e$", r"\s+$", r"\R", r"\N+", r"\O{3}", r"\h+", r"\H+",
    # properties
    r"\p{Han}+", r"\P{Han}+", r"[\p{Han}\p{Hiragana}\p{Katakana}]+", r"\p{^L}+", r"\p{Mn}", r"\P{Mn}", r"[\p{Mn}]", r"[^\p{Mn}]",
    r"[\P{Mn}a]", r"\p{Cn}", r"\P{Cn}+", r"\p{C}+", r"[^\p{C}]", r"\p{Cf}", r"\p{Uppercase_Letter}", r"\p{ letter }+",
    r"\p{Thai}+|\p{arabic}+|\p{Hebrew}+|\p{Devanagari}+|\p{Greek}+|\p{Cyrillic}+|\p{Latin}+|\p{Hangul}+",
    r"[[:punct:]]+", r"\p{Punct}+", r"[[:^digit:]]+", r"[[:blank:]]", r"[[:cntrl:]]", r"[[:ascii:]]+", r"[[:xdigit:]]+",
    r"[[:space:]x]+", r"\p{M}+|\p{S}+|\p{P}+|\p{Z}+",
    # classes in classes
    r"[a-z&&[^aeiou]]+", r"[^a-z&&[^aeiou]]+", r"[\p{L}&&[^\p{Han}]]+", r"[^\P{L}]+", r"[\P{L}\d]+", r"[a[^b-y]z]+",
    r"[\w&&\P{L}&&[^\d]]", r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+",
    r"[^[^a]]+", r"[a-c-e]+", r"[\s&&[^\n]]+", r"[^\S ]+", r"[\D]", r"(?<=[^\P{L}])[^\p{L}&&\S]",
    # what needs care in long texts
    r"(?=(\d{3})+(?!\d))", r"(?<=[a-z])(?=[A-Z])", r"\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s", r"a*b|.", r"[^\r\n]+|[\r\n]+",
    r"[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+",
]

OTHERS = [{"type": "Whitespace"}, {"type": "WhitespaceSplit"}, {"type": "BertPreTokenizer"},
          {"type": "CharDelimiterSplit", "delimiter": "e"}, {"type": "CharDelimiterSplit", "delimiter": "é"},
          {"type": "FixedLength", "length": 1}, {"type": "FixedLength", "length": 3},
          {"type": "Digits", "individual_digits": True}, {"type": "Digits", "individual_digits": False},
          *[{"type": "Punctuation", "behavior": b} for b in
            ("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous")],
          {"type": "Sequence", "pretokenizers": [{"type": "Whitespace"}, {"type": "FixedLength", "length": 2}]},
          {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, {"type": "Digits", "individual_digits": True},
                                                 {"type": "Punctuation", "behavior": "Contiguous"}]},
          {"type": "Sequence", "pretokenizers": [{"type": "BertPreTokenizer"},
                                                 {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always",
                                                  "split": True}]}]


def split(pattern, behavior="Isolated", invert=False):
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": invert}


class Drawn:
    """Patterns of supported parts, at random."""

    SETS = [r"\w", r"\W", r"\s", r"\S", r"\d", r"\D", r"\h", r"\p{L}", r"\P{L}", r"\p{Lu}", r"\p{Han}", r"\P{Han}", r"\p{N}",
            r"\p{Mn}", r"\P{Mn}", r"\p{P}", r"\p{^P}", "a-z", "A-Z", "0-9", "e", "t", " ", "é", "中", "_", r"\n", "[:punct:]",
            "[:word:]"]
    ALONE = [s for s in SETS if s[0] == "\\"] + [".", "a", "e", "t", " ", "the", "é", "中", r"\n", r"\R", r"\N", "'", "1"]

    def __init__(self, seed):
        self.rng = random.Random(seed)

    def inside(self, depth):
        r = self.rng
        text = "^" if r.random() < 0.3 else ""
        for i in range(r.randint(1, 3)):
            if i > 0 and r.random() < 0.3:
                text += "&&"
            if depth < 2 and r.random() < 0.3:
                text += "[" + self.inside(depth + 1) + "]"
            else:
                text += r.choice(self.SETS)
        return text

    def atom(self, depth):
        r, x = self.rng, self.rng.random()
        if x < 0.35 or depth > 2:
            return r.choice(self.ALONE)
        if x < 0.65:
            return "[" + self.inside(0) + "]"
        if x < 0.75:
            return "(?:" + self.sequence(depth + 1) + ")"
        if x < 0.8:
            return "(?>" + self.sequence(depth + 1) + ")"
        if x < 0.9:
            return "(?i:" + r.choice(["[a-k]+", "the", "[^e]", r"\w", "'[sdt]", r"[\s\d]", "k|[k]"]) + ")"
        return "(" + self.sequence(depth + 1) + ")"

    def sequence(self, depth=0):
        r, parts = self.rng, []
        for _ in range(r.randint(1, 3)):
            x = r.random()
            if x < 0.1:
                parts.append(r.choice([r"\b", r"\B", "^", "$", r"\A", r"\z", r"\Z"]))
            elif x < 0.2:
                parts.append(r.choice(["(?=", "(?!"]) + self.atom(depth + 1) + ")")
            elif x < 0.25:
                parts.append(r.choice(["(?<=", "(?<!"]) + "[" + self.inside(1) + "])")
            else:
                parts.append(self.atom(depth) + r.choice(["", "", "", "+", "*", "?", "+?", "++", "{1,3}", "{2}", "{,2}"]))
        text = "".join(parts)
        return text + "|" + self.sequence(depth + 1) if r.random() < 0.25 and depth < 2 else text


def words(pre, texts):
    """None where the library's engine gives up."""
    crc = 0
    try:
        for text in texts:
            for word, _ in pre.pre_tokenize_str(text):
                crc = zlib.crc32(word.encode() + b"\0", crc)
    except BaseException as broken:
        if type(broken).__name__ != "PanicException":
            raise
        return None
    return crc


def crcs(data, blocks):
    try:
        t = json.loads(Tokenizer(models.BPE()).to_str())
        t["pre_tokenizer"] = data
        pre = Tokenizer.from_str(json.dumps(t)).pre_tokenizer
    except Exception:
        return None
    return [words(pre, block) for block in blocks]


def main(folder):
    raw = gzip.open(folder + "/strings.gz").read()
    strings = []
    for line in raw.split(b"\n")[:-1]:
        out = line.replace(b"\\\\", b"\0B").replace(b"\\n", b"\n").replace(b"\0B", b"\\")
        strings.append(out.decode("utf-8", "replace"))
    strings = strings[::4]
    every = "".join(chr(c) for a, b in RANGES for c in range(a, b + 1))
    blocks = [[every]] + [strings[i:i + 100] for i in range(0, len(strings), 100)]
    cuts = [{"pre": split(p)} for p in PATTERNS]
    cuts += [{"pre": split(r"\w+|[^\w\s]+", b, invert)} for b in
             ("Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous") for invert in (False, True)]
    cuts += [{"pre": p} for p in OTHERS]
    drawn = Drawn(11)
    cuts += [{"pre": split(drawn.sequence()), "random": True} for _ in range(300)]
    for cut in cuts:
        few = blocks[1:5] if "random" in cut else blocks
        cut["crcs"] = crcs(cut["pre"], few)
        if cut["crcs"] is None and "random" not in cut:
            print("the library refuses", cut["pre"])
    with open(folder + "/cuts.json", "w", encoding="utf-8") as f:
        f.write('{"ranges":' + json.dumps(RANGES, separators=(",", ":")) + ',"cuts":[\n')
        f.write(",\n".join(json.dumps(c, ensure_ascii=False, separators=(",", ":")) for c in cuts) + "\n]}\n")


if __name__ == "__main__":
    main(sys.argv[1])
