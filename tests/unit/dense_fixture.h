// A dense model of a kind and packed data of small stories, on a disk in memory: what tests of
// making it sparse begin with.
#ifndef SG_TESTS_DENSE_FIXTURE_H
#define SG_TESTS_DENSE_FIXTURE_H

#include "sgatlin_data.h"
#include "tiny_models.h"
#include "tiny_run.h"

enum { vocab = 320 };

typedef struct fixture {
    memory_fs *disk;
    sg_context *context;
    sg_data *data;
    sg_model *dense;
} fixture;

static void must(sg_status status, const sg_error *err)
{
    if (status != SG_OK) fail_msg("%s: %s", sg_status_name(status), err->message);
}

static fixture begin(const char *kind, int threads)
{
    sg_error err = {0};
    fixture f = {.disk = tiny_disk()};
    must(sg_context_new(&(sg_context_options){.threads = threads}, &f.context, &err), &err);
    must(sg_data_open(TINY_CONCAT, SG_VERIFY_AUTO, &f.data, &err), &err);
    const sg_config config = tiny_config(kind, vocab, TINY_LENGTH);
    must(sg_model_new(f.context, &config, 3, &f.dense, &err), &err);
    return f;
}

static void end(fixture *f)
{
    sg_model_free(f->dense);
    sg_data_free(f->data);
    sg_context_free(f->context);
    tiny_disk_free(f->disk);
}

#endif
