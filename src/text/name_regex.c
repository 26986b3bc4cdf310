#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/name_regex.h"

#include <pcre2.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

enum { regex_match_limit = 1000 * 1000, regex_heap_kib = 1024, regex_no_memory = 121 };

struct sg_name_regex {
    pcre2_general_context *memory;
    pcre2_code *code;
    pcre2_match_data *data;
    pcre2_match_context *context;
};

static void *regex_malloc(PCRE2_SIZE bytes, void *unused)
{
    (void)unused;
    return sg_alloc(bytes);
}

static void regex_mfree(void *pointer, void *unused)
{
    (void)unused;
    sg_free(pointer);
}

static sg_status regex_memory(sg_error *err)
{
    return sg_fail(err, SG_ERR_MEMORY, "out of memory for a regular expression");
}

static sg_status regex_compile(sg_name_regex *regex, const char *pattern, sg_error *err)
{
    int code;
    PCRE2_SIZE where;
    pcre2_compile_context *context = pcre2_compile_context_create(regex->memory);
    if (context == NULL) return regex_memory(err);
    regex->code =
        pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
                      PCRE2_UTF | PCRE2_ANCHORED | PCRE2_ENDANCHORED, &code, &where, context);
    pcre2_compile_context_free(context);
    if (regex->code == NULL && code == regex_no_memory) return regex_memory(err);
    if (regex->code == NULL) {
        PCRE2_UCHAR message[200] = "";
        pcre2_get_error_message(code, message, sizeof message);
        return sg_fail(err, SG_ERR_UNSUPPORTED, "regular expression \"%.100s\": %s", pattern,
                       (const char *)message);
    }
    regex->data = pcre2_match_data_create(1, regex->memory);
    regex->context = pcre2_match_context_create(regex->memory);
    if (regex->data == NULL || regex->context == NULL) return regex_memory(err);
    pcre2_set_match_limit(regex->context, regex_match_limit);
    pcre2_set_heap_limit(regex->context, regex_heap_kib);
    return SG_OK;
}

sg_status sg_name_regex_new(const char *pattern, bool tail, sg_name_regex **out, sg_error *err)
{
    static const char before[] = "(?:.*\\.)?(?:", behind[] = ")";
    *out = NULL;
    const size_t bytes = strlen(pattern) + sizeof before + sizeof behind;
    sg_name_regex *regex = sg_alloc_zero(1, sizeof *regex);
    char *text = sg_alloc(bytes);
    sg_status status = regex_memory(err);
    if (regex != NULL && text != NULL) {
        snprintf(text, bytes, "%s%s%s", tail ? before : "", pattern, tail ? behind : "");
        regex->memory = pcre2_general_context_create(regex_malloc, regex_mfree, NULL);
        if (regex->memory != NULL) status = regex_compile(regex, text, err);
    }
    sg_free(text);
    if (status != SG_OK)
        sg_name_regex_free(regex);
    else
        *out = regex;
    return status;
}

void sg_name_regex_free(sg_name_regex *regex)
{
    if (regex == NULL) return;
    pcre2_match_data_free(regex->data);
    pcre2_match_context_free(regex->context);
    pcre2_code_free(regex->code);
    pcre2_general_context_free(regex->memory);
    sg_free(regex);
}

sg_status sg_name_regex_fits(const sg_name_regex *regex, const char *name, bool *fits,
                             sg_error *err)
{
    const int result =
        pcre2_match(regex->code, (PCRE2_SPTR)name, strlen(name), 0, 0, regex->data, regex->context);
    *fits = result >= 0;
    if (result >= 0 || result == PCRE2_ERROR_NOMATCH) return SG_OK;
    if (result == PCRE2_ERROR_NOMEMORY) return regex_memory(err);
    return sg_fail(err, SG_ERR_UNSUPPORTED, "regular expression: takes too many steps for a name");
}
