// Ranges, lists, and tokens of a record in print and in JSON.
#include "cli/recorded.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/visible.h"

enum { recorded_predictions = SG_LOGPROBS_MAX };

static sg_status recorded_memory(sg_error *err)
{
    snprintf(err->message, sizeof err->message, "out of memory for results");
    return err->code = SG_ERR_MEMORY;
}

// ---- ranges and lists ---------------------------------------------------------------------------

static bool range_number(const char **at, int64_t *number)
{
    char *end;
    if (**at < '0' || **at > '9') return false;
    *number = strtoll(*at, &end, 10);
    *at = end;
    return *number < INT64_MAX;
}

bool cli_range_read(const char *text, int64_t *first, int64_t *last)
{
    if (!range_number(&text, first)) return false;
    *last = *first;
    if (*text == '\0') return true;
    if (*text++ != '-') return false;
    *last = INT64_MAX;
    if (*text == '\0') return true;
    return range_number(&text, last) && *text == '\0' && *first <= *last;
}

// The next of "0,2-4". False: there is none, or it is none.
static bool list_item(const char **at, int64_t *first, int64_t *last)
{
    if (!range_number(at, first)) return false;
    *last = *first;
    if (**at == '-') {
        ++*at;
        if (!range_number(at, last)) return false;
    }
    return *first <= *last && (**at == ',' || **at == '\0');
}

bool cli_list_has(const char *list, int64_t number)
{
    int64_t first, last;
    if (list == NULL) return true;
    while (list_item(&list, &first, &last)) {
        if (number >= first && number <= last) return true;
        if (*list++ == '\0') break;
    }
    return false;
}

bool cli_list_valid(const char *list)
{
    int64_t first, last;
    do {
        if (!list_item(&list, &first, &last)) return false;
    } while (*list++ == ',');
    return true;
}

// All channels of a list, of one layer.
static sg_status channels_recorded(const sg_record *record, int64_t layer, const char *channels,
                                   sg_error *err)
{
    int64_t first, last;
    if (channels == NULL) return SG_OK;
    while (list_item(&channels, &first, &last)) {
        for (int64_t c = first; c <= last; c++) {
            const sg_status status = sg_record_check_channel(record, layer, c, err);
            if (status != SG_OK) return status; // at the first, however long the range
        }
        if (*channels++ == '\0') break;
    }
    return SG_OK;
}

sg_status cli_lists_recorded(const sg_record *record, const char *layers, const char *channels,
                             sg_error *err)
{
    const sg_record_info *info = sg_record_get_info(record);
    int64_t first, last;
    const char *at = layers;
    while (at != NULL && list_item(&at, &first, &last)) {
        for (int64_t l = first; l <= last; l++)
            if (sg_record_find_layer(record, l) == NULL)
                return sg_record_check_channel(record, l, 0, err);
        if (*at++ == '\0') break;
    }
    for (size_t i = 0; i < info->layer_count; i++) {
        if (!cli_list_has(layers, info->layers[i].layer)) continue;
        const sg_status status = channels_recorded(record, info->layers[i].layer, channels, err);
        if (status != SG_OK) return status;
    }
    return SG_OK;
}

void cli_patterns_note(const cli_args *args, const sg_patterns *p)
{
    if (p->strongest)
        cli_note(args,
                 "layer %lld: a channel reads more neurons than were recorded, those that "
                 "contribute most: their activations are compared",
                 (long long)p->layer);
}

// ---- tokens -------------------------------------------------------------------------------------

json_t *cli_token_json(const sg_record *record, int32_t id)
{
    size_t bytes;
    const char *text = sg_record_text(record, id, &bytes);
    json_t *whole = json_stringn(text, bytes);
    if (whole != NULL) return whole;
    // Bytes of half a character: each becomes U+FFFD, as do all that are not ASCII beside them.
    char *copy = malloc(3 * bytes + 1);
    size_t at = 0;
    if (copy == NULL) return NULL;
    for (size_t i = 0; i < bytes; i++)
        if ((unsigned char)text[i] < 0x80) {
            copy[at++] = text[i];
        } else {
            memcpy(copy + at, "\xef\xbf\xbd", 3);
            at += 3;
        }
    json_t *value = json_stringn(copy, at);
    free(copy);
    return value;
}

void cli_token_print(const sg_record *record, int32_t id)
{
    size_t bytes;
    const char *text = sg_record_text(record, id, &bytes);
    fputc('"', stdout);
    cli_put_visible(stdout, text, bytes, false);
    fputc('"', stdout);
}

sg_status cli_excerpt_print(sg_record *record, int64_t token, int64_t around, sg_error *err)
{
    sg_record_excerpt e;
    const sg_status status = sg_record_excerpt_of(record, token, around, around, &e, err);
    if (status != SG_OK) return status;
    cli_put_visible(stdout, e.before, strlen(e.before), false);
    fputs("**", stdout);
    cli_put_visible(stdout, e.token, strlen(e.token), false);
    fputs("**", stdout);
    cli_put_visible(stdout, e.after, strlen(e.after), false);
    sg_record_excerpt_clear(&e);
    return SG_OK;
}

sg_status cli_excerpt_json(sg_record *record, int64_t token, int64_t around, json_t **value,
                           sg_error *err)
{
    sg_record_excerpt e;
    const sg_status status = sg_record_excerpt_of(record, token, around, around, &e, err);
    if (status != SG_OK) return status;
    *value = json_pack("{s:s, s:s, s:s}", "before", e.before, "token", e.token, "after", e.after);
    sg_record_excerpt_clear(&e);
    return *value != NULL ? SG_OK : recorded_memory(err);
}

sg_status cli_predictions_print(sg_record *record, int64_t token, int64_t most, sg_error *err)
{
    sg_scored_token found[recorded_predictions];
    int64_t count = 0;
    const int64_t asked = most < recorded_predictions ? most : recorded_predictions;
    const sg_status status = sg_record_predictions(record, token, asked, found, &count, err);
    for (int64_t i = 0; status == SG_OK && i < count; i++) {
        fputs(i == 0 ? "  -> " : ", ", stdout);
        cli_token_print(record, found[i].id);
        printf(" %.2f", exp(found[i].logprob));
    }
    return status;
}

sg_status cli_predictions_json(sg_record *record, int64_t token, int64_t most, json_t **value,
                               sg_error *err)
{
    sg_scored_token found[recorded_predictions];
    int64_t count = 0;
    const int64_t asked = most < recorded_predictions ? most : recorded_predictions;
    const sg_status status = sg_record_predictions(record, token, asked, found, &count, err);
    if (status != SG_OK) return status;
    *value = json_array();
    for (int64_t i = 0; i < count; i++)
        if (json_array_append_new(*value, json_pack("{s:i, s:o, s:f}", "id", (int)found[i].id,
                                                    "text", cli_token_json(record, found[i].id),
                                                    "logprob", found[i].logprob)) != 0) {
            json_decref(*value);
            return recorded_memory(err);
        }
    return *value != NULL ? SG_OK : recorded_memory(err);
}
