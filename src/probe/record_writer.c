// Two batches go round: one is filled while the other is written.
#include "probe/record_writer.h"

#include <pthread.h>

#include "base/alloc.h"
#include "base/clock.h"

enum { writer_batches = 2 };
static const double writer_commit = 2; // seconds between two of them

struct sg_record_writer {
    sg_database *database;
    sg_record_rows *rows;
    sg_record_batch batches[writer_batches];
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    // Under the mutex.
    int64_t put, written; // batches
    bool ends;
    sg_status status;
    sg_error err;
    // The thread's.
    bool open; // a transaction is
    double began;
};

static sg_status writer_commit_now(sg_record_writer *w, sg_error *err)
{
    if (!w->open) return SG_OK;
    w->open = false;
    return sg_database_commit(w->database, err);
}

static sg_status writer_write(sg_record_writer *w, const sg_record_batch *b, sg_error *err)
{
    if (!w->open) {
        SG_TRY(sg_database_begin(w->database, err));
        w->open = true;
        w->began = sg_clock_seconds();
    }
    SG_TRY(sg_record_rows_add(w->rows, b, err));
    return sg_clock_seconds() - w->began < writer_commit ? SG_OK : writer_commit_now(w, err);
}

// The number of the next batch, or -1 at the end.
static int64_t writer_next(sg_record_writer *w)
{
    pthread_mutex_lock(&w->mutex);
    while (w->put == w->written && !w->ends)
        pthread_cond_wait(&w->changed, &w->mutex);
    const int64_t next = w->put > w->written ? w->written : -1;
    pthread_mutex_unlock(&w->mutex);
    return next;
}

static void writer_done(sg_record_writer *w, sg_status status, const sg_error *err)
{
    pthread_mutex_lock(&w->mutex);
    w->written++;
    if (w->status == SG_OK && status != SG_OK) {
        w->status = status;
        w->err = *err;
    }
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->mutex);
}

static void *writer_main(void *user)
{
    sg_record_writer *w = user;
    sg_status status = SG_OK;
    int64_t next;
    while ((next = writer_next(w)) >= 0) {
        sg_error err = {0};
        // Behind a failure batches are only taken.
        if (status == SG_OK) status = writer_write(w, &w->batches[next % writer_batches], &err);
        writer_done(w, status, &err);
    }
    sg_error err = {0};
    if (status == SG_OK) {
        status = writer_commit_now(w, &err);
        pthread_mutex_lock(&w->mutex);
        if (status != SG_OK) {
            w->status = status;
            w->err = err;
        }
        pthread_mutex_unlock(&w->mutex);
    }
    if (status != SG_OK) sg_database_rollback(w->database);
    return NULL;
}

sg_status sg_record_writer_begin(sg_database *database, sg_record_rows *rows,
                                 const sg_record_pass *pass, sg_record_writer **out, sg_error *err)
{
    *out = NULL;
    sg_record_writer *w = sg_alloc_zero(1, sizeof *w);
    if (w == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a record");
    w->database = database;
    w->rows = rows;
    sg_status status = SG_OK;
    for (int i = 0; i < writer_batches && status == SG_OK; i++)
        status = sg_record_batch_new(pass, &w->batches[i], err);
    pthread_mutex_init(&w->mutex, NULL);
    pthread_cond_init(&w->changed, NULL);
    if (status == SG_OK && pthread_create(&w->thread, NULL, writer_main, w) != 0)
        status = sg_fail(err, SG_ERR_MEMORY, "record: the system gives no thread");
    if (status == SG_OK) {
        *out = w;
        return SG_OK;
    }
    pthread_mutex_destroy(&w->mutex);
    pthread_cond_destroy(&w->changed);
    for (int i = 0; i < writer_batches; i++)
        sg_record_batch_free(&w->batches[i]);
    sg_free(w);
    return status;
}

sg_status sg_record_writer_batch(sg_record_writer *w, sg_record_batch **batch, sg_error *err)
{
    pthread_mutex_lock(&w->mutex);
    while (w->put - w->written == writer_batches && w->status == SG_OK)
        pthread_cond_wait(&w->changed, &w->mutex);
    const sg_status status = w->status;
    if (status != SG_OK && err != NULL) *err = w->err;
    pthread_mutex_unlock(&w->mutex);
    *batch = &w->batches[w->put % writer_batches];
    return status;
}

void sg_record_writer_put(sg_record_writer *w)
{
    pthread_mutex_lock(&w->mutex);
    w->put++;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->mutex);
}

sg_status sg_record_writer_end(sg_record_writer *w, sg_error *err)
{
    pthread_mutex_lock(&w->mutex);
    w->ends = true;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->mutex);
    pthread_join(w->thread, NULL);
    const sg_status status = w->status;
    if (status != SG_OK && err != NULL) *err = w->err;
    pthread_mutex_destroy(&w->mutex);
    pthread_cond_destroy(&w->changed);
    for (int i = 0; i < writer_batches; i++)
        sg_record_batch_free(&w->batches[i]);
    sg_free(w);
    return status;
}
