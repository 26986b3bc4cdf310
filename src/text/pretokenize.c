// The pre-tokenizers: ByteLevel, Split, Metaspace, and those that look at one character at a time.
// GPT-2's regular expression, which nearly every file uses, is a hand-written scanner; other
// patterns go to PCRE2.
#include "text/pretokenize.h"

#include <string.h>

#include "base/alloc.h"

// ---- GPT-2's words ----------------------------------------------------------------------------

static size_t cut_run(const char *text, size_t bytes, size_t at, int class)
{
    while (at < bytes) {
        uint32_t code;
        int length = sg_utf8_decode_valid(text + at, &code);
        if (sg_char_class(code) != class) break;
        at += (size_t)length;
    }
    return at;
}

// 's 't 're 've 'm 'll 'd at text[at] == '\'': length, or 0.
static size_t cut_contraction(const char *text, size_t bytes, size_t at)
{
    if (bytes - at < 2) return 0;
    char a = text[at + 1], b = bytes - at < 3 ? '\0' : text[at + 2];
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
    bool two = (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l');
    return two ? 3 : 0;
}

size_t sg_gpt2_word_end(const char *text, size_t bytes, size_t at)
{
    if (text[at] == '\'') {
        size_t length = cut_contraction(text, bytes, at);
        if (length > 0) return at + length;
    }
    uint32_t code;
    size_t begin = at;
    if (text[at] == ' ' && at + 1 < bytes) begin = at + 1;
    int length = sg_utf8_decode_valid(text + begin, &code);
    int class = sg_char_class(code);
    if (class != SG_CLASS_SPACE) return cut_run(text, bytes, begin + (size_t)length, class);

    // White space: all of it at the end of the text, else all but the last character, which may
    // begin the next word; a single one stands alone.
    size_t end = at, last = at;
    while (end < bytes) {
        length = sg_utf8_decode_valid(text + end, &code);
        if (sg_char_class(code) != SG_CLASS_SPACE) break;
        last = end;
        end += (size_t)length;
    }
    return end == bytes || last == at ? end : last;
}

// ---- the steps --------------------------------------------------------------------------------

static const char cut_gpt2_pattern[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

typedef struct cut_step {
    sg_hf_pre hf;
    sg_pattern *pattern; // NULL: a literal, or GPT-2's expression
    bool gpt2;
} cut_step;

struct sg_cutter {
    cut_step *steps;
    size_t count;
};

sg_status sg_cutter_new(const sg_hf_pre *steps, size_t count, const char *name, sg_cutter **cutter,
                        sg_error *err)
{
    *cutter = NULL;
    sg_cutter *made = sg_alloc_zero(1, sizeof *made);
    if (made != NULL) made->steps = sg_alloc_zero(count + 1, sizeof *made->steps);
    if (made == NULL || made->steps == NULL) {
        sg_free(made);
        return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory", name);
    }
    sg_status status = SG_OK;
    for (size_t i = 0; i < count && status == SG_OK; i++) {
        cut_step *step = &made->steps[made->count++];
        step->hf = steps[i];
        if (steps[i].kind != SG_HF_SPLIT || !steps[i].is_regex) continue;
        step->gpt2 = steps[i].pattern.bytes == sizeof cut_gpt2_pattern - 1 &&
                     memcmp(steps[i].pattern.text, cut_gpt2_pattern, steps[i].pattern.bytes) == 0;
        if (step->gpt2) continue;
        status = sg_pattern_new(steps[i].pattern.text, steps[i].pattern.bytes, &step->pattern, err);
        if (status != SG_OK)
            sg_fail_context(err, status, "%s: \"pre_tokenizer\": \"pattern.Regex\"", name);
    }
    if (status != SG_OK)
        sg_cutter_free(made);
    else
        *cutter = made;
    return status;
}

void sg_cutter_free(sg_cutter *cutter)
{
    if (cutter == NULL) return;
    for (size_t i = 0; i < cutter->count; i++)
        sg_pattern_free(cutter->steps[i].pattern);
    sg_free(cutter->steps);
    sg_free(cutter);
}

sg_status sg_cutting_open(const sg_cutter *cutter, sg_cutting *cutting, sg_error *err)
{
    memset(cutting, 0, sizeof *cutting);
    cutting->matchers = sg_alloc_zero(cutter->count + 1, sizeof *cutting->matchers);
    if (cutting->matchers == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory");
    cutting->matcher_count = cutter->count;
    for (size_t i = 0; i < cutter->count; i++) {
        if (cutter->steps[i].pattern == NULL) continue;
        cutting->matchers[i] = sg_matcher_new(cutter->steps[i].pattern);
        if (cutting->matchers[i] == NULL) {
            sg_cutting_close(cutting);
            return sg_fail(err, SG_ERR_MEMORY, "out of memory");
        }
    }
    return SG_OK;
}

void sg_cutting_close(sg_cutting *cutting)
{
    for (size_t i = 0; i < cutting->matcher_count; i++)
        sg_matcher_free(cutting->matchers[i]);
    sg_free(cutting->matchers);
    sg_free(cutting->words);
    sg_free(cutting->other);
    sg_free(cutting->matches);
    sg_free(cutting->is_match);
    sg_free(cutting->rewritten.data);
    memset(cutting, 0, sizeof *cutting);
}

static sg_status cut_no_memory(sg_error *err)
{
    return sg_fail(err, SG_ERR_MEMORY, "out of memory");
}

// Empty words are dropped, as the library does between steps.
static bool cut_add_word(sg_cutting *c, size_t begin, size_t end)
{
    if (begin == end) return true;
    if (!sg_grow((void **)&c->words, &c->capacity, c->count + 1, sizeof *c->words)) return false;
    c->words[c->count++] = (sg_span){begin, end};
    return true;
}

static bool cut_add_match(sg_cutting *c, size_t begin, size_t end, bool is_match)
{
    size_t need = c->match_count + 1;
    if (!sg_grow((void **)&c->matches, &c->match_capacity, need, sizeof *c->matches) ||
        !sg_grow((void **)&c->is_match, &c->flag_capacity, need, sizeof *c->is_match))
        return false;
    c->matches[c->match_count] = (sg_span){begin, end};
    c->is_match[c->match_count++] = is_match;
    return true;
}

// ---- finding matches: they and what is between them cover the span
// --------------------------------

static sg_status cut_find_regex(sg_cutting *c, sg_matcher *matcher, sg_span span, sg_error *err)
{
    const char *text = c->text + span.begin;
    size_t bytes = span.end - span.begin, from = 0, covered = 0, last_end = SIZE_MAX;
    while (from <= bytes) {
        bool found;
        size_t begin = 0, end = 0;
        SG_TRY(sg_matcher_find(matcher, text, bytes, from, &c->budget, &found, &begin, &end, err));
        if (!found) break;
        if (begin == end && end == last_end) {
            // An empty match right behind a match does not count: go on one character further.
            uint32_t code;
            from = end < bytes ? end + (size_t)sg_utf8_decode_valid(text + end, &code) : bytes + 1;
            continue;
        }
        if (covered < begin && !cut_add_match(c, span.begin + covered, span.begin + begin, false))
            return cut_no_memory(err);
        if (!cut_add_match(c, span.begin + begin, span.begin + end, true))
            return cut_no_memory(err);
        covered = from = last_end = end;
    }
    if (covered < bytes && !cut_add_match(c, span.begin + covered, span.end, false))
        return cut_no_memory(err);
    return SG_OK;
}

static sg_status cut_find_gpt2(sg_cutting *c, sg_span span, sg_error *err)
{
    for (size_t at = span.begin; at < span.end;) {
        size_t end = sg_gpt2_word_end(c->text, span.end, at);
        if (!cut_add_match(c, at, end, true)) return cut_no_memory(err);
        at = end;
    }
    return SG_OK;
}

static sg_status cut_find_literal(sg_cutting *c, sg_hf_string pattern, sg_span span, sg_error *err)
{
    size_t covered = span.begin;
    while (covered < span.end) {
        const char *hit =
            memmem(c->text + covered, span.end - covered, pattern.text, pattern.bytes);
        if (hit == NULL) break;
        size_t at = (size_t)(hit - c->text);
        if ((covered < at && !cut_add_match(c, covered, at, false)) ||
            !cut_add_match(c, at, at + pattern.bytes, true))
            return cut_no_memory(err);
        covered = at + pattern.bytes;
    }
    if (covered < span.end && !cut_add_match(c, covered, span.end, false))
        return cut_no_memory(err);
    return SG_OK;
}

// Every character of a class is a match of its own.
static sg_status cut_find_class(sg_cutting *c, bool (*is_in)(uint32_t), sg_span span, sg_error *err)
{
    size_t covered = span.begin;
    for (size_t at = span.begin; at < span.end;) {
        uint32_t code;
        size_t next = at + (size_t)sg_utf8_decode_valid(c->text + at, &code);
        if (is_in(code)) {
            if ((covered < at && !cut_add_match(c, covered, at, false)) ||
                !cut_add_match(c, at, next, true))
                return cut_no_memory(err);
            covered = next;
        }
        at = next;
    }
    if (covered < span.end && !cut_add_match(c, covered, span.end, false))
        return cut_no_memory(err);
    return SG_OK;
}

// Runs of word characters and of other signs are kept; the white space is what matches.
static sg_status cut_find_white(sg_cutting *c, sg_span span, sg_error *err)
{
    size_t begin = span.begin;
    int open = -1;
    for (size_t at = span.begin; at < span.end;) {
        uint32_t code;
        int length = sg_utf8_decode_valid(c->text + at, &code);
        int kind = sg_char_is_space(code) ? 0 : sg_char_is_word(code) ? 1 : 2;
        if (kind != open && at > begin && !cut_add_match(c, begin, at, open == 0))
            return cut_no_memory(err);
        if (kind != open) begin = at;
        open = kind;
        at += (size_t)length;
    }
    return cut_add_match(c, begin, span.end, open == 0) ? SG_OK : cut_no_memory(err);
}

static sg_status cut_find_pieces(sg_cutting *c, int64_t length, sg_span span, sg_error *err)
{
    for (size_t at = span.begin; at < span.end;) {
        size_t end = at;
        for (int64_t i = 0; i < length && end < span.end; i++) {
            uint32_t code;
            end += (size_t)sg_utf8_decode_valid(c->text + end, &code);
        }
        if (!cut_add_match(c, at, end, false)) return cut_no_memory(err);
        at = end;
    }
    return SG_OK;
}

// ---- what becomes of the matches
// ------------------------------------------------------------------

// Joins a match to the piece before it (`forward`) unless that is a match too; backward the same
// from the other end.
static bool cut_apply_merged(sg_cutting *c, bool forward)
{
    size_t n = c->match_count, first_word = c->count;
    bool previous = false, have = false;
    sg_span open = {0, 0};
    for (size_t k = 0; k < n; k++) {
        size_t i = forward ? k : n - 1 - k;
        if (c->is_match[i] && !previous && have) {
            if (forward)
                open.end = c->matches[i].end;
            else
                open.begin = c->matches[i].begin;
        } else {
            if (have && !cut_add_word(c, open.begin, open.end)) return false;
            open = c->matches[i];
            have = true;
        }
        previous = c->is_match[i];
    }
    if (have && !cut_add_word(c, open.begin, open.end)) return false;
    if (forward || c->count == 0) return true;
    for (size_t low = first_word, high = c->count; low + 1 < high; low++) {
        sg_span swap = c->words[low];
        c->words[low] = c->words[--high];
        c->words[high] = swap;
    }
    return true;
}

static bool cut_apply_contiguous(sg_cutting *c)
{
    bool previous = false, have = false;
    sg_span open = {0, 0};
    for (size_t i = 0; i < c->match_count; i++) {
        if (have && c->is_match[i] == previous) {
            open.end = c->matches[i].end;
        } else {
            if (have && !cut_add_word(c, open.begin, open.end)) return false;
            open = c->matches[i];
            have = true;
        }
        previous = c->is_match[i];
    }
    return !have || cut_add_word(c, open.begin, open.end);
}

static bool cut_apply(sg_cutting *c, sg_hf_behavior behavior)
{
    switch (behavior) {
    case SG_HF_MERGED_WITH_PREVIOUS:
        return cut_apply_merged(c, true);
    case SG_HF_MERGED_WITH_NEXT:
        return cut_apply_merged(c, false);
    case SG_HF_CONTIGUOUS:
        return cut_apply_contiguous(c);
    case SG_HF_REMOVED:
    case SG_HF_ISOLATED:
        break;
    }
    for (size_t i = 0; i < c->match_count; i++) {
        if (behavior == SG_HF_REMOVED && c->is_match[i]) {
            c->removed += c->matches[i].end - c->matches[i].begin;
            continue;
        }
        if (!cut_add_word(c, c->matches[i].begin, c->matches[i].end)) return false;
    }
    return true;
}

static sg_status cut_split(const cut_step *step, sg_matcher *matcher, sg_cutting *c, sg_span span,
                           sg_error *err)
{
    c->match_count = 0;
    sg_hf_behavior behavior = step->hf.behavior;
    sg_status status = SG_OK;
    switch (step->hf.kind) {
    case SG_HF_DIGITS:
        behavior = step->hf.individual ? SG_HF_ISOLATED : SG_HF_CONTIGUOUS;
        status = cut_find_class(c, sg_char_is_numeric, span, err);
        break;
    case SG_HF_PUNCTUATION:
        status = cut_find_class(c, sg_char_is_punctuation, span, err);
        break;
    case SG_HF_METASPACE:
        behavior = SG_HF_MERGED_WITH_NEXT;
        status = cut_find_literal(c, step->hf.pattern, span, err);
        break;
    case SG_HF_WHITESPACE:
        behavior = SG_HF_REMOVED;
        status = cut_find_white(c, span, err);
        break;
    case SG_HF_WHITESPACE_SPLIT:
        behavior = SG_HF_REMOVED;
        status = cut_find_class(c, sg_char_is_space, span, err);
        break;
    case SG_HF_FIXED_LENGTH:
        behavior = SG_HF_ISOLATED;
        status = cut_find_pieces(c, step->hf.length, span, err);
        break;
    case SG_HF_SPLIT:
    case SG_HF_BYTE_LEVEL: // which has a way of its own
        status = step->gpt2        ? cut_find_gpt2(c, span, err)
                 : matcher != NULL ? cut_find_regex(c, matcher, span, err)
                                   : cut_find_literal(c, step->hf.pattern, span, err);
        break;
    }
    SG_TRY(status);
    if (step->hf.invert)
        for (size_t i = 0; i < c->match_count; i++)
            c->is_match[i] = !c->is_match[i];
    return cut_apply(c, behavior) ? SG_OK : cut_no_memory(err);
}

typedef enum cut_rewriting { CUT_ADD_SPACE, CUT_SPELL, CUT_UNSPELL, CUT_METASPACE } cut_rewriting;

static bool cut_put_metaspace(const cut_step *step, const char *text, size_t bytes, bool leads,
                              sg_bytes *out)
{
    sg_hf_string mark = step->hf.pattern;
    bool marked =
        text[0] == ' ' || (bytes >= mark.bytes && memcmp(text, mark.text, mark.bytes) == 0);
    bool prepend = step->hf.prepend == SG_HF_ALWAYS || (step->hf.prepend == SG_HF_FIRST && leads);
    if (prepend && !marked && !sg_bytes_add(out, mark.text, mark.bytes)) return false;
    return sg_bytes_add_replaced(out, text, bytes, " ", 1, mark.text, mark.bytes);
}

// Rebuilds the text word by word: with a space in front of every one that has none, or with bytes
// spelled in the byte alphabet, or back, or with marks for spaces.
static sg_status cut_rewrite(sg_cutting *c, const cut_step *step, cut_rewriting how, sg_error *err)
{
    sg_bytes made = {.most = sg_bytes_limit(c->given)};
    bool fine = true, whole;
    c->leads = c->leads && c->count > 0 && c->words[0].begin == 0;
    for (size_t i = 0; i < c->count && fine; i++) {
        sg_span *word = &c->words[i];
        const char *text = c->text + word->begin;
        size_t bytes = word->end - word->begin, begin = made.count;
        if (how == CUT_SPELL)
            fine = sg_bytes_spell(text, bytes, &made);
        else if (how == CUT_UNSPELL)
            fine = sg_bytes_unspell(text, bytes, &made, &whole);
        else if (how == CUT_METASPACE)
            fine = cut_put_metaspace(step, text, bytes, c->leads && i == 0, &made);
        else
            fine =
                (text[0] == ' ' || sg_bytes_add(&made, " ", 1)) && sg_bytes_add(&made, text, bytes);
        *word = (sg_span){begin, made.count};
    }
    if (!fine) {
        sg_free(made.data);
        return made.full ? sg_fail(err, SG_ERR_UNSUPPORTED,
                                   "pre_tokenizer: found steps that make more than %zu bytes of a "
                                   "text of %zu, which is not supported",
                                   made.most, c->given)
                         : cut_no_memory(err);
    }
    sg_free(c->rewritten.data);
    c->rewritten = made;
    c->text = made.data;
    return SG_OK;
}

// Makes the words the pieces of the next step, in c->other; returns their number.
static size_t cut_next(sg_cutting *c)
{
    sg_span *pieces = c->words;
    size_t count = c->count, capacity = c->capacity;
    c->words = c->other;
    c->capacity = c->other_capacity;
    c->count = 0;
    c->other = pieces;
    c->other_capacity = capacity;
    return count;
}

static sg_status cut_byte_level(const cut_step *step, sg_cutting *c, sg_error *err)
{
    if (step->hf.add_prefix_space) SG_TRY(cut_rewrite(c, step, CUT_ADD_SPACE, err));
    if (!step->hf.use_regex) return SG_OK;
    size_t count = cut_next(c);
    for (size_t i = 0; i < count; i++) {
        for (size_t at = c->other[i].begin; at < c->other[i].end;) {
            size_t end = sg_gpt2_word_end(c->text, c->other[i].end, at);
            if (!cut_add_word(c, at, end)) return cut_no_memory(err);
            at = end;
        }
    }
    return SG_OK;
}

sg_status sg_cutter_run(const sg_cutter *cutter, sg_cutting *c, const char *text, size_t bytes,
                        bool leads, sg_error *err)
{
    c->text = text;
    c->count = c->removed = 0;
    c->leads = leads;
    c->given = bytes;
    c->budget = (sg_match_budget){.bytes = bytes};
    bool spelled = false;
    if (!cut_add_word(c, 0, bytes)) return cut_no_memory(err);
    for (size_t s = 0; s < cutter->count; s++) {
        const cut_step *step = &cutter->steps[s];
        if (step->hf.kind == SG_HF_BYTE_LEVEL) {
            SG_TRY(cut_byte_level(step, c, err));
            // What comes behind sees the spelling of the bytes.
            spelled = s + 1 < cutter->count;
            if (spelled) SG_TRY(cut_rewrite(c, step, CUT_SPELL, err));
            continue;
        }
        if (step->hf.kind == SG_HF_METASPACE) {
            SG_TRY(cut_rewrite(c, step, CUT_METASPACE, err));
            if (!step->hf.split) continue;
        }
        size_t count = cut_next(c);
        for (size_t i = 0; i < count; i++)
            SG_TRY(cut_split(step, c->matchers[s], c, c->other[i], err));
    }
    return spelled ? cut_rewrite(c, NULL, CUT_UNSPELL, err) : SG_OK;
}
