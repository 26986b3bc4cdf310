// Calling what stands in the tables, and the table of global functions: range, dict, namespace and
// the like, and those that Hugging Face adds.
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "text/chat.h"
#include "text/chat_date.h"
#include "text/chat_value.h"

// ---- arguments --------------------------------------------------------------------------------

// The length of the parameter that begins at `at`; at stands behind it and its space then.
static size_t call_parameter(const char **at)
{
    size_t length = strcspn(*at, " ");
    *at += length + ((*at)[length] == ' ');
    return length;
}

static sg_status call_names(sg_chat_run *r, const char *kind, const sg_chat_row *row,
                            const sg_chat_args *args, sg_chat_value *v)
{
    sg_chat_value rest = {0};
    const char *at = row->params;
    size_t index = 1;
    bool takes_rest = strstr(row->params, "**") != NULL,
         by_place = strchr(row->params, '/') != NULL;
    if (takes_rest) SG_TRY(sg_chat_new_map(r, 0, &rest));
    for (size_t i = 0; args->names != NULL && i < args->names->count; i++) {
        const sg_chat_pair *pair = &args->names->pairs[i];
        bool found = false;
        for (at = row->params, index = 1; *at != '\0' && !found; index++) {
            const char *begin = at;
            size_t length = call_parameter(&at);
            found = *begin != '*' && !by_place && length == pair->key.count &&
                    memcmp(begin, pair->key.text, length) == 0;
            if (found && v[index].type == SG_CHAT_IS_ABSENT)
                v[index] = pair->value;
            else if (found)
                return sg_chat_refuse(r, SG_ERR_ARGUMENT, "the %s %s was given \"%.*s\" twice",
                                      kind, row->name, (int)length, begin);
        }
        if (!found && takes_rest)
            SG_TRY(sg_chat_put(r, rest.map, &pair->key, &pair->value));
        else if (!found)
            return sg_chat_refuse(r, SG_ERR_ARGUMENT, "the %s %s takes no \"%.*s\"", kind,
                                  row->name, pair->key.count > 40 ? 40 : (int)pair->key.count,
                                  pair->key.text);
    }
    for (at = row->params, index = 1; *at != '\0' && takes_rest; index++) {
        const char *begin = at;
        if (call_parameter(&at) == 2 && begin[0] == '*' && begin[1] == '*') v[index] = rest;
    }
    return SG_OK;
}

sg_status sg_chat_apply(sg_chat_run *r, const char *kind, const sg_chat_row *row,
                        const sg_chat_value *self, const sg_chat_args *args, sg_chat_value *out)
{
    sg_chat_value v[SG_CHAT_ARGUMENTS] = {0};
    if (row->run == NULL)
        return sg_chat_refuse(r, SG_ERR_UNSUPPORTED, "the %s %s", kind, row->name);
    if (self != NULL) v[0] = *self;
    size_t given = 0, index = 1;
    for (const char *at = row->params; *at != '\0'; index++) {
        const char *begin = at;
        size_t length = call_parameter(&at);
        if (*begin == '/') break;
        if (*begin == '*' && length == 1) {
            size_t rest = args->count - given;
            v[index] = sg_chat_list(SG_CHAT_IS_TUPLE, rest > 0 ? &args->items[given] : NULL, rest);
            given = args->count;
        } else if (*begin != '*' && given < args->count) {
            v[index] = args->items[given++];
        }
    }
    if (given < args->count)
        return sg_chat_refuse(r, SG_ERR_ARGUMENT, "the %s %s was given %zu arguments", kind,
                              row->name, args->count);
    SG_TRY(call_names(r, kind, row, args, v));
    for (int i = 1; i <= row->required; i++)
        if (v[i].type == SG_CHAT_IS_ABSENT)
            return sg_chat_refuse(r, SG_ERR_ARGUMENT, "the %s %s misses an argument", kind,
                                  row->name);
    SG_TRY(sg_chat_enter(r));
    SG_TRY(row->run(r, v, out));
    r->nesting--;
    return SG_OK;
}

static sg_status call_unknown(sg_chat_run *r, const char *kind, const char *name, size_t bytes)
{
    return sg_chat_refuse(r, SG_ERR_ARGUMENT, "there is no %s \"%.*s\"", kind,
                          bytes > 60 ? 60 : (int)bytes, name);
}

sg_status sg_chat_apply_filter(sg_chat_run *r, const char *name, size_t bytes,
                               const sg_chat_value *self, const sg_chat_args *args,
                               sg_chat_value *out)
{
    const sg_chat_row *row = sg_chat_filter_row(name, bytes);
    return row == NULL ? call_unknown(r, "filter", name, bytes)
                       : sg_chat_apply(r, "filter", row, self, args, out);
}

sg_status sg_chat_apply_test(sg_chat_run *r, const char *name, size_t bytes,
                             const sg_chat_value *self, const sg_chat_args *args,
                             sg_chat_value *out)
{
    const sg_chat_row *row = sg_chat_test_row(name, bytes);
    return row == NULL ? call_unknown(r, "test", name, bytes)
                       : sg_chat_apply(r, "test", row, self, args, out);
}

// ---- the functions ----------------------------------------------------------------------------

static sg_status global_range(sg_chat_run *r, const sg_chat_value *v, sg_chat_value *out)
{
    int64_t begin = 0, end = v[1].integer, step = 1, most = 100000; // Jinja's MAX_RANGE
    for (int i = 1; i <= 3; i++)
        if (v[i].type != SG_CHAT_IS_ABSENT && !sg_chat_is_whole(&v[i]))
            return sg_chat_refuse(r, SG_ERR_ARGUMENT, "range of %s", sg_chat_type_name(&v[i]));
    if (v[2].type != SG_CHAT_IS_ABSENT) {
        begin = v[1].integer;
        end = v[2].integer;
    }
    if (v[3].type != SG_CHAT_IS_ABSENT) step = v[3].integer;
    if (step == 0) return sg_chat_refuse(r, SG_ERR_ARGUMENT, "range in steps of 0");
    // In double: a count near the limit is exact, and nothing overflows.
    double length =
        ((double)end - (double)begin + (double)step - (step > 0 ? 1 : -1)) / (double)step;
    if (length >= (double)most + 1)
        return sg_chat_refuse(r, SG_ERR_ARGUMENT, "a range of more than 100000");
    sg_chat_value *items;
    size_t count = length < 1 ? 0 : (size_t)length;
    SG_TRY(sg_chat_new_items(r, count, &items));
    for (size_t i = 0; i < count; i++)
        items[i] = sg_chat_integer(begin + (int64_t)i * step);
    *out = sg_chat_list(SG_CHAT_IS_RANGE, items, count);
    return SG_OK;
}

// Adds what dict() and namespace() are made from: a map, or a list of pairs, then names.
static sg_status global_fill(sg_chat_run *r, const sg_chat_value *v, sg_chat_value *out)
{
    const sg_chat_value *items, *pair;
    size_t count, two;
    SG_TRY(sg_chat_new_map(r, 2, out));
    bool map = v[1].type == SG_CHAT_IS_MAP;
    for (size_t i = 0; map && i < v[1].map->count; i++)
        SG_TRY(sg_chat_put(r, out->map, &v[1].map->pairs[i].key, &v[1].map->pairs[i].value));
    if (!map && v[1].type != SG_CHAT_IS_ABSENT) {
        SG_TRY(sg_chat_each(r, &v[1], &items, &count));
        for (size_t i = 0; i < count; i++) {
            SG_TRY(sg_chat_each(r, &items[i], &pair, &two));
            if (two != 2) return sg_chat_refuse(r, SG_ERR_ARGUMENT, "a map of other than pairs");
            SG_TRY(sg_chat_put(r, out->map, &pair[0], &pair[1]));
        }
    }
    for (size_t i = 0; i < v[2].map->count; i++)
        SG_TRY(sg_chat_put(r, out->map, &v[2].map->pairs[i].key, &v[2].map->pairs[i].value));
    return SG_OK;
}

static sg_status global_namespace(sg_chat_run *r, const sg_chat_value *v, sg_chat_value *out)
{
    SG_TRY(global_fill(r, v, out));
    out->type = SG_CHAT_IS_NAMESPACE;
    return SG_OK;
}

static sg_status global_new_cycler(sg_chat_run *r, const sg_chat_value *items, size_t count,
                                   sg_chat_type type, sg_chat_value *out)
{
    void *made;
    sg_chat_value *kept;
    SG_TRY(sg_chat_memory(r, sizeof(sg_chat_cycler), &made));
    SG_TRY(sg_chat_new_items(r, count, &kept));
    if (count > 0) memcpy(kept, items, count * sizeof *kept);
    *out = (sg_chat_value){.type = type, .cycler = made};
    *out->cycler = (sg_chat_cycler){.items = kept, .count = count};
    return SG_OK;
}

static sg_status global_cycler(sg_chat_run *r, const sg_chat_value *v, sg_chat_value *out)
{
    if (v[1].count == 0) return sg_chat_refuse(r, SG_ERR_ARGUMENT, "a cycler of nothing");
    return global_new_cycler(r, v[1].items, v[1].count, SG_CHAT_IS_CYCLER, out);
}

static sg_status global_joiner(sg_chat_run *r, const sg_chat_value *v, sg_chat_value *out)
{
    sg_chat_value between = v[1].type == SG_CHAT_IS_ABSENT ? sg_chat_word(", ") : v[1];
    return global_new_cycler(r, &between, 1, SG_CHAT_IS_JOINER, out);
}

static sg_status global_raise(sg_chat_run *r, const sg_chat_value *v, sg_chat_value *out)
{
    sg_chat_value words;
    *out = sg_chat_none();
    SG_TRY(sg_chat_str(r, &v[1], &words));
    return sg_fail(r->err, SG_ERR_ARGUMENT, "%s: %.*s", r->chat->name,
                   words.count > 300 ? 300 : (int)words.count, words.text);
}

static sg_status global_strftime(sg_chat_run *r, const sg_chat_value *v, sg_chat_value *out)
{
    if (v[1].type != SG_CHAT_IS_STRING)
        return sg_chat_refuse(r, SG_ERR_ARGUMENT, "strftime_now of %s", sg_chat_type_name(&v[1]));
    if (r->options->date == NULL)
        return sg_chat_refuse(r, SG_ERR_ARGUMENT, "asks for today's date, and none was given");
    return sg_chat_date_text(r, r->options->date, &v[1], out);
}

static const sg_chat_row globals[] = {
    {"range", 1, "start stop step", global_range},
    {"dict", 0, "iterable **", global_fill},
    {"namespace", 0, "iterable **", global_namespace},
    {"cycler", 0, "*", global_cycler},
    {"joiner", 0, "sep", global_joiner},
    {"lipsum", 0, "n html min max", NULL},
    {"raise_exception", 1, "message", global_raise},
    {"strftime_now", 1, "format", global_strftime},
};

const sg_chat_row *sg_chat_global_row(const char *name)
{
    for (size_t i = 0; i < sizeof globals / sizeof *globals; i++)
        if (strcmp(globals[i].name, name) == 0) return &globals[i];
    return NULL;
}
