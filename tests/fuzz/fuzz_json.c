// Any bytes as JSON: parse, read typed members, print, parse what was printed. What jansson's
// parser takes, ours takes with the same values; what ours takes beyond that are numbers that no
// type holds alone. The members that are not kept are checked as the others are.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/utf8.h"
#include "format/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool fine)
{
    if (!fine) abort();
}

static bool has_unheld(const json_t *value)
{
    const char *key;
    json_t *child;
    size_t i;
    if (json_object_getn(value, SG_JSON_UNHELD, sizeof SG_JSON_UNHELD - 1) != NULL) return true;
    json_object_foreach((json_t *)(uintptr_t)value, key, child) if (has_unheld(child)) return true;
    json_array_foreach(value, i, child) if (has_unheld(child)) return true;
    return false;
}

// jansson's own comparison does not find the key of an unheld number.
static bool same(const json_t *a, const json_t *b)
{
    char *first = NULL, *second = NULL;
    if (a == NULL || b == NULL) return a == b;
    bool equal = sg_json_text(a, false, &first, NULL) == SG_OK &&
                 sg_json_text(b, false, &second, NULL) == SG_OK && strcmp(first, second) == 0;
    sg_free(first);
    sg_free(second);
    return equal;
}

// The same text with one member kept, and with repairs.
static void parse_otherwise(const char *text, size_t size, const json_t *whole)
{
    int64_t repaired = 0;
    json_t *value;
    sg_error err = {0};
    sg_json_options o = sg_json_options_default();
    o.only = "a";
    sg_status status = sg_json_parse_as(text, size, "input", &o, &value, &err);
    must((status == SG_OK) == (whole != NULL));
    if (status == SG_OK && json_is_object(whole))
        must(same(json_object_get(whole, "a"), json_object_get(value, "a")));
    json_decref(value);
    o.repair = true;
    o.repaired = &repaired;
    if (sg_json_parse_as(text, size, "input", &o, &value, &err) == SG_OK) {
        const json_t *a = json_object_get(value, "a");
        if (json_is_string(a))
            must(sg_utf8_valid_prefix(json_string_value(a), json_string_length(a)) ==
                 json_string_length(a));
        json_decref(value);
    } else {
        must(whole == NULL);
    }
    must(whole == NULL || repaired == 0);
    o.budget = 1000;
    if (sg_json_parse_as(text, size, "input", &o, &value, &err) == SG_OK) json_decref(value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sg_error err = {0};
    json_t *value = NULL, *again = NULL;
    const char *input = (const char *)data;
    sg_status status = sg_json_parse(input, size, "input", &value, &err);
    json_t *theirs = json_loadb(
        input, size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_ANY, &(json_error_t){0});
    if (size > 0 && memchr(data, 0, size) != NULL)
        ; // it passes over NUL behind a number, which is no JSON
    else if (theirs != NULL)
        must(status == SG_OK && same(value, theirs));
    else
        must(status != SG_OK || has_unheld(value));
    json_decref(theirs);
    parse_otherwise(input, size, value);
    if (status != SG_OK) return 0;
    int64_t number = 0;
    double real = 0;
    const char *text = NULL;
    json_t *child = NULL;
    sg_json_get_int(value, "input", "a", true, -5, 5, &number, &err);
    sg_json_get_number(value, "input", "a", true, &real, &err);
    sg_json_get_string(value, "input", "b", true, &text, &err);
    sg_json_get_object(value, "input", "c", true, &child, &err);
    for (int pretty = 0; pretty < 2; pretty++) {
        char *printed = NULL;
        if (sg_json_text(value, pretty, &printed, &err) != SG_OK) continue;
        must(sg_json_parse(printed, strlen(printed), "printed", &again, &err) == SG_OK);
        must(same(value, again));
        json_decref(again);
        sg_free(printed);
    }
    json_decref(value);
    return 0;
}
