// Databases and CSV files of results, whatever the results are.
#include "probe/result_files.h"

#include <math.h>
#include <string.h>

void sg_result_bind_text(sg_statement *s, int parameter, const char *text)
{
    if (text == NULL)
        sg_statement_bind_null(s, parameter);
    else
        sg_statement_bind_text(s, parameter, text, strlen(text));
}

void sg_result_bind_number(sg_statement *s, int parameter, double number)
{
    if (isnan(number))
        sg_statement_bind_null(s, parameter);
    else
        sg_statement_bind_real(s, parameter, number);
}

sg_status sg_result_meta(sg_statement *s, const char *key, const char *text, int64_t number,
                         sg_error *err)
{
    sg_result_bind_text(s, 1, key);
    if (text != NULL)
        sg_result_bind_text(s, 2, text);
    else
        sg_statement_bind_int(s, 2, number);
    return sg_statement_run(s, err);
}

void sg_result_csv_text(sg_writer *w, const char *text)
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

static int result_mode(const sg_result_files *files)
{
    return files->force ? SG_OUTPUT_REPLACE : SG_OUTPUT_NEW;
}

sg_status sg_result_files_check(const sg_result_files *files, sg_error *err)
{
    if (files->out != NULL) SG_TRY(sg_output_check(files->out, result_mode(files), err));
    return files->csv != NULL ? sg_output_check(files->csv, result_mode(files), err) : SG_OK;
}

static sg_status result_tables(const sg_result_form *form, const void *results, sg_database *db,
                               sg_error *err)
{
    SG_TRY(sg_database_execute(db, form->schema, err));
    for (size_t i = 0; i < form->count; i++) {
        sg_statement *s;
        SG_TRY(sg_database_prepare(db, form->tables[i].sql, &s, err));
        const sg_status status = form->tables[i].write(results, s, err);
        sg_statement_free(s);
        if (status != SG_OK) return status;
    }
    return SG_OK;
}

static sg_status result_database(const sg_result_files *files, const sg_result_form *form,
                                 const void *results, sg_database **out, sg_error *err)
{
    sg_database *db;
    SG_TRY(sg_database_create(files->out, form->kind, files->force, &db, err));
    sg_status status = sg_database_begin(db, err);
    if (status == SG_OK) status = result_tables(form, results, db, err);
    if (status == SG_OK) status = sg_database_commit(db, err);
    if (status == SG_OK)
        *out = db;
    else
        sg_database_free(db);
    return status;
}

static sg_status result_csv(const sg_result_files *files, const sg_result_form *form,
                            const void *results, sg_writer **writer, sg_error *err)
{
    SG_TRY(sg_writer_open_output(files->csv, result_mode(files), writer, err));
    sg_writer_put(*writer, form->header, strlen(form->header));
    return form->csv(results, *writer, err);
}

sg_status sg_result_files_write(const sg_result_files *files, const sg_result_form *form,
                                const void *results, sg_error *err)
{
    sg_database *db = NULL;
    sg_writer *csv = NULL;
    sg_status status = SG_OK;
    if (files->out != NULL) status = result_database(files, form, results, &db, err);
    if (status == SG_OK && files->csv != NULL) status = result_csv(files, form, results, &csv, err);
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
