// One mutex guards all that threads share: the states of jobs, the wish to stop, and messages.
#include "sweep/sweep_jobs.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "sweep/columns.h"

typedef enum job_state { JOB_IDLE = 0, JOB_GIVEN, JOB_ENDED } job_state;

typedef struct job {
    sg_sweep_jobs *of;
    pthread_t thread;
    bool started;
    sg_context *context;
    job_state state;
    sg_sweep_task task;
    sg_status status;
    sg_error err;
    sg_sweep_job seen; // how it goes
} job;

// Messages beyond these are counted and not kept.
enum { message_bytes = 512, messages_most = 64 };

struct sg_sweep_jobs {
    sg_sweep_jobs_options options;
    pthread_mutex_t mutex;
    pthread_cond_t work, news; // for jobs; for who waits for them
    bool stop, quit;
    job *jobs; // (options.jobs)
    char (*messages)[message_bytes];
    size_t first, count, lost;
};

// ---- what jobs say ------------------------------------------------------------------------------

static void job_log(void *user, sg_log_level level, const char *message)
{
    job *j = user;
    sg_sweep_jobs *all = j->of;
    if (level != SG_LOG_WARNING) return;
    pthread_mutex_lock(&all->mutex);
    if (all->count < messages_most) {
        char *text = all->messages[(all->first + all->count++) % messages_most];
        snprintf(text, message_bytes, "%.200s: %.300s", j->task.what, message);
    } else {
        all->lost++;
    }
    pthread_cond_broadcast(&all->news);
    pthread_mutex_unlock(&all->mutex);
}

static bool job_event(void *user, const sg_train_event *event)
{
    job *j = user;
    sg_sweep_jobs *all = j->of;
    pthread_mutex_lock(&all->mutex);
    j->seen.step = event->step;
    j->seen.steps = event->steps;
    j->seen.loss = event->loss;
    j->seen.tokens_per_second = event->tokens_per_second;
    j->seen.seconds = event->seconds;
    const bool go = !all->stop;
    pthread_mutex_unlock(&all->mutex);
    return go;
}

bool sg_sweep_jobs_message(sg_sweep_jobs *all, char *text, size_t capacity)
{
    pthread_mutex_lock(&all->mutex);
    const bool found = all->count > 0 || all->lost > 0;
    if (all->count > 0) {
        snprintf(text, capacity, "%s", all->messages[all->first]);
        all->first = (all->first + 1) % messages_most;
        all->count--;
    } else if (all->lost > 0) {
        snprintf(text, capacity, "%zu more warnings of runs were not kept", all->lost);
        all->lost = 0;
    }
    pthread_mutex_unlock(&all->mutex);
    return found;
}

void sg_sweep_jobs_look(sg_sweep_jobs *all, sg_sweep_job *out)
{
    pthread_mutex_lock(&all->mutex);
    for (int64_t i = 0; i < all->options.jobs; i++)
        out[i] = all->jobs[i].seen;
    pthread_mutex_unlock(&all->mutex);
}

// ---- the work -----------------------------------------------------------------------------------

static void job_work(job *j)
{
    const sg_sweep_jobs_options *o = &j->of->options;
    const sg_sweep_making making = {.context = j->context,
                                    .folder = j->task.folder,
                                    .data = o->data,
                                    .facts = o->facts,
                                    .command = o->command,
                                    .blocks = o->blocks,
                                    .max_epochs = o->max_epochs,
                                    .options = &j->task.options,
                                    .event = job_event,
                                    .user = j};
    j->err = (sg_error){0};
    j->status = sg_sweep_make_run(&making, &j->task.row, &j->err);
}

static void *job_thread(void *user)
{
    job *j = user;
    sg_sweep_jobs *all = j->of;
    pthread_mutex_lock(&all->mutex);
    while (!all->quit) {
        if (j->state != JOB_GIVEN) {
            pthread_cond_wait(&all->work, &all->mutex);
            continue;
        }
        pthread_mutex_unlock(&all->mutex);
        job_work(j);
        pthread_mutex_lock(&all->mutex);
        j->state = JOB_ENDED;
        j->seen.active = false;
        pthread_cond_broadcast(&all->news);
    }
    pthread_mutex_unlock(&all->mutex);
    return NULL;
}

// ---- making and ending --------------------------------------------------------------------------

static sg_status jobs_start(sg_sweep_jobs *all, sg_error *err)
{
    for (int64_t i = 0; i < all->options.jobs; i++) {
        job *j = &all->jobs[i];
        const sg_context_options options = {.threads = all->options.threads,
                                            .log = job_log,
                                            .log_user = j,
                                            .kernel = all->options.kernel};
        j->of = all;
        SG_TRY(sg_context_new(&options, &j->context, err));
        const int code = pthread_create(&j->thread, NULL, job_thread, j);
        if (code != 0)
            return sg_fail(err, SG_ERR_MEMORY, "cannot start a thread: %s", strerror(code));
        j->started = true;
    }
    return SG_OK;
}

sg_status sg_sweep_jobs_new(const sg_sweep_jobs_options *options, sg_sweep_jobs **out,
                            sg_error *err)
{
    *out = NULL;
    sg_sweep_jobs *all = sg_alloc_zero(1, sizeof *all);
    if (all == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for jobs");
    all->options = *options;
    pthread_mutex_init(&all->mutex, NULL);
    pthread_cond_init(&all->work, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&all->news, &monotonic);
    pthread_condattr_destroy(&monotonic);
    all->jobs = sg_alloc_zero((size_t)options->jobs, sizeof *all->jobs);
    all->messages = sg_alloc_zero(messages_most, sizeof *all->messages);
    sg_status status = all->jobs != NULL && all->messages != NULL
                           ? jobs_start(all, err)
                           : sg_fail(err, SG_ERR_MEMORY, "out of memory for jobs");
    if (status == SG_OK) *out = all;
    if (status != SG_OK) sg_sweep_jobs_free(all);
    return status;
}

void sg_sweep_jobs_end(sg_sweep_jobs *all)
{
    pthread_mutex_lock(&all->mutex);
    all->stop = all->quit = true;
    pthread_cond_broadcast(&all->work);
    pthread_mutex_unlock(&all->mutex);
    for (int64_t i = 0; i < all->options.jobs && all->jobs != NULL; i++) {
        job *j = &all->jobs[i];
        if (j->started) pthread_join(j->thread, NULL);
        if (j->state != JOB_IDLE) sg_sweep_row_clear(&j->task.row);
        sg_context_free(j->context);
        j->started = false;
        j->state = JOB_IDLE;
        j->context = NULL;
    }
}

void sg_sweep_jobs_free(sg_sweep_jobs *all)
{
    if (all == NULL) return;
    sg_sweep_jobs_end(all);
    pthread_mutex_destroy(&all->mutex);
    pthread_cond_destroy(&all->work);
    pthread_cond_destroy(&all->news);
    sg_free(all->jobs);
    sg_free(all->messages);
    sg_free(all);
}

// ---- for who gives them work --------------------------------------------------------------------

sg_context *sg_sweep_jobs_context(const sg_sweep_jobs *all)
{
    return all->jobs[0].context;
}

int64_t sg_sweep_jobs_active(sg_sweep_jobs *all)
{
    int64_t active = 0;
    pthread_mutex_lock(&all->mutex);
    for (int64_t i = 0; i < all->options.jobs; i++)
        active += all->jobs[i].state != JOB_IDLE;
    pthread_mutex_unlock(&all->mutex);
    return active;
}

bool sg_sweep_jobs_has(sg_sweep_jobs *all, const char *id)
{
    bool found = false;
    pthread_mutex_lock(&all->mutex);
    for (int64_t i = 0; i < all->options.jobs; i++)
        found |= all->jobs[i].state != JOB_IDLE && strcmp(all->jobs[i].task.row.id, id) == 0;
    pthread_mutex_unlock(&all->mutex);
    return found;
}

void sg_sweep_jobs_give(sg_sweep_jobs *all, const sg_sweep_task *task)
{
    pthread_mutex_lock(&all->mutex);
    for (int64_t i = 0; i < all->options.jobs; i++) {
        job *j = &all->jobs[i];
        if (j->state != JOB_IDLE) continue;
        j->task = *task;
        j->seen = (sg_sweep_job){.active = true};
        memcpy(j->seen.id, task->row.id, sizeof j->seen.id);
        memcpy(j->seen.what, task->what, sizeof j->seen.what);
        j->state = JOB_GIVEN;
        break;
    }
    pthread_cond_broadcast(&all->work);
    pthread_mutex_unlock(&all->mutex);
}

static bool jobs_news(const sg_sweep_jobs *all)
{
    bool news = all->count > 0;
    for (int64_t i = 0; i < all->options.jobs; i++)
        news |= all->jobs[i].state == JOB_ENDED;
    return news;
}

void sg_sweep_jobs_wait(sg_sweep_jobs *all, double seconds)
{
    struct timespec end;
    clock_gettime(CLOCK_MONOTONIC, &end);
    const double whole = (double)end.tv_sec + 1e-9 * (double)end.tv_nsec + seconds;
    end.tv_sec = (time_t)whole;
    end.tv_nsec = (long)((whole - (double)end.tv_sec) * 1e9);
    pthread_mutex_lock(&all->mutex);
    while (!jobs_news(all) && pthread_cond_timedwait(&all->news, &all->mutex, &end) != ETIMEDOUT)
        continue;
    pthread_mutex_unlock(&all->mutex);
}

void sg_sweep_jobs_stop(sg_sweep_jobs *all)
{
    pthread_mutex_lock(&all->mutex);
    all->stop = true;
    pthread_mutex_unlock(&all->mutex);
}

bool sg_sweep_jobs_take(sg_sweep_jobs *all, sg_sweep_task *task, sg_status *status, sg_error *err)
{
    bool found = false;
    pthread_mutex_lock(&all->mutex);
    for (int64_t i = 0; i < all->options.jobs && !found; i++) {
        job *j = &all->jobs[i];
        if (j->state != JOB_ENDED) continue;
        *task = j->task;
        *status = j->status;
        *err = j->err;
        j->state = JOB_IDLE;
        found = true;
    }
    pthread_mutex_unlock(&all->mutex);
    return found;
}
