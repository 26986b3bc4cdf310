// Threads take chunks from one counter and meet at the end of each loop; the caller is worker 0 and
// takes chunks too, so a loop of one chunk wakes nobody.
#include "base/parallel.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cpu.h"

// One job at a time. Workers spin for a short while before they sleep, because a training step is
// a train of loops a few hundred microseconds long. With more threads than processors, spinning
// would only keep the others from working.
enum { pool_spin = 4000 };

typedef struct pool_worker {
    sg_pool *pool;
    pthread_t thread;
    int index;
} pool_worker;

struct sg_pool {
    int threads;
    int spin;             // tries before sleeping
    pool_worker *workers; // threads - 1 of them; the caller is worker 0
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    pthread_cond_t done;
    atomic_uint generation; // counts jobs; changed under the mutex
    atomic_int busy;        // workers that have not finished the present job
    bool quit;
    sg_chunk_fn fn;
    void *context;
    int64_t chunks;
    atomic_llong next;
};

static void pool_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

static void pool_work(sg_pool *pool, int worker)
{
    for (;;) {
        int64_t chunk = atomic_fetch_add_explicit(&pool->next, 1, memory_order_relaxed);
        if (chunk >= pool->chunks) return;
        pool->fn(pool->context, chunk, worker);
    }
}

static unsigned pool_wait(sg_pool *pool, unsigned seen)
{
    for (int i = 0; i < pool->spin; i++) {
        unsigned now = atomic_load_explicit(&pool->generation, memory_order_acquire);
        if (now != seen) return now;
        pool_pause();
    }
    pthread_mutex_lock(&pool->mutex);
    unsigned now;
    while ((now = atomic_load_explicit(&pool->generation, memory_order_acquire)) == seen)
        pthread_cond_wait(&pool->wake, &pool->mutex);
    pthread_mutex_unlock(&pool->mutex);
    return now;
}

static void *pool_main(void *argument)
{
    pool_worker *self = argument;
    sg_pool *pool = self->pool;
    unsigned seen = 0;
    for (;;) {
        seen = pool_wait(pool, seen);
        if (pool->quit) return NULL;
        pool_work(pool, self->index);
        if (atomic_fetch_sub_explicit(&pool->busy, 1, memory_order_acq_rel) == 1) {
            pthread_mutex_lock(&pool->mutex);
            pthread_cond_signal(&pool->done);
            pthread_mutex_unlock(&pool->mutex);
        }
    }
}

static void pool_post(sg_pool *pool)
{
    pthread_mutex_lock(&pool->mutex);
    atomic_fetch_add_explicit(&pool->generation, 1, memory_order_release);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->mutex);
}

static void pool_stop(sg_pool *pool, int started)
{
    pool->quit = true;
    pool_post(pool);
    for (int i = 0; i < started; i++)
        pthread_join(pool->workers[i].thread, NULL);
    pthread_mutex_destroy(&pool->mutex);
    pthread_cond_destroy(&pool->wake);
    pthread_cond_destroy(&pool->done);
    sg_free(pool->workers);
    sg_free(pool);
}

sg_status sg_pool_new(int threads, sg_pool **out, sg_error *err)
{
    *out = NULL;
    if (threads < 1 || threads > 1024)
        return sg_fail(err, SG_ERR_ARGUMENT, "threads: found %d, expected 1 to 1024", threads);
    sg_pool *pool = sg_alloc_zero(1, sizeof *pool);
    pool_worker *workers = sg_alloc_zero((size_t)threads, sizeof *workers);
    if (pool == NULL || workers == NULL) {
        sg_free(pool);
        sg_free(workers);
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for %d threads", threads);
    }
    pool->threads = threads;
    pool->spin = threads <= sg_cpu_detect().cores ? pool_spin : 0;
    pool->workers = workers;
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pthread_cond_init(&pool->done, NULL);
    for (int i = 0; i < threads - 1; i++) {
        workers[i] = (pool_worker){.pool = pool, .index = i + 1};
        if (pthread_create(&workers[i].thread, NULL, pool_main, &workers[i]) != 0) {
            pool_stop(pool, i);
            return sg_fail(err, SG_ERR_MEMORY, "cannot start thread %d of %d", i + 2, threads);
        }
    }
    *out = pool;
    return SG_OK;
}

void sg_pool_free(sg_pool *pool)
{
    if (pool != NULL) pool_stop(pool, pool->threads - 1);
}

int sg_pool_threads(const sg_pool *pool)
{
    return pool ? pool->threads : 1;
}

void sg_parallel_for(sg_pool *pool, int64_t chunks, sg_chunk_fn fn, void *context)
{
    if (pool == NULL || pool->threads == 1 || chunks <= 1) {
        for (int64_t i = 0; i < chunks; i++)
            fn(context, i, 0);
        return;
    }
    pool->fn = fn;
    pool->context = context;
    pool->chunks = chunks;
    atomic_store_explicit(&pool->next, 0, memory_order_relaxed);
    atomic_store_explicit(&pool->busy, pool->threads - 1, memory_order_relaxed);
    pool_post(pool);
    pool_work(pool, 0);
    for (int i = 0; i < pool->spin; i++) {
        if (atomic_load_explicit(&pool->busy, memory_order_acquire) == 0) break;
        pool_pause();
    }
    pthread_mutex_lock(&pool->mutex);
    while (atomic_load_explicit(&pool->busy, memory_order_acquire) != 0)
        pthread_cond_wait(&pool->done, &pool->mutex);
    pthread_mutex_unlock(&pool->mutex);
}
