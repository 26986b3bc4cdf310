// The tables and views of a record (docs/PROBE.md, "Recording").
#include "probe/record_schema.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

const sg_database_kind sg_record_kind = {
    .name = "a record of gates", .application = 0x73677263, .version = 1}; // "sgrc"

bool sg_record_print(sg_bytes *text, const char *format, ...)
{
    char piece[2048];
    va_list values;
    va_start(values, format);
    const int bytes = vsnprintf(piece, sizeof piece, format, values);
    va_end(values);
    return bytes >= 0 && (size_t)bytes < sizeof piece && sg_bytes_add(text, piece, (size_t)bytes);
}

// ---- tables -------------------------------------------------------------------------------------

static bool table_meta(sg_bytes *t, const sg_record_sizes *s)
{
    (void)s;
    return sg_record_print(t, "CREATE TABLE meta(key TEXT PRIMARY KEY, value)");
}

static bool table_layer(sg_bytes *t, const sg_record_sizes *s)
{
    (void)s;
    return sg_record_print(t, "CREATE TABLE layer(layer INTEGER PRIMARY KEY, family TEXT, "
                              "channels INTEGER, neurons INTEGER, unit INTEGER, slots INTEGER, "
                              "dense INTEGER, strongest INTEGER, shared INTEGER, block INTEGER, "
                              "sub_keys INTEGER)");
}

static bool table_channel(sg_bytes *t, const sg_record_sizes *s)
{
    (void)s;
    return sg_record_print(t, "CREATE TABLE channel(id INTEGER PRIMARY KEY, layer INTEGER, "
                              "channel INTEGER, first_neuron INTEGER)");
}

static bool table_vocabulary(sg_bytes *t, const sg_record_sizes *s)
{
    (void)s;
    return sg_record_print(t, "CREATE TABLE vocabulary(id INTEGER PRIMARY KEY, text)");
}

static bool table_sequence(sg_bytes *t, const sg_record_sizes *s)
{
    (void)s;
    return sg_record_print(t, "CREATE TABLE sequence(id INTEGER PRIMARY KEY, source_row INTEGER, "
                              "tokens INTEGER)");
}

static bool table_token(sg_bytes *t, const sg_record_sizes *s)
{
    (void)s;
    return sg_record_print(t, "CREATE TABLE token(id INTEGER PRIMARY KEY, token INTEGER, "
                              "next INTEGER, logprob REAL)");
}

static bool table_prediction(sg_bytes *t, const sg_record_sizes *s)
{
    bool fine = sg_record_print(t, "CREATE TABLE prediction(id INTEGER PRIMARY KEY");
    for (int64_t i = 0; i < s->predictions && fine; i++)
        fine = sg_record_print(t, ", t%lld INTEGER, l%lld REAL", (long long)i, (long long)i);
    return fine && sg_record_print(t, ")");
}

static bool table_gate(sg_bytes *t, const sg_record_sizes *s)
{
    bool fine = sg_record_print(t, "CREATE TABLE gate(id INTEGER PRIMARY KEY");
    for (int64_t i = 0; i < s->slots && fine; i++)
        fine = sg_record_print(t, ", n%lld INTEGER, s%lld REAL, a%lld REAL", (long long)i,
                               (long long)i, (long long)i);
    return fine && sg_record_print(t, ")");
}

static bool table_span(sg_bytes *t, const sg_record_sizes *s)
{
    (void)s;
    return sg_record_print(t, "CREATE TABLE span(id INTEGER PRIMARY KEY, first INTEGER)");
}

static bool table_posting(sg_bytes *t, const sg_record_sizes *s)
{
    (void)s;
    return sg_record_print(t, "CREATE TABLE posting(id INTEGER PRIMARY KEY, tokens TEXT)");
}

static bool table_neuron(sg_bytes *t, const sg_record_sizes *s)
{
    (void)s;
    return sg_record_print(t, "CREATE TABLE neuron(id INTEGER PRIMARY KEY, channel INTEGER, "
                              "neuron INTEGER, hits INTEGER, score REAL, activation REAL, "
                              "out_norm REAL, UNIQUE(channel, neuron))");
}

// ---- views --------------------------------------------------------------------------------------

static bool view_tokens(sg_bytes *t, const sg_record_sizes *s)
{
    return sg_record_print(
        t,
        "CREATE VIEW tokens AS SELECT t.id AS id, t.id / %lld AS sequence, t.id %% %lld AS "
        "position, t.token AS token, v.text AS text, t.next AS next, w.text AS next_text, "
        "t.logprob AS logprob FROM token t LEFT JOIN vocabulary v ON v.id = t.token LEFT JOIN "
        "vocabulary w ON w.id = t.next",
        (long long)s->length, (long long)s->length);
}

// A slot of gate as rows of their own.
static bool view_hits(sg_bytes *t, const sg_record_sizes *s)
{
    bool fine = sg_record_print(t, "CREATE VIEW hits AS ");
    for (long long i = 0; i < s->slots && fine; i++)
        fine = sg_record_print(
            t,
            "%sSELECT g.id / %lld AS token, c.layer AS layer, c.channel AS channel, %lld AS slot, "
            "g.n%lld AS neuron, g.s%lld AS score, g.a%lld AS activation, abs(g.a%lld) * n.out_norm "
            "AS contribution FROM gate g JOIN channel c ON c.id = g.id %% %lld LEFT JOIN neuron n "
            "ON n.id = c.first_neuron + g.n%lld WHERE g.n%lld IS NOT NULL",
            i > 0 ? " UNION ALL " : "", (long long)s->channels, i, i, i, i, i,
            (long long)s->channels, i, i);
    return fine;
}

// What is in the slot of neuron n; open, close: around it.
static bool view_case(sg_bytes *t, const sg_record_sizes *s, char column, const char *open,
                      const char *close)
{
    bool fine = sg_record_print(t, ", %sCASE n.neuron", open);
    for (long long i = 0; i < s->slots && fine; i++)
        fine = sg_record_print(t, " WHEN g.n%lld THEN g.%c%lld", i, column, i);
    return fine && sg_record_print(t, " END%s", close);
}

// The hits of neurons, found by their postings.
static bool view_neuron_hits(sg_bytes *t, const sg_record_sizes *s)
{
    bool fine = sg_record_print(t, "CREATE VIEW neuron_hits AS SELECT c.layer AS layer, c.channel "
                                   "AS channel, n.neuron AS neuron, j.value AS token, v.text AS "
                                   "text");
    fine = fine && view_case(t, s, 's', "", " AS score") &&
           view_case(t, s, 'a', "", " AS activation") &&
           view_case(t, s, 'a', "abs(", ") * n.out_norm AS contribution");
    return fine &&
           sg_record_print(
               t,
               " FROM channel c CROSS JOIN neuron n ON n.channel = c.id CROSS JOIN span p CROSS "
               "JOIN posting q ON q.id = p.id * %lld + n.id CROSS JOIN json_each(q.tokens) j CROSS "
               "JOIN gate g ON g.id = j.value * %lld + c.id CROSS JOIN token k ON k.id = j.value "
               "LEFT JOIN vocabulary v ON v.id = k.token",
               (long long)s->neurons, (long long)s->channels);
}

static bool view_neurons(sg_bytes *t, const sg_record_sizes *s)
{
    (void)s;
    return sg_record_print(t, "CREATE VIEW neurons AS SELECT c.layer AS layer, c.channel AS "
                              "channel, n.neuron AS neuron, n.hits AS hits, n.score / n.hits AS "
                              "mean_score, n.activation / n.hits AS mean_activation, n.out_norm "
                              "AS out_norm, n.activation / n.hits * n.out_norm AS "
                              "mean_contribution FROM channel c JOIN neuron n ON n.channel = c.id");
}

static bool view_predictions(sg_bytes *t, const sg_record_sizes *s)
{
    bool fine = sg_record_print(t, "CREATE VIEW predictions AS ");
    if (s->predictions == 0)
        return fine && sg_record_print(t, "SELECT id AS token, 0 AS rank, 0 AS next, '' AS text, "
                                          "0.0 AS logprob FROM prediction WHERE 0");
    for (long long i = 0; i < s->predictions && fine; i++)
        fine = sg_record_print(t,
                               "%sSELECT p.id AS token, %lld AS rank, p.t%lld AS next, v.text AS "
                               "text, p.l%lld AS logprob FROM prediction p LEFT JOIN vocabulary v "
                               "ON v.id = p.t%lld WHERE p.t%lld IS NOT NULL",
                               i > 0 ? " UNION ALL " : "", i, i, i, i, i);
    return fine;
}

// ---- all of them --------------------------------------------------------------------------------

static const struct schema_item {
    const char *name;
    bool is_view;
    bool (*create)(sg_bytes *text, const sg_record_sizes *sizes);
} schema[] = {
    {"meta", false, table_meta},
    {"layer", false, table_layer},
    {"channel", false, table_channel},
    {"vocabulary", false, table_vocabulary},
    {"sequence", false, table_sequence},
    {"token", false, table_token},
    {"prediction", false, table_prediction},
    {"gate", false, table_gate},
    {"span", false, table_span},
    {"posting", false, table_posting},
    {"neuron", false, table_neuron},
    {"tokens", true, view_tokens},
    {"hits", true, view_hits},
    {"neuron_hits", true, view_neuron_hits},
    {"neurons", true, view_neurons},
    {"predictions", true, view_predictions},
};
enum { schema_items = sizeof schema / sizeof *schema };

const char *sg_record_table(int index, bool *is_view)
{
    if (index >= schema_items) return NULL;
    if (is_view != NULL) *is_view = schema[index].is_view;
    return schema[index].name;
}

sg_status sg_record_create(const char *name, const sg_record_sizes *sizes, sg_bytes *sql,
                           sg_error *err)
{
    for (int i = 0; i < schema_items; i++) {
        if (strcmp(schema[i].name, name) != 0) continue;
        sql->count = 0;
        if (schema[i].create(sql, sizes) && sg_bytes_add(sql, "", 1)) return SG_OK;
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for the tables of a record");
    }
    return sg_fail(err, SG_ERR_NOT_FOUND, "a record has no table %s", name);
}

sg_status sg_record_create_all(sg_database *d, const sg_record_sizes *sizes, sg_error *err)
{
    sg_bytes sql = {0};
    sg_status status = SG_OK;
    for (int i = 0; i < schema_items && status == SG_OK; i++) {
        status = sg_record_create(schema[i].name, sizes, &sql, err);
        if (status == SG_OK) status = sg_database_execute(d, sql.data, err);
    }
    sg_free(sql.data);
    return status;
}

static sg_status check_table(sg_database *d, sg_statement *s, const char *name, const char *sql,
                             sg_error *err)
{
    bool row;
    const char *found = "";
    size_t bytes;
    sg_statement_bind_text(s, 1, name, strlen(name));
    SG_TRY(sg_statement_step(s, &row, err));
    if (row) SG_TRY(sg_statement_text(s, 0, &found, &bytes, err));
    const bool same = strcmp(found, sql) == 0;
    sg_statement_reset(s);
    if (same) return SG_OK;
    return sg_fail(err, SG_ERR_FORMAT, "%s: table %s: is not that of %s", sg_database_path(d), name,
                   sg_record_kind.name);
}

sg_status sg_record_check_tables(sg_database *d, const sg_record_sizes *sizes, sg_error *err)
{
    sg_bytes sql = {0};
    sg_statement *s;
    SG_TRY(sg_database_prepare(
        d, "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?1", &s, err));
    sg_status status = SG_OK;
    for (int i = 0; i < schema_items && status == SG_OK; i++) {
        if (schema[i].is_view) continue;
        status = sg_record_create(schema[i].name, sizes, &sql, err);
        if (status == SG_OK) status = check_table(d, s, schema[i].name, sql.data, err);
    }
    sg_statement_free(s);
    sg_free(sql.data);
    return status;
}

sg_status sg_record_insert(sg_database *d, const char *table, int64_t parameters, sg_statement **s,
                           sg_error *err)
{
    sg_bytes sql = {0};
    bool fine = sg_record_print(&sql, "INSERT INTO %s VALUES(", table);
    for (int64_t i = 1; i <= parameters && fine; i++)
        fine = sg_record_print(&sql, "?%lld%s", (long long)i, i < parameters ? "," : ")");
    fine = fine && sg_bytes_add(&sql, "", 1);
    *s = NULL;
    sg_status status = fine ? sg_database_prepare(d, sql.data, s, err)
                            : sg_fail(err, SG_ERR_MEMORY, "out of memory for a statement");
    sg_free(sql.data);
    return status;
}

// ---- meta ---------------------------------------------------------------------------------------

static sg_status meta_set(sg_database *d, const char *key, const char *text, int64_t value,
                          sg_error *err)
{
    sg_statement *s;
    SG_TRY(sg_database_prepare(d, "INSERT OR REPLACE INTO meta VALUES(?1,?2)", &s, err));
    sg_statement_bind_text(s, 1, key, strlen(key));
    if (text != NULL)
        sg_statement_bind_text(s, 2, text, strlen(text));
    else
        sg_statement_bind_int(s, 2, value);
    const sg_status status = sg_statement_run(s, err);
    sg_statement_free(s);
    return status;
}

sg_status sg_record_set_text(sg_database *d, const char *key, const char *value, sg_error *err)
{
    return meta_set(d, key, value != NULL ? value : "", 0, err);
}

sg_status sg_record_set_int(sg_database *d, const char *key, int64_t value, sg_error *err)
{
    return meta_set(d, key, NULL, value, err);
}

// Steps to the value of a key.
static sg_status meta_get(sg_database *d, const char *key, sg_statement **s, sg_error *err)
{
    bool row;
    SG_TRY(sg_database_prepare(d, "SELECT value FROM meta WHERE key = ?1", s, err));
    sg_statement_bind_text(*s, 1, key, strlen(key));
    sg_status status = sg_statement_step(*s, &row, err);
    if (status == SG_OK && !row)
        status = sg_fail(err, SG_ERR_FORMAT, "%s: meta: found no %s", sg_database_path(d), key);
    if (status == SG_OK) return SG_OK;
    sg_statement_free(*s);
    *s = NULL;
    return status;
}

sg_status sg_record_get_int(sg_database *d, const char *key, int64_t low, int64_t high,
                            int64_t *value, sg_error *err)
{
    sg_statement *s;
    SG_TRY(meta_get(d, key, &s, err));
    sg_status status = sg_statement_int(s, 0, low, high, value, err);
    sg_statement_free(s);
    return status == SG_OK ? SG_OK : sg_fail_context(err, status, "meta %s", key);
}

sg_status sg_record_get_text(sg_database *d, const char *key, char **text, sg_error *err)
{
    sg_statement *s;
    const char *found;
    size_t bytes;
    *text = NULL;
    SG_TRY(meta_get(d, key, &s, err));
    sg_status status = sg_statement_text(s, 0, &found, &bytes, err);
    if (status == SG_OK) {
        *text = sg_strndup(found, bytes);
        if (*text == NULL) status = sg_fail(err, SG_ERR_MEMORY, "out of memory for a record");
    }
    sg_statement_free(s);
    return status;
}
