// For tests of what reads records: a record of a short text, in which something was then changed.
#ifndef SG_TEST_TEXT_RECORD_H
#define SG_TEST_TEXT_RECORD_H

#include "format/sqlite.h"
#include "probe/record_schema.h"
#include "sgatlin_record.h"

// A fresh record of `text` at `path`, in which some statements were then run (NULL: none).
static inline sg_record *text_record(sg_model *model, const sg_tokenizer *tokenizer,
                                     const char *text, const char *path, const char *changes)
{
    sg_error err = {0};
    sg_database *d;
    sg_record *record = NULL;
    sg_record_options o = sg_record_options_default();
    o.path = path;
    o.force = true;
    o.text = text;
    o.text_bytes = strlen(text);
    o.tokenizer = tokenizer;
    sg_status status = sg_probe_record(model, &o, NULL, &err);
    if (status == SG_OK && changes != NULL) {
        status = sg_database_continue(path, &sg_record_kind, &d, &err);
        if (status == SG_OK) {
            status = sg_database_execute(d, changes, &err);
            sg_database_free(d);
        }
    }
    if (status == SG_OK) status = sg_record_open(path, &record, &err);
    if (status != SG_OK) fail_msg("%s", err.message);
    return record;
}

#endif
