// The table of ways to cut words.
#include "text/word_cuts.h"

#include <string.h>

#include "base/alloc.h"
#include "text/pattern.h"

#define WORDS_ENDING  "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define WORDS_LETTERS "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"
#define WORDS_SPACES  "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define WORDS_REST    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*" WORDS_SPACES
#define WORDS_GPT2    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)"
#define WORDS_QWEN2   WORDS_ENDING "|" WORDS_LETTERS "|\\p{N}" WORDS_REST
// Words change between small and capital letters at most once (o200k).
#define WORDS_CAPITAL "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define WORDS_SMALL   "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define WORDS_O200K(ending, numbers)                                                               \
    "[^\\r\\n\\p{L}\\p{N}]?" WORDS_CAPITAL "*" WORDS_SMALL "+" ending                              \
    "|[^\\r\\n\\p{L}\\p{N}]?" WORDS_CAPITAL "+" WORDS_SMALL "*" ending "|" numbers                 \
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*" WORDS_SPACES
// Kimi K2 takes characters of Chinese by themselves.
#define WORDS_NO_HAN_CAPITAL "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]"
#define WORDS_NO_HAN_SMALL   "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]"
#define WORDS_KIMI                                                                                 \
    "[\\p{Han}]+|[^\\r\\n\\p{L}\\p{N}]?" WORDS_NO_HAN_CAPITAL "*" WORDS_NO_HAN_SMALL               \
    "+" WORDS_ENDING "?|[^\\r\\n\\p{L}\\p{N}]?" WORDS_NO_HAN_CAPITAL "+" WORDS_NO_HAN_SMALL        \
    "*" WORDS_ENDING "?|\\p{N}{1,3}" WORDS_REST
#define WORDS_CJK "[\\x{4e00}-\\x{9fa5}\\x{3040}-\\x{309f}\\x{30a0}-\\x{30ff}]+"
#define WORDS_SIGNS                                                                                \
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+"                                        \
    "|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+"
#define WORDS_CHINESE "[\\x{4e00}-\\x{9fa5}\\x{800}-\\x{4e00}\\x{ac00}-\\x{d7ff}]+"
// The letters that DeepSeek's first tokenizer knows, in order.
#define WORDS_CASED                                                                                \
    "A-Za-z"                                                                                       \
    "\\x{b5}\\x{c0}-\\x{d6}\\x{d8}-\\x{f6}\\x{f8}-\\x{1ba}\\x{1bc}-\\x{1bf}\\x{1c4}-"              \
    "\\x{293}\\x{295}-\\x{2af}\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37b}-\\x{37d}\\x{37f}"          \
    "\\x{386}\\x{388}-\\x{38a}\\x{38c}\\x{38e}-\\x{3a1}\\x{3a3}-\\x{3f5}\\x{3f7}-\\x{481}"         \
    "\\x{48a}-\\x{52f}\\x{531}-\\x{556}\\x{10a0}-\\x{10c5}\\x{13a0}-\\x{13f5}\\x{13f8}-"           \
    "\\x{13fd}\\x{1c90}-\\x{1cba}\\x{1cbd}-\\x{1cbf}\\x{1d00}-\\x{1d2b}\\x{1d6b}-"                 \
    "\\x{1d77}\\x{1d79}-\\x{1d9a}\\x{1e00}-\\x{1f15}\\x{1f18}-\\x{1f1d}\\x{1f20}-"                 \
    "\\x{1f45}\\x{1f48}-\\x{1f4d}\\x{1f50}-\\x{1f57}\\x{1f59}\\x{1f5b}\\x{1f5d}\\x{1f5f}-"         \
    "\\x{1f7d}\\x{1f80}-\\x{1fb4}\\x{1fb6}-\\x{1fbc}\\x{1fbe}\\x{1fc2}-\\x{1fc4}\\x{1fc6}"         \
    "-\\x{1fcc}\\x{1fd0}-\\x{1fd3}\\x{1fd6}-\\x{1fdb}\\x{1fe0}-\\x{1fec}\\x{1ff2}-"                \
    "\\x{1ff4}\\x{1ff6}-\\x{1ffc}\\x{2102}\\x{2107}\\x{210a}-\\x{2113}\\x{2115}\\x{2119}-"         \
    "\\x{211d}\\x{2124}\\x{2126}\\x{2128}\\x{212a}-\\x{212d}\\x{212f}-\\x{2134}\\x{2139}"          \
    "\\x{213c}-\\x{213f}\\x{2145}-\\x{2149}\\x{214e}\\x{2183}\\x{2184}\\x{2c00}-\\x{2c7b}"         \
    "\\x{2c7e}-\\x{2ce4}\\x{2ceb}-\\x{2cee}\\x{2cf2}\\x{2cf3}\\x{a640}-\\x{a66d}\\x{a680}"         \
    "-\\x{a69b}\\x{a722}-\\x{a76f}\\x{a771}-\\x{a787}\\x{a78b}-\\x{a78e}\\x{ab70}-"                \
    "\\x{abbf}\\x{fb00}-\\x{fb06}\\x{fb13}-\\x{fb17}\\x{ff21}-\\x{ff3a}\\x{ff41}-"                 \
    "\\x{ff5a}\\x{10400}-\\x{1044f}\\x{104b0}-\\x{104d3}\\x{104d8}-\\x{104fb}\\x{10c80}-"          \
    "\\x{10cb2}\\x{10cc0}-\\x{10cf2}\\x{118a0}-\\x{118df}\\x{1e900}-\\x{1e943}"
#define WORDS_BLOOM " ?[^(\\s|.,!?\\x{2026}\\x{3002}\\x{ff0c}\\x{3001}\\x{964}\\x{6d4}\\x{60c})]+"
#define WORDS_YOUTU                                                                                \
    "[\\x{ac00}-\\x{d7a3}\\x{3131}-\\x{318e}]+|[\\x{ff01}\\x{2026}\\x{201c}\\x{201d}\\x{2018}"     \
    "\\x{2019}\\x{2014}\\x{ff1a}\\x{ff1b}\\x{ff0c}\\x{3001}-\\x{303f}\\x{fe30}-\\x{fe4f}]+"        \
    "|[\\x{3105}-\\x{312f}]+|" WORDS_CJK

typedef struct words_cut {
    const char *name;      // the one that is written
    const char *aliases;   // with spaces between them, or NULL
    const char *splits[6]; // regular expressions, one after the other, each match a word
    bool digits;           // then every digit alone
    bool gpt2;             // then GPT-2's words
    bool whole_words;
    bool begins;
} words_cut;

static const words_cut words_cuts[] = {
    {.name = "default",
     .splits = {"[\\p{P}\\$\\+<=>\\^~\\|]+", WORDS_GPT2, "\\p{N}+", "[0-9][0-9][0-9]"}},
    {.name = "gpt-2",
     .aliases = "phi-2 jina-es jina-de jina-v2-es jina-v2-de gigachat a.x-4.0 mellum modern-bert "
                "exaone4 mpt olmo jais trillion granite-docling",
     .gpt2 = true},
    {.name = "smollm",
     .aliases = "starcoder refact command-r codeshell exaone minerva-7b mellum2",
     .digits = true,
     .gpt2 = true},
    {.name = "llama-bpe",
     .aliases = "llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano",
     .splits = {WORDS_ENDING "|" WORDS_LETTERS "|\\p{N}{1,3}" WORDS_REST},
     .whole_words = true,
     .begins = true},
    {.name = "dbrx",
     .aliases = "smaug-bpe glm4 chatglm-bpe",
     .splits = {WORDS_ENDING "|" WORDS_LETTERS "|\\p{N}{1,3}" WORDS_REST}},
    {.name = "qwen2",
     .aliases = "deepseek-r1-qwen kormo f2llmv2 megrez stablelm2 hunyuan solar-open grok-2",
     .splits = {WORDS_QWEN2}},
    {.name = "qwen35",
     .splits = {WORDS_ENDING "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}"
                             "| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*" WORDS_SPACES}},
    {.name = "ufakzeka", .splits = {WORDS_LETTERS "|\\p{N}" WORDS_REST}},
    {.name = "seed-coder",
     .splits = {WORDS_ENDING "|" WORDS_LETTERS
                             "|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\\r\\n]+" WORDS_SPACES}},
    {.name = "bailingmoe",
     .aliases = "bailingmoe2 llada-moe",
     .splits = {"'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}"
                "| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+"}},
    {.name = "deepseek-llm",
     .splits = {"[\\r\\n]", "\\s?[" WORDS_CASED "]+",
                "\\s?[!-/:-~\\x{ff01}-\\x{ff0f}\\x{ff1a}-\\x{ff5e}\\x{2018}-\\x{201f}"
                "\\x{3000}-\\x{3002}]+",
                "\\s+$", WORDS_CHINESE},
     .digits = true},
    {.name = "deepseek-coder",
     .splits = {"[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", WORDS_CHINESE},
     .digits = true},
    {.name = "deepseek-v3",
     .aliases = "hunyuan-dense joyai-llm hy_v4",
     .splits = {"\\p{N}{1,3}", WORDS_CJK, WORDS_SIGNS "[\\r\\n]*" WORDS_SPACES}},
    {.name = "spark2_5",
     .splits = {"\\p{N}{1,3}", WORDS_CJK, WORDS_SIGNS "|[\\r\\n]|\\s+(?!\\S)|\\s+", "\\p{N}"}},
    {.name = "gpt-4o",
     .aliases = "llama4 kanana2 talkie minimax-m2",
     .splits = {WORDS_O200K(WORDS_ENDING "?", "\\p{N}{1,3}")}},
    {.name = "tekken", .splits = {WORDS_O200K("", "\\p{N}")}, .whole_words = true, .begins = true},
    {.name = "tiny_aya",
     .aliases = "cohere2moe",
     .splits = {"\\d{1,3}(?=(?:\\d{3})*\\b)", WORDS_O200K(WORDS_ENDING "?", "\\p{N}{1,3}")}},
    {.name = "youtu",
     .splits = {WORDS_YOUTU, WORDS_O200K(WORDS_ENDING "?", "\\p{N}")},
     .whole_words = true},
    {.name = "kimi-k2", .splits = {WORDS_KIMI}},
    {.name = "falcon", .splits = {"[\\p{P}\\$\\+<=>\\^~\\|`]+", WORDS_GPT2, "[0-9][0-9][0-9]"}},
    {.name = "bloom", .aliases = "poro-chat gpt3-finnish", .splits = {WORDS_BLOOM}},
    {.name = "viking", .splits = {WORDS_BLOOM, "\\p{N}"}},
    {.name = "jais-2",
     .splits = {WORDS_ENDING "|" WORDS_LETTERS "|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
                             "|\\s*[\\r\\n]+|\\s{512}(?!\\S)|\\s{256}(?!\\S)|\\s{128}(?!\\S)"
                             "|\\s{64}(?!\\S)|\\s{32}(?!\\S)|\\s{16}(?!\\S)|\\s{8}(?!\\S)"
                             "|\\s{4}(?!\\S)|\\s{1,2}(?!\\S)|\\s{1}"}},
    {.name = "chameleon",
     .splits = {"<sentinel:[0-9]+>", "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z", "([\\t\\n]|    |  )",
                "\\p{N}", "[\\p{P}!-/:-@\\[-`{-~]", WORDS_GPT2},
     .begins = true},
    {.name = "superbpe", .splits = {"\\p{N}+", "(?=(\\d{3})+(?!\\d))"}},
    {.name = "minicpm5",
     .splits = {"\\p{N}{1,3}", WORDS_ENDING "|" WORDS_LETTERS "|\\p{N}+" WORDS_REST},
     .whole_words = true},
    {.name = "laguna", .splits = {"[^\\n]+|[\\n]+", WORDS_QWEN2}},
    {.name = "exaone-moe",
     .splits = {WORDS_ENDING "|[^\\r\\n\\p{L}\\p{N}]?(?:\\p{L}\\p{M}*(?: \\p{L}\\p{M}*)*)+|\\p{N}"
                             "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]?|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+"}},
};

enum { words_cut_count = sizeof words_cuts / sizeof *words_cuts };

static bool words_lists(const char *names, const char *name)
{
    const size_t bytes = strlen(name);
    for (const char *at = names; at != NULL && *at != '\0'; at += strspn(at, " ")) {
        const size_t length = strcspn(at, " ");
        if (length == bytes && memcmp(at, name, bytes) == 0) return true;
        at += length;
    }
    return false;
}

static const words_cut *words_find(const char *name)
{
    for (size_t i = 0; i < words_cut_count; i++)
        if (strcmp(words_cuts[i].name, name) == 0 || words_lists(words_cuts[i].aliases, name))
            return &words_cuts[i];
    return NULL;
}

static size_t words_steps(const words_cut *cut, sg_hf_pre pre[SG_WORDS_STEPS])
{
    size_t n = 0;
    for (int i = 0; i < 6 && cut->splits[i] != NULL; i++)
        pre[n++] = (sg_hf_pre){.kind = SG_HF_SPLIT,
                               .pattern = {cut->splits[i], strlen(cut->splits[i])},
                               .is_regex = true,
                               .behavior = SG_HF_ISOLATED};
    if (cut->digits) pre[n++] = (sg_hf_pre){.kind = SG_HF_DIGITS, .individual = true};
    pre[n++] = (sg_hf_pre){.kind = SG_HF_BYTE_LEVEL, .use_regex = cut->gpt2, .trim_offsets = true};
    return n;
}

size_t sg_words_steps(const char *name, sg_hf_pre pre[SG_WORDS_STEPS], bool *whole_words)
{
    const words_cut *cut = words_find(name);
    if (cut == NULL) return 0;
    *whole_words = cut->whole_words;
    return words_steps(cut, pre);
}

bool sg_words_begin(const char *name)
{
    const words_cut *cut = name == NULL ? NULL : words_find(name);
    return cut != NULL && cut->begins;
}

// Whether two expressions are the same, however their characters are escaped.
static bool words_same_pattern(sg_hf_string a, sg_hf_string b)
{
    sg_bytes one = {0}, other = {0};
    bool same = sg_pattern_translate(a.text, a.bytes, &one, NULL) == SG_OK &&
                sg_pattern_translate(b.text, b.bytes, &other, NULL) == SG_OK &&
                one.count == other.count && memcmp(one.data, other.data, one.count) == 0;
    sg_free(one.data);
    sg_free(other.data);
    return same;
}

static bool words_same_step(const sg_hf_pre *a, const sg_hf_pre *b)
{
    if (a->kind != b->kind) return false;
    if (a->kind == SG_HF_BYTE_LEVEL)
        return a->use_regex == b->use_regex && a->add_prefix_space == b->add_prefix_space;
    if (a->kind == SG_HF_DIGITS) return a->individual == b->individual;
    return a->kind == SG_HF_SPLIT && a->is_regex == b->is_regex && a->invert == b->invert &&
           a->behavior == b->behavior && words_same_pattern(a->pattern, b->pattern);
}

const char *sg_words_name(const sg_hf_tokenizer *hf)
{
    for (size_t k = 0; k < words_cut_count; k++) {
        sg_hf_pre steps[SG_WORDS_STEPS];
        const size_t n = words_steps(&words_cuts[k], steps);
        bool same = n == hf->pre_count && hf->ignore_merges == words_cuts[k].whole_words;
        for (size_t i = 0; i < n && same; i++)
            same = words_same_step(&steps[i], &hf->pre[i]);
        if (same) return words_cuts[k].name;
    }
    return NULL;
}

bool sg_words_names(sg_bytes *out)
{
    bool fine = true;
    for (size_t i = 0; i < words_cut_count && fine; i++) {
        const words_cut *cut = &words_cuts[i];
        const char *aliases = cut->aliases == NULL ? "" : cut->aliases;
        fine = (i == 0 || sg_bytes_add(out, ", ", 2)) &&
               sg_bytes_add(out, cut->name, strlen(cut->name)) &&
               (cut->aliases == NULL || sg_bytes_add(out, ", ", 2)) &&
               sg_bytes_add_replaced(out, aliases, strlen(aliases), " ", 1, ", ", 2);
    }
    return fine;
}
