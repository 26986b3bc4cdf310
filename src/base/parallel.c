// Each thread has its share of a loop's chunks, a run of neighbours that is the same in the next
// loop of as many, so that what it read stays in its cache; then it takes what others have not
// begun. A loop ends when its chunks are done: a worker that did not come in time, since other
// programs have its processor, is not waited for. The caller is worker 0, and a loop of one chunk
// wakes nobody. Workers that spin see a new job by one store, and only those that sleep need the
// mutex, since a token is decoded in some hundred loops of a few microseconds.
#include "base/parallel.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cpu.h"

// One job at a time. A thread that waits looks again and again before it sleeps, because a step or
// a token is a train of short loops: first with the processor to itself (some 50 us), then leaving
// it to others that want it (some milliseconds). A virtual processor that sleeps may be gone for
// long. With more threads than processors, all that would only keep the others from working.
enum { pool_pauses = 1000, pool_looks = 9000 };

// The present job as one number: how many workers are inside it, whether it may still be entered,
// and above them its number.
#define POOL_INSIDE ((uint64_t)0xffff)
#define POOL_OPEN   ((uint64_t)1 << 16)
enum { pool_number_at = 32 };

typedef struct pool_worker {
    atomic_llong next; // chunk of its share, which ends before `end`
    int64_t end;
    sg_pool *pool;
    pthread_t thread;
    int index;
    char apart[64]; // from the next one's counter
} pool_worker;

struct sg_pool {
    int threads;
    int spin;             // tries before sleeping
    pool_worker *workers; // (threads); the caller is worker 0
    pthread_mutex_t turn; // held by the caller whose job is being done
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    pthread_cond_t done;
    // A thread that goes to sleep counts itself in, then looks again; a thread that wakes others
    // changes what they look at, then looks at the count. All threads see these in one order
    // (seq_cst), so at least one of the two sees the other.
    atomic_ullong job;
    atomic_int sleeping; // workers that wait for `wake`
    atomic_bool resting; // the caller waits for `done`
    atomic_bool quit;
    sg_chunk_fn fn; // these and the shares are read inside a job only, and written when nobody is
    void *context;
};

// Between two looks.
static void pool_pause(int look)
{
    if (look >= pool_pauses) {
        sched_yield();
        return;
    }
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void pool_work(sg_pool *pool, int worker)
{
    for (int i = 0, from = worker; i < pool->threads; i++) {
        pool_worker *share = &pool->workers[from];
        for (;;) {
            int64_t chunk = atomic_fetch_add_explicit(&share->next, 1, memory_order_relaxed);
            if (chunk >= share->end) break;
            pool->fn(pool->context, chunk, worker);
        }
        from = from + 1 < pool->threads ? from + 1 : 0;
    }
}

static uint32_t pool_number(uint64_t job)
{
    return (uint32_t)(job >> pool_number_at);
}

static uint32_t pool_wait(sg_pool *pool, uint32_t seen)
{
    for (int i = 0; i < pool->spin; i++) {
        uint32_t now = pool_number(atomic_load_explicit(&pool->job, memory_order_acquire));
        if (now != seen) return now;
        pool_pause(i);
    }
    pthread_mutex_lock(&pool->mutex);
    atomic_fetch_add(&pool->sleeping, 1);
    uint32_t now;
    while ((now = pool_number(atomic_load(&pool->job))) == seen)
        pthread_cond_wait(&pool->wake, &pool->mutex);
    atomic_fetch_sub(&pool->sleeping, 1);
    pthread_mutex_unlock(&pool->mutex);
    return now;
}

// False where the job of that number is over, or nearly: all its chunks have been taken.
static bool pool_enter(sg_pool *pool, uint32_t number)
{
    unsigned long long now = atomic_load(&pool->job);
    while (pool_number(now) == number && now & POOL_OPEN)
        if (atomic_compare_exchange_weak(&pool->job, &now, now + 1)) return true;
    return false;
}

static void pool_leave(sg_pool *pool)
{
    if ((atomic_fetch_sub(&pool->job, 1) & POOL_INSIDE) != 1 || !atomic_load(&pool->resting))
        return;
    pthread_mutex_lock(&pool->mutex);
    pthread_cond_signal(&pool->done);
    pthread_mutex_unlock(&pool->mutex);
}

static void *pool_main(void *argument)
{
    pool_worker *self = argument;
    sg_pool *pool = self->pool;
    uint32_t seen = 0;
    for (;;) {
        seen = pool_wait(pool, seen);
        if (atomic_load(&pool->quit)) return NULL;
        if (!pool_enter(pool, seen)) continue;
        pool_work(pool, self->index);
        pool_leave(pool);
    }
}

// Called while no thread is inside the previous job.
static void pool_post(sg_pool *pool)
{
    const uint32_t number = pool_number(atomic_load(&pool->job)) + 1;
    atomic_store(&pool->job, (uint64_t)number << pool_number_at | POOL_OPEN);
    if (atomic_load(&pool->sleeping) == 0) return;
    pthread_mutex_lock(&pool->mutex);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->mutex);
}

// Closes the job, whose chunks are all taken, and waits for those that work on some.
static void pool_finish(sg_pool *pool)
{
    if ((atomic_fetch_and(&pool->job, ~POOL_OPEN) & POOL_INSIDE) == 0) return;
    for (int i = 0; i < pool->spin; i++) {
        if ((atomic_load_explicit(&pool->job, memory_order_acquire) & POOL_INSIDE) == 0) return;
        pool_pause(i);
    }
    pthread_mutex_lock(&pool->mutex);
    atomic_store(&pool->resting, true);
    while ((atomic_load(&pool->job) & POOL_INSIDE) != 0)
        pthread_cond_wait(&pool->done, &pool->mutex);
    atomic_store(&pool->resting, false);
    pthread_mutex_unlock(&pool->mutex);
}

static void pool_stop(sg_pool *pool, int started)
{
    atomic_store(&pool->quit, true);
    pool_post(pool);
    for (int i = 1; i <= started; i++)
        pthread_join(pool->workers[i].thread, NULL);
    pthread_mutex_destroy(&pool->turn);
    pthread_mutex_destroy(&pool->mutex);
    pthread_cond_destroy(&pool->wake);
    pthread_cond_destroy(&pool->done);
    sg_free(pool->workers);
    sg_free(pool);
}

// Starts a worker that handles no signal but those of its own faults. A handler is the business of
// the threads that the program has itself, and the kernel would put what it saves on the worker's
// stack, which is not where the stack register points inside oneDNN's longest products.
static bool pool_start(pool_worker *worker)
{
    static const int faults[] = {SIGBUS, SIGFPE, SIGILL, SIGSEGV};
    sigset_t all, before;
    sigfillset(&all);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        sigdelset(&all, faults[i]);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    const bool started = pthread_create(&worker->thread, NULL, pool_main, worker) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
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
    pool->spin = threads <= sg_cpu_detect().cores ? pool_looks : 0;
    pool->workers = workers;
    pthread_mutex_init(&pool->turn, NULL);
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pthread_cond_init(&pool->done, NULL);
    for (int i = 1; i < threads; i++) {
        workers[i].pool = pool;
        workers[i].index = i;
        if (!pool_start(&workers[i])) {
            pool_stop(pool, i - 1);
            return sg_fail(err, SG_ERR_MEMORY, "cannot start thread %d of %d", i + 1, threads);
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
    pthread_mutex_lock(&pool->turn);
    pool->fn = fn;
    pool->context = context;
    for (int64_t i = 0, begin = 0; i < pool->threads; i++) {
        atomic_store_explicit(&pool->workers[i].next, begin, memory_order_relaxed);
        begin += chunks / pool->threads + (i < chunks % pool->threads);
        pool->workers[i].end = begin;
    }
    pool_post(pool);
    pool_work(pool, 0);
    pool_finish(pool);
    pthread_mutex_unlock(&pool->turn);
}

typedef struct ranges_loop {
    sg_range_fn fn;
    void *context;
    int64_t count, chunk;
} ranges_loop;

static void ranges_chunk(void *context, int64_t chunk, int worker)
{
    const ranges_loop *l = context;
    const int64_t first = chunk * l->chunk, left = l->count - first;
    const int64_t end = first + (left < l->chunk ? left : l->chunk);
    l->fn(l->context, (sg_range){first, end, chunk, worker});
}

void sg_parallel_ranges(sg_pool *pool, int64_t count, int64_t chunk, sg_range_fn fn, void *context)
{
    ranges_loop l = {fn, context, count, chunk};
    sg_parallel_for(pool, sg_chunks(count, chunk), ranges_chunk, &l);
}
