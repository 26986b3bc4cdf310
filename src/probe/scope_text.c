// The text of a page: which tokens, in which sequences, and what the model expected behind each.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/utf8.h"
#include "format/json.h"
#include "probe/scope_page.h"

// Losses are -ln p in 16ths of a nat, those of 15.9 and more alike.
enum { loss_steps = 16 };

static sg_status text_read(sg_record *record, sg_record_token **tokens, int64_t *count,
                           sg_error *err)
{
    const int64_t most = sg_record_get_info(record)->tokens;
    *count = 0;
    *tokens = sg_alloc_array((size_t)most + 1, sizeof **tokens);
    if (*tokens == NULL) return sg_scope_memory(err);
    return sg_record_tokens(record, 0, most, *tokens, count, err);
}

static sg_status text_compare(const sg_scope_page *page, sg_record *other, sg_error *err)
{
    sg_record_token *tokens;
    int64_t count, i = 0;
    sg_status status = text_read(other, &tokens, &count, err);
    if (status == SG_OK) {
        while (i < count && i < page->count && tokens[i].id == page->tokens[i].id &&
               tokens[i].token == page->tokens[i].token)
            i++;
        if (i < count || i < page->count)
            status = sg_fail(err, SG_ERR_MISMATCH,
                             "the models have not read the same: found %lld and %lld tokens, of "
                             "which the first %lld agree",
                             (long long)page->count, (long long)count, (long long)i);
    }
    sg_free(tokens);
    return status;
}

sg_status sg_scope_text_open(sg_scope_page *page, sg_error *err)
{
    const sg_scope_options *o = page->options;
    const sg_record_info *info = sg_record_get_info(o->models[0].record);
    SG_TRY(text_read(o->models[0].record, &page->tokens, &page->count, err));
    if (page->count == 0) return sg_fail(err, SG_ERR_ARGUMENT, "record: found no token in it");
    if (o->model_count > 1) SG_TRY(text_compare(page, o->models[1].record, err));
    page->vocabulary = info->vocabulary;
    page->pieces = json_array();
    page->piece_of = sg_alloc_array((size_t)page->vocabulary, sizeof *page->piece_of);
    if (page->piece_of == NULL || page->pieces == NULL) return sg_scope_memory(err);
    for (int64_t i = 0; i < page->vocabulary; i++)
        page->piece_of[i] = -1;
    page->info.tokens = page->count;
    return SG_OK;
}

// ---- texts of tokens ----------------------------------------------------------------------------

// Bytes of a token as text; those that are no UTF-8 by themselves by their numbers: "⟨E2⟩".
static bool text_shown(const char *bytes, size_t count, sg_bytes *out)
{
    char hex[16];
    while (count > 0) {
        const size_t valid = sg_utf8_valid_prefix(bytes, count);
        if (!sg_bytes_add(out, bytes, valid)) return false;
        bytes += valid;
        count -= valid;
        if (count == 0) break;
        const int length = snprintf(hex, sizeof hex, "\u27e8%02X\u27e9", (unsigned char)*bytes);
        if (!sg_bytes_add(out, hex, (size_t)length)) return false;
        bytes++;
        count--;
    }
    return true;
}

sg_status sg_scope_piece(sg_scope_page *page, int32_t id, int32_t *piece, sg_error *err)
{
    size_t bytes = 0;
    sg_bytes shown = {0};
    *piece = -1;
    if (id < 0 || id >= page->vocabulary) return SG_OK;
    if (page->piece_of[id] < 0) {
        const char *text = sg_record_text(page->options->models[0].record, id, &bytes);
        json_t *value =
            text_shown(text, bytes, &shown) ? json_stringn(shown.data, shown.count) : NULL;
        if (shown.data == NULL && bytes == 0) value = json_string("");
        sg_free(shown.data);
        if (value == NULL || json_array_append_new(page->pieces, value) != 0)
            return sg_scope_memory(err);
        page->piece_of[id] = (int32_t)json_array_size(page->pieces) - 1;
    }
    *piece = page->piece_of[id];
    return SG_OK;
}

sg_status sg_scope_piece_column(sg_scope_page *page, const int32_t *ids, int64_t count, int32_t add,
                                json_t **reference, sg_error *err)
{
    int32_t *pieces = sg_alloc_array((size_t)count + 1, sizeof *pieces);
    if (pieces == NULL) return sg_scope_memory(err);
    sg_status status = SG_OK;
    for (int64_t i = 0; status == SG_OK && i < count; i++) {
        status = sg_scope_piece(page, ids[i], &pieces[i], err);
        pieces[i] += add;
    }
    if (status == SG_OK)
        status = sg_page_columns_add(&page->columns, sg_page_type_for(page->vocabulary), pieces,
                                     count, reference, err);
    sg_free(pieces);
    return status;
}

// ---- sequences ----------------------------------------------------------------------------------

// Runs of tokens that follow each other: [id of the first token, tokens].
static sg_status text_sequences(sg_scope_page *page, json_t *list, sg_error *err)
{
    for (int64_t first = 0, end; first < page->count; first = end) {
        const sg_record_token *t = &page->tokens[first];
        for (end = first + 1; end < page->count; end++)
            if (page->tokens[end].sequence != t->sequence ||
                page->tokens[end].id != t->id + end - first)
                break;
        if (json_array_append_new(
                list, json_pack("[I, I]", (json_int_t)t->id, (json_int_t)(end - first))) != 0)
            return sg_scope_memory(err);
        page->info.sequences++;
    }
    return SG_OK;
}

sg_status sg_scope_text(sg_scope_page *page, json_t *root, sg_error *err)
{
    json_t *token, *next, *sequences = json_array();
    int32_t *ids = sg_alloc_array((size_t)page->count, sizeof *ids);
    sg_status status = ids == NULL || sequences == NULL ? sg_scope_memory(err)
                                                        : text_sequences(page, sequences, err);
    if (sequences != NULL) {
        const sg_status set = sg_scope_set(root, "sequences", sequences, err);
        if (status == SG_OK) status = set;
    }
    for (int64_t i = 0; status == SG_OK && i < page->count; i++)
        ids[i] = page->tokens[i].token;
    if (status == SG_OK) status = sg_scope_piece_column(page, ids, page->count, 0, &token, err);
    if (status == SG_OK) status = sg_scope_set(root, "token", token, err);
    for (int64_t i = 0; status == SG_OK && i < page->count; i++)
        ids[i] = page->tokens[i].next;
    if (status == SG_OK) status = sg_scope_piece_column(page, ids, page->count, 1, &next, err);
    if (status == SG_OK) status = sg_scope_set(root, "next", next, err);
    sg_free(ids);
    return status;
}

// ---- predictions --------------------------------------------------------------------------------

static int32_t text_loss(double logprob)
{
    return isfinite(logprob) ? (int32_t)fmin(UINT8_MAX, fmax(0, round(-logprob * loss_steps))) : 0;
}

static sg_status text_losses(sg_scope_page *page, size_t model, json_t *object, sg_error *err)
{
    sg_record_token *tokens;
    json_t *loss;
    int64_t count;
    sg_status status = text_read(page->options->models[model].record, &tokens, &count, err);
    int32_t *values = sg_alloc_array((size_t)page->count, sizeof *values);
    if (status == SG_OK && values == NULL) status = sg_scope_memory(err);
    for (int64_t i = 0; status == SG_OK && i < page->count; i++)
        values[i] = text_loss(tokens[i].logprob);
    if (status == SG_OK)
        status = sg_page_columns_add(&page->columns, SG_PAGE_U8, values, page->count, &loss, err);
    if (status == SG_OK) status = sg_scope_set(object, "loss", loss, err);
    if (status == SG_OK)
        status = sg_scope_set(object, "loss_scale", json_real(1.0 / loss_steps), err);
    sg_free(values);
    sg_free(tokens);
    return status;
}

// The predictions of all tokens: ids, losses (count, most).
static sg_status text_likeliest(const sg_scope_page *page, sg_record *record, int64_t most,
                                int32_t *ids, int32_t *losses, sg_error *err)
{
    sg_scored_token one[SG_LOGPROBS_MAX];
    int64_t got;
    for (int64_t t = 0; t < page->count; t++) {
        SG_TRY(sg_record_predictions(record, page->tokens[t].id, most, one, &got, err));
        for (int64_t i = 0; i < most; i++) {
            ids[t * most + i] = i < got ? one[i].id : 0;
            losses[t * most + i] = i < got ? text_loss(one[i].logprob) : UINT8_MAX;
        }
    }
    return SG_OK;
}

sg_status sg_scope_predictions(sg_scope_page *page, size_t model, json_t *object, sg_error *err)
{
    sg_record *record = page->options->models[model].record;
    const int64_t most = sg_record_get_info(record)->predictions;
    json_t *token = NULL, *loss = NULL;
    SG_TRY(text_losses(page, model, object, err));
    if (most < 1) return SG_OK;
    const size_t count = (size_t)(page->count * most);
    int32_t *ids = sg_alloc_array(count, sizeof *ids);
    int32_t *losses = sg_alloc_array(count, sizeof *losses);
    sg_status status = ids == NULL || losses == NULL
                           ? sg_scope_memory(err)
                           : text_likeliest(page, record, most, ids, losses, err);
    if (status == SG_OK) status = sg_scope_piece_column(page, ids, (int64_t)count, 0, &token, err);
    if (status == SG_OK)
        status =
            sg_page_columns_add(&page->columns, SG_PAGE_U8, losses, (int64_t)count, &loss, err);
    sg_free(ids);
    sg_free(losses);
    if (status != SG_OK) {
        json_decref(token);
        return status;
    }
    return sg_scope_set(object, "predictions",
                        json_pack("{s:I, s:o, s:o, s:f}", "count", (json_int_t)most, "token", token,
                                  "logprob", loss, "scale", 1.0 / loss_steps),
                        err);
}
