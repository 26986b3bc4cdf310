// Tokens of a record: where each stands, what follows, what was expected, the text around it.
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/utf8.h"
#include "probe/records_inside.h"

static sg_status token_read(const sg_record *r, const sg_statement *s, sg_record_token *t,
                            sg_error *err)
{
    int64_t token, next = -1;
    SG_TRY(sg_statement_int(s, 0, 0, INT64_MAX / SG_RECORD_CHANNELS_MAX, &t->id, err));
    SG_TRY(sg_statement_int(s, 1, 0, r->info.vocabulary - 1, &token, err));
    if (!sg_statement_is_null(s, 2))
        SG_TRY(sg_statement_int(s, 2, 0, r->info.vocabulary - 1, &next, err));
    t->logprob = NAN;
    if (!sg_statement_is_null(s, 3)) SG_TRY(sg_statement_real(s, 3, &t->logprob, err));
    t->token = (int32_t)token;
    t->next = (int32_t)next;
    t->sequence = t->id / r->sizes.length;
    t->position = t->id % r->sizes.length;
    return SG_OK;
}

sg_status sg_record_tokens(sg_record *r, int64_t first, int64_t most, sg_record_token *tokens,
                           int64_t *count, sg_error *err)
{
    bool row;
    sg_statement *s;
    *count = 0;
    SG_TRY(sg_database_prepare(r->database,
                               "SELECT id, token, next, logprob FROM token WHERE id >= ?1 ORDER BY "
                               "id LIMIT ?2",
                               &s, err));
    sg_statement_bind_int(s, 1, first);
    sg_statement_bind_int(s, 2, most);
    sg_status status = sg_statement_step(s, &row, err);
    while (status == SG_OK && row && *count < most) {
        status = token_read(r, s, &tokens[(*count)++], err);
        if (status == SG_OK) status = sg_statement_step(s, &row, err);
    }
    sg_statement_free(s);
    return status;
}

// ---- excerpts -----------------------------------------------------------------------------------

// The joined texts of tokens [first, end), mended. *text: sg_free.
static sg_status excerpt_part(const sg_record *r, const sg_record_token *tokens, int64_t first,
                              int64_t end, char **text, sg_error *err)
{
    sg_bytes raw = {0}, whole = {0};
    bool fine = true;
    for (int64_t i = first; i < end && fine; i++) {
        size_t bytes;
        const char *word = sg_record_text(r, tokens[i].token, &bytes);
        fine = sg_bytes_add(&raw, word, bytes);
    }
    fine = fine && sg_bytes_add(&raw, "", 0) && sg_bytes_add(&whole, "", 0) &&
           sg_utf8_repair(raw.data, raw.count, &whole, NULL) && sg_bytes_add(&whole, "", 1);
    sg_free(raw.data);
    *text = whole.data;
    if (fine) return SG_OK;
    sg_free(whole.data);
    *text = NULL;
    return sg_fail(err, SG_ERR_MEMORY, "out of memory for an excerpt");
}

// A character may be spread over tokens: it is mended where the border of the token cuts it.
static sg_status excerpt_make(const sg_record *r, const sg_record_token *tokens, int64_t count,
                              int64_t token, sg_record_excerpt *e, sg_error *err)
{
    int64_t at = 0, begin, end;
    while (at < count && tokens[at].id != token)
        at++;
    if (at == count)
        return sg_fail(err, SG_ERR_NOT_FOUND, "%s: token %lld is not recorded",
                       sg_database_path(r->database), (long long)token);
    for (begin = at; begin > 0 && tokens[begin - 1].sequence == tokens[at].sequence;)
        begin--;
    for (end = at + 1; end < count && tokens[end].sequence == tokens[at].sequence;)
        end++;
    SG_TRY(excerpt_part(r, tokens, begin, at, &e->before, err));
    SG_TRY(excerpt_part(r, tokens, at, at + 1, &e->token, err));
    return excerpt_part(r, tokens, at + 1, end, &e->after, err);
}

sg_status sg_record_excerpt_of(sg_record *r, int64_t token, int64_t before, int64_t after,
                               sg_record_excerpt *e, sg_error *err)
{
    enum { most_around = 1 << 20 };
    *e = (sg_record_excerpt){0};
    if (token < 0 || before < 0 || after < 0 || before > most_around || after > most_around)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "excerpt: found token %lld with %lld before and %lld behind it",
                       (long long)token, (long long)before, (long long)after);
    const int64_t first = token > before ? token - before : 0, most = token - first + 1 + after;
    int64_t count = 0;
    sg_record_token *tokens = sg_alloc_array((size_t)most, sizeof *tokens);
    sg_status status =
        tokens == NULL ? sg_fail(err, SG_ERR_MEMORY, "out of memory for an excerpt") : SG_OK;
    if (status == SG_OK) status = sg_record_tokens(r, first, most, tokens, &count, err);
    if (status == SG_OK) status = excerpt_make(r, tokens, count, token, e, err);
    sg_free(tokens);
    if (status != SG_OK) sg_record_excerpt_clear(e);
    return status;
}

void sg_record_excerpt_clear(sg_record_excerpt *e)
{
    sg_free(e->before);
    sg_free(e->token);
    sg_free(e->after);
    *e = (sg_record_excerpt){0};
}

// ---- predictions --------------------------------------------------------------------------------

sg_status sg_record_predictions(sg_record *r, int64_t token, int64_t most,
                                sg_scored_token *predictions, int64_t *count, sg_error *err)
{
    bool row;
    sg_statement *s;
    *count = 0;
    SG_TRY(sg_database_prepare(r->database, "SELECT * FROM prediction WHERE id = ?1", &s, err));
    sg_statement_bind_int(s, 1, token);
    sg_status status = sg_statement_step(s, &row, err);
    for (int64_t i = 0; status == SG_OK && row && i < r->sizes.predictions && i < most; i++) {
        int64_t id;
        double logprob = 0;
        status = sg_statement_int(s, (int)(1 + 2 * i), 0, r->info.vocabulary - 1, &id, err);
        if (status == SG_OK) status = sg_statement_real(s, (int)(2 + 2 * i), &logprob, err);
        if (status == SG_OK) predictions[(*count)++] = (sg_scored_token){(int32_t)id, logprob};
    }
    sg_statement_free(s);
    return status;
}
