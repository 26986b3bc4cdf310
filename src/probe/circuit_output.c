// Circuits as an SQLite database, and their neurons as CSV. docs/PROBE.md has the tables. Both are
// written beside their places first, so that a failure leaves what was there.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "format/sqlite.h"
#include "model/model.h"
#include "probe/circuit_inside.h"

static const sg_database_kind circuit_kind = {
    .name = "circuits", .application = 0x73674349, .version = 1};

static const char circuit_tables[] =
    "CREATE TABLE meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID;"
    "CREATE TABLE circuit(id INTEGER PRIMARY KEY, relation TEXT NOT NULL, clean TEXT,"
    " counterfactual TEXT, neurons INTEGER NOT NULL, candidates INTEGER NOT NULL,"
    " flips INTEGER NOT NULL, minimal REAL);"
    "CREATE TABLE neuron(circuit INTEGER NOT NULL REFERENCES circuit, place INTEGER NOT NULL,"
    " layer INTEGER NOT NULL, channel INTEGER NOT NULL, neuron INTEGER NOT NULL,"
    " alone REAL NOT NULL, without REAL NOT NULL, PRIMARY KEY(circuit, place)) WITHOUT ROWID;"
    // circuit NULL: all sets of pairs together.
    "CREATE TABLE measure(circuit INTEGER REFERENCES circuit, half TEXT NOT NULL,"
    " metric TEXT NOT NULL, pairs INTEGER NOT NULL, facts INTEGER NOT NULL, mean REAL, low REAL,"
    " high REAL, random REAL, p REAL);"
    "CREATE VIEW neurons AS SELECT circuit.relation, circuit.clean, circuit.counterfactual,"
    " circuit.flips, neuron.place, neuron.layer, neuron.channel, neuron.neuron, neuron.alone,"
    " neuron.without FROM neuron JOIN circuit ON circuit.id = neuron.circuit;";

// ---- SQLite -------------------------------------------------------------------------------------

static void bind_text(sg_statement *s, int parameter, const char *text)
{
    if (text == NULL)
        sg_statement_bind_null(s, parameter);
    else
        sg_statement_bind_text(s, parameter, text, strlen(text));
}

static void bind_number(sg_statement *s, int parameter, double number)
{
    if (isnan(number))
        sg_statement_bind_null(s, parameter);
    else
        sg_statement_bind_real(s, parameter, number);
}

static sg_status write_metas(const sg_circuit *c, sg_statement *s, sg_error *err)
{
    static const char *const positions[] = {"all", "subject", "last"};
    const sg_circuit_options *o = c->options;
    const sg_circuit_counts *counts = &c->result->counts;
    char seed[24];
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)o->seed);
    const struct {
        const char *key, *text;
        int64_t number;
    } rows[] = {{"format", "sgatlin circuits", 0},
                {"version", sg_version(), 0},
                {"model", o->model, 0},
                {"command", o->command, 0},
                {"facts", o->facts, 0},
                {"kernel", sg_context_kernel(c->model->context), 0},
                {"products", sg_context_products(c->model->context), 0},
                {"position", positions[o->position], 0},
                {"seed", seed, 0},
                {"random", NULL, o->random},
                {"bootstrap", NULL, o->bootstrap},
                {"looked_at", NULL, counts->looked_at},
                {"known", NULL, counts->known},
                {"runs", NULL, counts->runs}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const bool number = i >= 9;
        if (!number && rows[i].text == NULL) continue;
        bind_text(s, 1, rows[i].key);
        if (number)
            sg_statement_bind_int(s, 2, rows[i].number);
        else
            bind_text(s, 2, rows[i].text);
        SG_TRY(sg_statement_run(s, err));
    }
    return SG_OK;
}

static sg_status write_circuits(const sg_circuit *c, sg_statement *s, sg_error *err)
{
    for (size_t i = 0; i < c->result->count; i++) {
        const sg_circuit_set *set = &c->result->sets[i];
        sg_statement_bind_int(s, 1, (int64_t)i);
        bind_text(s, 2, set->relation);
        bind_text(s, 3, set->clean);
        bind_text(s, 4, set->counterfactual);
        sg_statement_bind_int(s, 5, (int64_t)set->count);
        sg_statement_bind_int(s, 6, set->candidates);
        sg_statement_bind_int(s, 7, set->flips);
        bind_number(s, 8, set->found.minimal);
        SG_TRY(sg_statement_run(s, err));
    }
    return SG_OK;
}

static sg_status write_neurons(const sg_circuit *c, sg_statement *s, sg_error *err)
{
    for (size_t i = 0; i < c->result->count; i++)
        for (size_t k = 0; k < c->result->sets[i].count; k++) {
            const sg_circuit_neuron *n = &c->result->sets[i].neurons[k];
            sg_statement_bind_int(s, 1, (int64_t)i);
            sg_statement_bind_int(s, 2, (int64_t)k);
            sg_statement_bind_int(s, 3, n->layer);
            sg_statement_bind_int(s, 4, n->channel);
            sg_statement_bind_int(s, 5, n->neuron);
            sg_statement_bind_real(s, 6, n->alone);
            sg_statement_bind_real(s, 7, n->without);
            SG_TRY(sg_statement_run(s, err));
        }
    return SG_OK;
}

// circuit -1: all pairs together.
static sg_status write_measure(int64_t circuit, const char *half, const sg_circuit_measure *m,
                               sg_statement *s, sg_error *err)
{
    const struct {
        const char *metric;
        sg_circuit_interval value;
        double random, p;
    } rows[] = {{"flips", m->flips, m->random_flips, m->p_flips},
                {"effect", m->effect, m->random_effect, m->p_effect},
                {"all_flips", m->all_flips, NAN, NAN},
                {"all_effect", m->all_effect, NAN, NAN},
                {"still_flips", m->still_flips, NAN, NAN},
                {"lost", m->lost, NAN, NAN}};
    for (size_t i = 0; m->pairs > 0 && i < sizeof rows / sizeof *rows; i++) {
        const double numbers[] = {rows[i].value.mean, rows[i].value.low, rows[i].value.high,
                                  rows[i].random, rows[i].p};
        if (circuit < 0)
            sg_statement_bind_null(s, 1);
        else
            sg_statement_bind_int(s, 1, circuit);
        bind_text(s, 2, half);
        bind_text(s, 3, rows[i].metric);
        sg_statement_bind_int(s, 4, m->pairs);
        sg_statement_bind_int(s, 5, m->facts);
        for (int k = 0; k < 5; k++)
            bind_number(s, 6 + k, numbers[k]);
        SG_TRY(sg_statement_run(s, err));
    }
    return SG_OK;
}

static sg_status write_measures(const sg_circuit *c, sg_statement *s, sg_error *err)
{
    for (size_t i = 0; i < c->result->count; i++) {
        const sg_circuit_set *set = &c->result->sets[i];
        SG_TRY(write_measure((int64_t)i, "found", &set->found, s, err));
        SG_TRY(write_measure((int64_t)i, "tested", &set->tested, s, err));
    }
    SG_TRY(write_measure(-1, "found", &c->result->pairs, s, err));
    return write_measure(-1, "tested", &c->result->wordings, s, err);
}

static sg_status write_tables(const sg_circuit *c, sg_database *db, sg_error *err)
{
    static const struct {
        const char *sql;
        sg_status (*write)(const sg_circuit *, sg_statement *, sg_error *);
    } tables[] = {
        {"INSERT INTO meta VALUES(?1, ?2)", write_metas},
        {"INSERT INTO circuit VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)", write_circuits},
        {"INSERT INTO neuron VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)", write_neurons},
        {"INSERT INTO measure VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)", write_measures},
    };
    SG_TRY(sg_database_execute(db, circuit_tables, err));
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        sg_statement *s;
        SG_TRY(sg_database_prepare(db, tables[i].sql, &s, err));
        const sg_status status = tables[i].write(c, s, err);
        sg_statement_free(s);
        if (status != SG_OK) return status;
    }
    return SG_OK;
}

static sg_status output_database(const sg_circuit *c, sg_database **out, sg_error *err)
{
    sg_database *db;
    SG_TRY(sg_database_create(c->options->out, &circuit_kind, c->options->force, &db, err));
    sg_status status = sg_database_begin(db, err);
    if (status == SG_OK) status = write_tables(c, db, err);
    if (status == SG_OK) status = sg_database_commit(db, err);
    if (status == SG_OK)
        *out = db;
    else
        sg_database_free(db);
    return status;
}

// ---- CSV ----------------------------------------------------------------------------------------

// As RFC 4180 has it: in quotes where it must be; NULL is empty.
static void csv_text(sg_writer *w, const char *text)
{
    const bool quotes = text != NULL && strpbrk(text, ",\"\r\n") != NULL;
    if (quotes) sg_writer_put(w, "\"", 1);
    for (; text != NULL && *text != '\0'; text++) {
        if (*text == '"') sg_writer_put(w, "\"", 1);
        sg_writer_put(w, text, 1);
    }
    if (quotes) sg_writer_put(w, "\"", 1);
    sg_writer_put(w, ",", 1);
}

static sg_status output_csv(const sg_circuit *c, sg_writer **writer, sg_error *err)
{
    const int mode = c->options->force ? SG_OUTPUT_REPLACE : SG_OUTPUT_NEW;
    SG_TRY(sg_writer_open_output(c->options->csv, mode, writer, err));
    sg_writer_printf(*writer, "circuit,relation,clean,counterfactual,flips,place,layer,channel,"
                              "neuron,alone,without\n");
    for (size_t i = 0; i < c->result->count; i++) {
        const sg_circuit_set *set = &c->result->sets[i];
        for (size_t k = 0; k < set->count; k++) {
            const sg_circuit_neuron *n = &set->neurons[k];
            sg_writer_printf(*writer, "%zu,", i);
            csv_text(*writer, set->relation);
            csv_text(*writer, set->clean);
            csv_text(*writer, set->counterfactual);
            sg_writer_printf(*writer, "%d,%zu,%lld,%lld,%lld,%.9g,%.9g\n", set->flips, k,
                             (long long)n->layer, (long long)n->channel, (long long)n->neuron,
                             n->alone, n->without);
        }
    }
    return SG_OK;
}

// ---- both ---------------------------------------------------------------------------------------

sg_status sg_circuit_write(const sg_circuit *c, sg_error *err)
{
    sg_database *db = NULL;
    sg_writer *csv = NULL;
    sg_status status = SG_OK;
    if (c->options->out != NULL) status = output_database(c, &db, err);
    if (status == SG_OK && c->options->csv != NULL) status = output_csv(c, &csv, err);
    if (status == SG_OK && db != NULL) {
        status = sg_database_publish(db, err);
        db = NULL;
    }
    if (status == SG_OK && csv != NULL) {
        status = sg_writer_replace(csv, err);
        csv = NULL;
    }
    sg_database_free(db);
    sg_writer_withdraw(csv);
    return status;
}

sg_status sg_circuit_check_outputs(const sg_circuit_options *o, sg_error *err)
{
    const int mode = o->force ? SG_OUTPUT_REPLACE : SG_OUTPUT_NEW;
    if (o->out != NULL) SG_TRY(sg_output_check(o->out, mode, err));
    return o->csv != NULL ? sg_output_check(o->csv, mode, err) : SG_OK;
}
