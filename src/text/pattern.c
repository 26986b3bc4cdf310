// Running patterns on PCRE2: compiled once, just-in-time where the build of PCRE2 can, with limits
// so that no pattern can run forever. PCRE2 counts where a match turns back, not what it reads,
// so that a pattern may read to the end of a text from each of its letters: the time of a text is
// limited too.
#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/pattern.h"

#include <pcre2.h>

#include "base/alloc.h"
#include "base/clock.h"

enum {
    pattern_match_limit = 10 * 1000 * 1000, // as Oniguruma's
    pattern_call_reads =
        1 << 26, // bytes that one call may read, if it reads to the end from each letter
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
    uint32_t options =
        PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NO_UTF_CHECK | PCRE2_USE_OFFSET_LIMIT;
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
    // Without just-in-time compilation, which not every system allows, the interpreter gives the
    // same matches, only slower.
    if (status == SG_OK) {
        (void)pcre2_jit_compile(pattern->code, PCRE2_JIT_COMPLETE);
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
    pcre2_set_match_limit(matcher->context, pattern_match_limit);
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

// A second of the processor, and one for each million bytes: some twenty times what honest patterns
// want. Looked at now and then only.
static bool pattern_in_time(const sg_matcher *m, sg_match_budget *budget, size_t reads)
{
    const double interpreted = m->stack == NULL ? 10 : 1;
    budget->reads += reads;
    if (budget->reads < pattern_call_reads) return true;
    budget->reads = 0;
    const double now = sg_clock_thread_seconds();
    if (budget->until == 0) budget->until = now + interpreted * (1 + 1e-6 * (double)budget->bytes);
    return now <= budget->until;
}

// Only so many matches may begin in one call that it does not last.
static int pattern_search(sg_matcher *m, const char *text, size_t bytes, size_t from,
                          sg_match_budget *budget)
{
    for (;;) {
        const size_t rest = bytes - from, starts = pattern_call_reads / (rest + 1) + 1;
        const bool all = starts > rest;
        pcre2_set_offset_limit(m->context, all ? PCRE2_UNSET : from + starts - 1);
        int result = pcre2_match(m->pattern->code, (PCRE2_SPTR)text, bytes, from,
                                 PCRE2_NO_UTF_CHECK, m->data, m->context);
        if (!pattern_in_time(m, budget, rest)) return PCRE2_ERROR_MATCHLIMIT;
        if (result != PCRE2_ERROR_NOMATCH || all) return result;
        for (from += starts; from < bytes && ((unsigned char)text[from] & 0xC0) == 0x80;)
            from++;
        if (!pattern_in_time(m, budget, pattern_call_reads)) return PCRE2_ERROR_MATCHLIMIT;
    }
}

sg_status sg_matcher_find(sg_matcher *matcher, const char *text, size_t bytes, size_t from,
                          sg_match_budget *budget, bool *found, size_t *begin, size_t *end,
                          sg_error *err)
{
    int result = pattern_search(matcher, text, bytes, from, budget);
    *found = result >= 0;
    if (result == PCRE2_ERROR_NOMATCH) return SG_OK;
    if (result == PCRE2_ERROR_NOMEMORY) return sg_fail(err, SG_ERR_MEMORY, "out of memory");
    if (result == PCRE2_ERROR_MATCHLIMIT)
        return sg_fail(err, SG_ERR_UNSUPPORTED,
                       "regular expression: gave up on the text: it needs too many steps for its "
                       "%zu bytes",
                       budget->bytes);
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
