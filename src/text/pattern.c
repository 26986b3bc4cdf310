// Running patterns on PCRE2: compiled once, just-in-time where the build of PCRE2 can, with limits so
// that no pattern can take for ever. PCRE2 does not tell how much work a match was, so it is found out
// from both ends: a match may take few steps, and is tried again with more; and it is shown only the
// text near by (PCRE2_PARTIAL_HARD tells when it asks for what is behind that), and then more of it.
// Each time the surplus is taken off what the whole text may use.
#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/pattern.h"

#include <pcre2.h>

#include "base/alloc.h"

enum {
    pattern_first_steps = 1000, // of a match, not counted
    pattern_first_window = 512, // bytes of text, not counted
    pattern_heap_kib = 64 * 1024,
    pattern_jit_stack_min = 32 * 1024,
    pattern_jit_stack_max = 1024 * 1024
};

struct sg_pattern {
    bool starved;                  // an allocation failed while compiling
    pcre2_general_context *memory; // for compiling
    pcre2_general_context *shared; // for matchers, of any thread
    pcre2_code *code;
};

struct sg_matcher {
    const sg_pattern *pattern;
    pcre2_match_data *data;
    pcre2_match_context *context;
    pcre2_jit_stack *stack; // NULL without just-in-time compilation
    size_t window;
};

static void *pattern_malloc(PCRE2_SIZE bytes, void *starved)
{
    void *pointer = sg_alloc(bytes);
    if (pointer == NULL && starved != NULL) *(bool *)starved = true;
    return pointer;
}

static void pattern_mfree(void *pointer, void *unused)
{
    (void)unused;
    sg_free(pointer);
}

static sg_status pattern_compile(sg_pattern *pattern, const sg_bytes *text, sg_error *err)
{
    pcre2_compile_context *context = pcre2_compile_context_create(pattern->memory);
    if (context == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory");
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    int code;
    PCRE2_SIZE where;
    // MULTILINE is how Ruby reads ^ and $.
    uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NO_UTF_CHECK;
    pattern->code =
        pcre2_compile((PCRE2_SPTR)text->data, text->count, options, &code, &where, context);
    pcre2_compile_context_free(context);
    if (pattern->code != NULL) return SG_OK;
    if (code == 121) // "failed to allocate heap memory"
        return sg_fail(err, SG_ERR_MEMORY, "out of memory");
    PCRE2_UCHAR message[200] = "";
    pcre2_get_error_message(code, message, sizeof message);
    return sg_fail(err, SG_ERR_UNSUPPORTED, "regular expression: %s", (const char *)message);
}

sg_status sg_pattern_new(const char *text, size_t bytes, sg_pattern **made, sg_error *err)
{
    *made = NULL;
    sg_bytes translated = {0};
    sg_status status = sg_pattern_translate(text, bytes, &translated, err);
    sg_pattern *pattern = NULL;
    if (status == SG_OK) {
        pattern = sg_alloc_zero(1, sizeof *pattern);
        if (pattern != NULL) {
            pattern->memory =
                pcre2_general_context_create(pattern_malloc, pattern_mfree, &pattern->starved);
            pattern->shared = pcre2_general_context_create(pattern_malloc, pattern_mfree, NULL);
        }
        status = pattern == NULL || pattern->memory == NULL || pattern->shared == NULL
                     ? sg_fail(err, SG_ERR_MEMORY, "out of memory")
                     : pattern_compile(pattern, &translated, err);
    }
    sg_free(translated.data);
    // Without just-in-time compilation, which not every system allows, the interpreter gives the same
    // matches, only slower.
    if (status == SG_OK) {
        (void)pcre2_jit_compile(pattern->code, PCRE2_JIT_COMPLETE | PCRE2_JIT_PARTIAL_HARD);
        if (pattern->starved) status = sg_fail(err, SG_ERR_MEMORY, "out of memory");
    }
    if (status != SG_OK)
        sg_pattern_free(pattern);
    else
        *made = pattern;
    return status;
}

void sg_pattern_free(sg_pattern *pattern)
{
    if (pattern == NULL) return;
    pcre2_code_free(pattern->code);
    pcre2_general_context_free(pattern->memory);
    pcre2_general_context_free(pattern->shared);
    sg_free(pattern);
}

sg_matcher *sg_matcher_new(const sg_pattern *pattern)
{
    sg_matcher *matcher = sg_alloc_zero(1, sizeof *matcher);
    if (matcher == NULL) return NULL;
    matcher->pattern = pattern;
    matcher->data = pcre2_match_data_create(1, pattern->shared);
    matcher->context = pcre2_match_context_create(pattern->shared);
    PCRE2_SIZE jit = 0;
    bool has_jit = pcre2_pattern_info(pattern->code, PCRE2_INFO_JITSIZE, &jit) == 0 && jit > 0;
    if (has_jit)
        matcher->stack =
            pcre2_jit_stack_create(pattern_jit_stack_min, pattern_jit_stack_max, pattern->shared);
    if (matcher->data == NULL || matcher->context == NULL || (has_jit && matcher->stack == NULL)) {
        sg_matcher_free(matcher);
        return NULL;
    }
    matcher->window = pattern_first_window;
    pcre2_set_heap_limit(matcher->context, pattern_heap_kib);
    if (has_jit) pcre2_jit_stack_assign(matcher->context, NULL, matcher->stack);
    return matcher;
}

void sg_matcher_free(sg_matcher *matcher)
{
    if (matcher == NULL) return;
    pcre2_match_data_free(matcher->data);
    pcre2_match_context_free(matcher->context);
    pcre2_jit_stack_free(matcher->stack);
    sg_free(matcher);
}

void sg_matcher_set_window(sg_matcher *matcher, size_t window)
{
    matcher->window = window;
}

uint64_t sg_pattern_steps(size_t bytes)
{
    return 10 * 1000 * 1000 + 256 * (uint64_t)bytes;
}

static bool pattern_take(uint64_t *steps, uint64_t taken)
{
    bool enough = *steps >= taken;
    *steps = enough ? *steps - taken : 0;
    return enough;
}

// pcre2_match with as many steps as it wants, while there are any.
static int pattern_match(sg_matcher *m, const char *text, size_t bytes, size_t from,
                         uint32_t options, uint64_t *steps)
{
    for (uint32_t limit = pattern_first_steps;; limit *= 8) {
        pcre2_set_match_limit(m->context, limit);
        int result = pcre2_match(m->pattern->code, (PCRE2_SPTR)text, bytes, from,
                                 options | PCRE2_NO_UTF_CHECK, m->data, m->context);
        if (result != PCRE2_ERROR_MATCHLIMIT || limit > UINT32_MAX / 8) return result;
        if (!pattern_take(steps, limit)) return result;
    }
}

// Matches on windows of the text until one decides.
static int pattern_search(sg_matcher *m, const char *text, size_t bytes, size_t from,
                          uint64_t *steps)
{
    const PCRE2_SIZE *found = pcre2_get_ovector_pointer(m->data);
    size_t window = m->window;
    while (bytes - from > window) {
        size_t end = from + window;
        while (((unsigned char)text[end] & 0xC0) == 0x80)
            end++;
        int result = pattern_match(m, text, end, from, PCRE2_PARTIAL_HARD, steps);
        if (result == PCRE2_ERROR_PARTIAL) {
            if (!pattern_take(steps, end - from)) return PCRE2_ERROR_MATCHLIMIT;
            window = found[0] > from ? m->window : window * 4;
            from = found[0];
            continue;
        }
        // A match of nothing at the end of the window may be another one with what follows.
        bool none = result == PCRE2_ERROR_NOMATCH || (result >= 0 && found[0] == end);
        if (!none) return result;
        from = end;
        window = m->window;
    }
    return pattern_match(m, text, bytes, from, 0, steps);
}

sg_status sg_matcher_find(sg_matcher *matcher, const char *text, size_t bytes, size_t from,
                          uint64_t *steps, bool *found, size_t *begin, size_t *end, sg_error *err)
{
    int result = pattern_search(matcher, text, bytes, from, steps);
    *found = result >= 0;
    if (result == PCRE2_ERROR_NOMATCH) return SG_OK;
    if (result == PCRE2_ERROR_NOMEMORY) return sg_fail(err, SG_ERR_MEMORY, "out of memory");
    if (result == PCRE2_ERROR_MATCHLIMIT)
        return sg_fail(err, SG_ERR_UNSUPPORTED,
                       "regular expression: gave up on the text: more than 256 steps for a byte");
    if (result < 0) {
        PCRE2_UCHAR message[200] = "";
        pcre2_get_error_message(result, message, sizeof message);
        return sg_fail(err, SG_ERR_UNSUPPORTED, "regular expression: gave up on the text: %s",
                       (const char *)message);
    }
    const PCRE2_SIZE *at = pcre2_get_ovector_pointer(matcher->data);
    *begin = at[0];
    *end = at[1];
    return SG_OK;
}
