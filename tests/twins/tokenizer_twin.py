#!/usr/bin/env python3
"""Golden files of the tokenizer, made by the Hugging Face library.

    python3 tests/twins/tokenizer_twin.py GOLDEN_DIR [DATA_DIR]

Writes to GOLDEN_DIR (tests/golden/tokenizer): corpus.txt, some small tokenizers NAME.json that between
them use every supported step, strings.gz with more than 5,000 nasty strings, and NAME.ids.gz.  With
DATA_DIR (a folder with tokenizers/gpt2 and tokenizers/gpt-neox) also gpt2.ids.gz and gpt-neox.ids.gz.

strings.gz: a string a line, bytes as they are, except that backslash and line feed are \\\\ and \\n.
NAME.ids.gz: lines "INDEX MODE CRC ID ID …".  MODE: 0 plain, 1 with the post-processor's special tokens,
2 with special tokens in the text taken as text, 3 no text but ids drawn at random, to be decoded.  CRC:
zlib.crc32 of the ids decoded with special tokens left out, a NUL, and decoded with them.
Made with tokenizers 0.22.2; see also --check-train below.

    python3 tests/twins/tokenizer_twin.py --check-train TEXT TOKENIZER.json VOCAB

trains on TEXT (documents between lines <|endoftext|>) and says whether TOKENIZER.json is the same.
"""
import gzip
import json
import random
import re
import sys
import zlib

from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers as N,
                        pre_tokenizers as P, processors, trainers)

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
GPT4O = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
         r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+"
         r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}"
         r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")

WORDS = ("the a small big red blue old fox bear girl boy tree river house garden cat dog bird stone boat "
         "was ran jumped said found looked wanted played under over near with and but because then very "
         "happy sad deep cold warm lake mountain door window little friend mother father day night "
         "don't I'm we'll they've he'd it's you're isn't").split()
OTHER = ["der Fluß fließt über große Steine", "où est le garçon naïf", "Ёжик нашёл гриб в лесу",
         "Η γάτα κοιμάται", "कुत्ता दौड़ता है", "القط الصغير نائم", "הכלב רץ", "小猫在花园里睡觉",
         "ねこはにわでねている", "고양이가 정원에서 잔다", "แมวนอนในสวน", "mèo con ngủ trong vườn",
         "x = y + 12; // naïve", "https://example.org/a?b=c&d=42", "{\"key\": [1, 2.5, null]}"]


def make_corpus():
    rng = random.Random(12)
    documents = []
    for _ in range(90):
        sentences = []
        for _ in range(rng.randint(2, 5)):
            words = [rng.choice(WORDS) for _ in range(rng.randint(4, 11))]
            words[0] = words[0].capitalize()
            sentences.append(" ".join(words) + rng.choice([".", "!", "?", ", …", " 1984.", "\n"]))
        if rng.random() < 0.5:
            sentences.append(rng.choice(OTHER))
        documents.append(" ".join(sentences))
    return documents


def trained(documents, size, full, specials, normalizer, pre, **model):
    t = Tokenizer(models.BPE(**model))
    t.normalizer = normalizer
    t.pre_tokenizer = pre
    t.decoder = decoders.ByteLevel()
    t.post_processor = processors.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=specials, show_progress=False,
                                  initial_alphabet=sorted(P.ByteLevel.alphabet()) if full else [])
    t.train_from_iterator(documents, trainer)
    return t


def split(pattern):
    return P.Sequence([P.Split(Regex(pattern), "isolated"),
                       P.ByteLevel(add_prefix_space=False, use_regex=False)])


def make_tokenizers(documents):
    made = {}
    made["nfkc"] = trained(documents, 600, False, ["<|pad|>", "<|endoftext|>"], N.NFKC(),
                           P.ByteLevel(add_prefix_space=True))

    t = trained(documents, 640, True, [], None, split(LLAMA3))
    t.add_special_tokens(["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"])
    bos, eos = t.token_to_id("<|begin_of_text|>"), t.token_to_id("<|end_of_text|>")
    t.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(single="<|begin_of_text|> $A <|end_of_text|>",
                                      special_tokens=[("<|begin_of_text|>", bos),
                                                      ("<|end_of_text|>", eos)])])
    data = json.loads(t.to_str())
    # Whole words that no merge makes, to see ignore_merges.
    for word in ["Ġqzx", "zzzz", "ĠðŁĺĢ"]:
        data["model"]["vocab"][word] = len(data["model"]["vocab"])
    shift = 3
    for token in data["added_tokens"]:
        token["id"] += shift
    for entry in data["post_processor"]["processors"][1]["special_tokens"].values():
        entry["ids"] = [i + shift for i in entry["ids"]]
    data["model"]["ignore_merges"] = True
    made["llama3"] = Tokenizer.from_str(json.dumps(data))

    made["qwen2"] = trained(documents, 500, True, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
                            N.NFC(), split(QWEN2))

    t = trained(documents, 400, True, ["<s>", "</s>", "<unk>"],
                N.Sequence([N.Lowercase(), N.NFD()]), P.ByteLevel(add_prefix_space=True))
    t.post_processor = processors.RobertaProcessing(("</s>", 1), ("<s>", 0))
    t.add_special_tokens([AddedToken("<mask>", lstrip=True), AddedToken("<Sep>", rstrip=True),
                          AddedToken("<|both|>", lstrip=True, rstrip=True, normalized=True)])
    t.add_tokens([AddedToken("Fox", single_word=True), AddedToken("ÉTÉ", normalized=True),
                  AddedToken("bear", single_word=True, lstrip=True, rstrip=True, normalized=True),
                  AddedToken("  ", normalized=True), AddedToken("   ", normalized=False),
                  AddedToken("<mask><mask>", normalized=False), AddedToken("é", normalized=False),
                  AddedToken("\u00a0", rstrip=True, normalized=True), "lake", "lakeside"])
    made["flags"] = t

    # unknown bytes become <unk>
    made["steps"] = trained(
        documents, 450, False, ["<unk>", "<|endoftext|>"],
        N.Sequence([N.Strip(left=True, right=False), N.Replace("ab", "Bá"), N.Prepend("_")]),
        P.Sequence([P.Digits(individual_digits=True), P.Split("-", "merged_with_previous"),
                    P.Split(Regex(r"[aeiou]+"), "merged_with_next"),
                    P.Split(Regex(r"[xyz]"), "contiguous"),
                    P.Split(Regex(r"[#@]|q*"), "removed"),
                    P.Split(Regex(r"^[^\s\p{P}]+$"), "isolated", invert=True),
                    P.ByteLevel(add_prefix_space=True)]),
        unk_token="<unk>", fuse_unk=True)

    t = trained(documents, 420, False, ["<unk>", "<|endoftext|>"], N.NFKD(),
                P.Sequence([P.Digits(individual_digits=False), P.Sequence([
                    P.Split(Regex(GPT4O), "isolated"),
                    P.ByteLevel(add_prefix_space=False, use_regex=False)])]),
                unk_token="<unk>")
    data = json.loads(t.to_str())
    data["decoder"] = None
    data["post_processor"] = None
    made["gpt4o"] = Tokenizer.from_str(json.dumps(data))

    # Falcon's way: steps behind the byte-level one see the spelling of the bytes.  And BLOOM's pattern.
    made["falcon"] = trained(
        documents, 460, True, ["<|endoftext|>"], None,
        P.Sequence([P.Punctuation("contiguous"), P.ByteLevel(add_prefix_space=False),
                    P.Digits(individual_digits=False), P.Split(Regex("[0-9][0-9][0-9]"), "isolated"),
                    P.Split("\u0120the", "removed")]))
    made["bloom"] = trained(documents, 440, True, ["<unk>", "<s>", "</s>", "<pad>"], None,
                            P.Sequence([P.Split(Regex(" ?[^(\\s|[.,!?…。，、।۔،])]+"), "isolated"),
                                        P.Punctuation("merged_with_next"),
                                        P.ByteLevel(add_prefix_space=False, use_regex=False)]))
    return made


# ---- characters and bytes -----------------------------------------------------------------------

BYTES = [f"<0x{b:02X}>" for b in range(256)]
MARK = "\u2581"
LLAMA2_DECODER = decoders.Sequence([decoders.Replace(MARK, " "), decoders.ByteFallback(), decoders.Fuse(),
                                    decoders.Strip(" ", 1, 0)])
# DeepSeek's way: line ends, words of some scripts, punctuation, spaces at the end, Chinese and Korean.
DEEPSEEK = [r"[\r\n]",
            "\\s?[A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u0370-\u0373\u038e-\u03a1\u03a3-\u03f5"
            "\u0400-\u0481\u048a-\u052f\u10a0-\u10c5\u1e00-\u1f15]+",
            "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+", r"\s+$",
            "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"]
DEEPSEEK3 = [r"\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
             r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
             r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"]
O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
         r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+"
         r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}"
         r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def over_characters(documents, size, byte_tokens, normalizer, pre, decoder, special_pieces=True, **model):
    """BPE over characters, trained on words that begin with the mark; the bytes are tokens 3, 4, …"""
    t = Tokenizer(models.BPE(unk_token="<unk>", **model))
    t.pre_tokenizer = P.Metaspace(MARK, "always")
    specials = ["<unk>", "<s>", "</s>"] + byte_tokens
    t.train_from_iterator(documents, trainers.BpeTrainer(
        vocab_size=size, special_tokens=specials, show_progress=False, limit_alphabet=120))
    t.normalizer, t.pre_tokenizer, t.decoder = normalizer, pre, decoder
    data = json.loads(t.to_str())
    data["added_tokens"] = data["added_tokens"][:3]
    return data


def make_character_tokenizers(documents):
    made = {}
    bos = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)])
    # Llama 2, Mistral, Mixtral: no pre-tokenizer, so that the whole text is one word.
    data = over_characters(documents, 700, BYTES, N.Sequence([N.Prepend(MARK), N.Replace(" ", MARK)]), None,
                           LLAMA2_DECODER, byte_fallback=True, fuse_unk=True)
    t = Tokenizer.from_str(json.dumps(data))
    t.post_processor = bos
    made["llama2"] = t
    # The newer spelling of the same.
    data = over_characters(documents, 640, BYTES, None, P.Metaspace(MARK, "first", split=False), LLAMA2_DECODER,
                           byte_fallback=True, fuse_unk=True)
    data["added_tokens"][1]["normalized"] = True
    t = Tokenizer.from_str(json.dumps(data))
    t.post_processor = bos
    t.add_tokens([AddedToken("fox", normalized=True), AddedToken("[INST]", normalized=False),
                  AddedToken("  ", normalized=False)])
    made["mistral"] = t
    # Characters without a fallback: runs of them are one unknown token.
    data = over_characters(documents, 420, [], N.NFKC(), P.Metaspace(MARK, "always"),
                           decoders.Metaspace(MARK, "always"), fuse_unk=True)
    made["metaspace"] = Tokenizer.from_str(json.dumps(data))
    # Some of the bytes only, every unknown one by itself; a mark that texts have too; steps before it.
    data = over_characters(documents, 500, BYTES[0x40:0xE6], None,
                           P.Sequence([P.Split(Regex("[0-9]q?"), "removed"), P.Digits(individual_digits=True),
                                       P.Metaspace("_", "first", split=True)]),
                           decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace("_", "first"),
                                              decoders.Strip("e", 1, 0), decoders.Fuse(), decoders.Strip("a", 2, 3),
                                              decoders.Strip(" ", 0, 2)]),
                           byte_fallback=True, fuse_unk=False, ignore_merges=True)
    rename = lambda token: token.replace(MARK, "_") if token != "_" else MARK
    data["model"]["vocab"] = {rename(k): v for k, v in data["model"]["vocab"].items()}
    data["model"]["merges"] = [[rename(m) for m in pair] for pair in data["model"]["merges"]]
    # ignore_merges sees words that no merge makes.
    for word in ["_qzx", "zzzz", "<0x+F>", "<0xe9>"]:
        data["model"]["vocab"][word] = len(data["model"]["vocab"])
    del data["pre_tokenizer"]["pretokenizers"][2]["prepend_scheme"]  # an older file
    data["pre_tokenizer"]["pretokenizers"][2]["add_prefix_space"] = True
    made["partial"] = Tokenizer.from_str(json.dumps(data))
    data = over_characters(documents, 450, BYTES, N.Sequence([N.Replace(" ", MARK)]), P.Metaspace(MARK, "never"),
                           decoders.Sequence([decoders.Strip(MARK, 1, 0), decoders.Replace(MARK, " "),
                                              decoders.ByteFallback(), decoders.Replace("e", "EE")]),
                           byte_fallback=True)
    made["never"] = Tokenizer.from_str(json.dumps(data))
    made["deepseek"] = trained(documents, 520, True, ["<|begin\u2581of|>", "<|end|>"], N.Sequence([]),
                               P.Sequence([*[P.Split(Regex(p), "isolated") for p in DEEPSEEK],
                                           P.Digits(individual_digits=True), P.ByteLevel(False, use_regex=False)]))
    made["deepseek3"] = trained(documents, 500, True, ["<|end|>"], None,
                                P.Sequence([*[P.Split(Regex(p), "isolated") for p in DEEPSEEK3],
                                            P.ByteLevel(False, use_regex=False)]))
    data = json.loads(trained(documents, 500, False, ["<|startoftext|>", "<|endoftext|>", *BYTES], None,
                              P.Sequence([P.Split(Regex(O200K), "isolated"), P.ByteLevel(False, use_regex=False)])
                              ).to_str())
    data["added_tokens"] = data["added_tokens"][:2]
    data["model"]["byte_fallback"] = True  # bytes that never occurred are spelled, and fall back
    made["o200k"] = Tokenizer.from_str(json.dumps(data))
    made["smollm"] = trained(documents, 480, True, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], None,
                             P.Sequence([P.Digits(individual_digits=True), P.ByteLevel(False, use_regex=True)]))
    return made


# ---- nasty strings ------------------------------------------------------------------------------

SPACES = [chr(c) for c in [9, 10, 11, 12, 13, 32, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028,
                           0x2029, 0x202F, 0x205F, 0x3000, 0x180E, 0x200B, 0xFEFF, 0x1C, 0x1F]]
SCRIPTS = [(0x41, 0x5A), (0x61, 0x7A), (0xC0, 0x24F), (0x370, 0x3FF), (0x400, 0x4FF), (0x530, 0x58F),
           (0x5D0, 0x5EA), (0x620, 0x64A), (0x710, 0x72F), (0x904, 0x94D), (0x985, 0x9CD),
           (0xB85, 0xBCD), (0xE01, 0xE5B), (0xF40, 0xFBC), (0x10A0, 0x10FF), (0x1100, 0x11FF),
           (0x1780, 0x17D3), (0x1E00, 0x1FFF), (0x2C00, 0x2DFF), (0x3041, 0x30FF), (0x4E00, 0x4FFF),
           (0xA640, 0xA7FF), (0xAC00, 0xAFFF), (0xF900, 0xFAFF), (0xFB00, 0xFDFF), (0xFE70, 0xFFEF),
           (0x10400, 0x1044F), (0x10D40, 0x10D8F), (0x11380, 0x113E2), (0x16D40, 0x16D79),
           (0x1D400, 0x1D7FF), (0x1E030, 0x1E08F), (0x1E900, 0x1E95F), (0x20000, 0x200FF),
           (0x31350, 0x313FF)]
MARKS = [*range(0x300, 0x370), 0x5B0, 0x5BF, 0x64B, 0x670, 0x93C, 0x94D, 0x9FE, 0xD3B, 0xE38, 0xEB8,
         0xEBA, 0xF71, 0xF74, 0x1AC1, 0x1DF6, 0x20D0, 0x3099, 0x309A, 0xFE20, 0x10EAB, 0x11930,
         0x1133B, 0x1E4EC, 0x1E5EE, 0x10D69]
DIGITS = [0x30, 0x39, 0xB2, 0xBD, 0x660, 0x966, 0xE50, 0x2160, 0x2460, 0x2189, 0x3007, 0x3021, 0xFF10,
          0x10107, 0x10D41, 0x116D3, 0x11BF4, 0x1D7CE, 0x1D2C1, 0x1F100, 0x1FBF0, 0x4E09]
EMOJI = ["😀", "👩‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪", "👍🏽", "❤️", "☺", "1️⃣", "🧑🏿‍🚀", "🫠", "©", "™", "🦙", "\U0001FADF"]
COMPAT = [0xA0, 0xAA, 0xB5, 0xBE, 0x132, 0x149, 0x17F, 0x1C4, 0x2D8, 0x344, 0x374, 0x37E, 0x387, 0x958,
          0x1E9B, 0x1F71, 0x2126, 0x212A, 0x212B, 0x2163, 0x2474, 0x3000, 0x309B, 0x3300, 0x32FF,
          0x33FF, 0xA7F2, 0xAB69, 0xFB01, 0xFB06, 0xFB1D, 0xFDFA, 0xFE19, 0xFF21, 0xFF76, 0xFF9E,
          0x10781, 0x1D15E, 0x1D400, 0x1EE00, 0x1F130, 0x2F800, 0x1FBF1, 0x11935, 0x11938, 0x1112E,
          0x9CB, 0x1B06, 0xFB2C, 0x1D160, 0x2ADC, 0x113C5, 0x16D6A]
SNIPS = ["<|endoftext|>", "<|pad|>", "<mask>", "<mask><mask>", "<Sep>", "<sep>", "<|both|>", "<|BOTH|>",
         "Fox", "fox", "bear", "Bear", "lake", "lakeside", "ÉTÉ", "été", "e\u0301te\u0301", "é", "  ",
         "   ", "<|im_start|>", "<|im_end|>", "<|begin_of_text|>", "<|eot_id|>", "<unk>", "<s>", "</s>",
         "<|endoftext|", "<|endo", "<<mask>>", " qzx", "zzzz", " 😀"]
ASCII = ["'s", "'S", "'t", "'RE", "'ve", "'ll", "'LL", "'m", "'d", "'", "''", "'ſ", "don't", "I'M", "-",
         "--", "_", "#", "@", "q", "qq", "ab", "abab", "xyz", "xx", "a", "e", "12", "1984", "3.14", "\0",
         "\x7f", "\x1b[0m", "\\", "\"", "{", "}", "[1]", "(", "&amp;", "</p>", "\r\n", "\n\n", "\r",
         "\t\t", "    ", "C++", "e.g.", "$5", "50%", "A", "Z", "aaaa", "ZZZ", "the", " the", "The"]
BAD = [b"\x80", b"\xff", b"\xc0\x80", b"\xc2", b"\xe2\x82", b"\xe2\x28\xa1", b"\xf0\x9f\x98",
       b"\xf0\x28\x8c\xbc", b"\xed\xa0\x80", b"\xed\xb0\x80", b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80",
       b"\xe0\x80\x80", b"\xf0\x80\x80\x80", b"\xfe", b"\xc3\x28", b"\xe1\x80", b"\xf1\x80\x80\xe1"]


def make_strings(count):
    rng = random.Random(2026)
    def letters():
        low, high = rng.choice(SCRIPTS)
        return "".join(chr(rng.randint(low, high)) for _ in range(rng.randint(1, 6)))
    def anything():
        c = rng.choice([rng.randrange(0x3000), rng.randrange(0x10000), rng.randrange(0x20000),
                        rng.randrange(0x110000)])
        return "" if 0xD800 <= c < 0xE000 else chr(c)
    def marked():
        return rng.choice("aeiouAEnsqкгかכक가") + "".join(chr(rng.choice(MARKS))
                                                     for _ in range(rng.randint(1, 4)))
    def jamo():
        return "".join(chr(c) for c in [rng.randint(0x1100, 0x1112), rng.randint(0x1161, 0x1175),
                                        rng.randint(0x11A7, 0x11C3)][:rng.randint(1, 3)])
    parts = [
        lambda: rng.choice(WORDS), lambda: " " + rng.choice(WORDS), lambda: rng.choice(ASCII), letters,
        anything, marked, jamo, lambda: rng.choice(EMOJI), lambda: chr(rng.choice(COMPAT)),
        lambda: "".join(rng.choice(SPACES) for _ in range(rng.randint(1, 3))),
        lambda: "".join(chr(rng.choice(DIGITS)) for _ in range(rng.randint(1, 4))),
        lambda: rng.choice(SNIPS), lambda: rng.choice(SNIPS) + rng.choice(["", " ", "\t ", "\u2003"]),
        lambda: rng.choice(SPACES) + rng.choice(SNIPS), lambda: rng.choice(BAD),
        lambda: rng.choice(ASCII).upper(), lambda: " "]
    strings = {b"": None}
    for c in list(map(chr, COMPAT + DIGITS + MARKS)) + SPACES + EMOJI + SNIPS + ASCII:
        strings[c.encode()] = None
    for b in BAD:
        strings[b] = None
        strings[b"a" + b + b"\xc3\xa9"] = None
    for c in "a Z1é́😀\u0301\t\n'-\u3099\u1161한":
        for n in (2, 3, 17, 49, 257):
            strings[(c * n).encode()] = None
            strings[("x" + c * n + "b").encode()] = None
    while len(strings) < count:
        s = b""
        for _ in range(rng.randint(1, 5)):
            p = rng.choice(parts)()
            s += p if isinstance(p, bytes) else p.encode()
        strings[s] = None
    return list(strings)


def pack(path, data):
    with open(path, "wb") as f:
        with gzip.GzipFile(fileobj=f, mode="wb", compresslevel=9, mtime=0, filename="") as g:
            g.write(data)


def both_texts(tokenizer, ids):
    """None where the library breaks down: its Strip on texts shorter than what it may drop."""
    try:
        return zlib.crc32((tokenizer.decode(ids, skip_special_tokens=True) + "\0" +
                           tokenizer.decode(ids, skip_special_tokens=False)).encode())
    except BaseException as broken:
        if type(broken).__name__ != "PanicException":
            raise
        return None


def write_ids(path, tokenizer, strings, chosen, draws=0):
    lines = []
    rng = random.Random(7)
    for i in range(draws):
        # Long runs from the first tokens, where the bytes are.
        size = tokenizer.get_vocab_size()
        ids = [rng.randrange(size if rng.random() < 0.4 else min(size, 262)) for _ in range(rng.randint(0, 9))]
        lines.append([i, 3, both_texts(tokenizer, ids), *ids])
    for i, mode in chosen:
        text = strings[i].decode("utf-8", "replace")
        tokenizer.encode_special_tokens = mode == 2
        ids = tokenizer.encode(text, add_special_tokens=mode == 1).ids
        lines.append([i, mode, both_texts(tokenizer, ids), *ids])
    pack(path, "".join(" ".join(map(str, line)) + "\n" for line in lines if line[2] is not None).encode())


def make_golden(folder, data):
    documents = make_corpus()
    with open(folder + "/corpus.txt", "w", encoding="utf-8", newline="") as f:
        f.write("<|endoftext|>".join(documents))
    strings = make_strings(6000)
    pack(folder + "/strings.gz", b"".join(s.replace(b"\\", b"\\\\").replace(b"\n", b"\\n") + b"\n"
                                          for s in strings))
    write_tokenizers(folder, make_tokenizers(documents), strings, 0)
    write_tokenizers(folder, make_character_tokenizers(documents), strings, 500)
    if data is None:
        return
    for name, step in (("gpt2", 1), ("gpt-neox", 2)):
        t = Tokenizer.from_file(f"{data}/tokenizers/{name}/tokenizer.json")
        write_ids(f"{folder}/{name}.ids.gz", t, strings,
                  [(i, i % 5 if i % 5 < 3 else 0) for i in range(0, len(strings), step)])


def write_tokenizers(folder, made, strings, draws):
    for k, (name, t) in enumerate(made.items()):
        text = json.loads(t.to_str())
        if name in ("flags", "qwen2", "llama2"):  # the older spelling of merges
            text["model"]["merges"] = [" ".join(m) for m in text["model"]["merges"]]
        with open(f"{folder}/{name}.json", "w", encoding="utf-8") as f:
            json.dump(text, f, ensure_ascii=False, separators=(",", ":"))
            f.write("\n")
        n = len(made)
        chosen = [(i, (i // n) % 3) for i in range(len(strings)) if i % n == k or (i + i // n + 1) % n == k]
        write_ids(f"{folder}/{name}.ids.gz", Tokenizer.from_file(f"{folder}/{name}.json"), strings,
                  chosen, draws)


def check_train(text, path, size):
    # Documents as the command reads them: without the line end in front of the separator's line.
    whole = open(text, encoding="utf-8", errors="replace", newline="").read()
    documents = re.split(r"(?:^|\n)<\|endoftext\|>(?:\n|$)", whole.removesuffix("\n"))
    documents = [d for d in documents if d.strip()]
    t = trained(documents, size, False, ["<|pad|>", "<|endoftext|>"], N.NFKC(),
                P.ByteLevel(add_prefix_space=True))
    theirs, ours = json.loads(t.to_str()), json.load(open(path, encoding="utf-8"))
    for key in theirs:
        if theirs[key] != ours[key]:
            print("differs:", key)
    print("the same" if theirs == ours else "NOT the same")
    return theirs != ours


if __name__ == "__main__":
    if sys.argv[1] == "--check-train":
        sys.exit(check_train(sys.argv[2], sys.argv[3], int(sys.argv[4])))
    make_golden(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)
