// The thread pool: every chunk runs exactly once, one worker never runs two at a time, and all of
// it holds over thousands of short loops on the same pool.
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/parallel.h"

enum { chunks_max = 1000, threads_max = 9 };

typedef struct job {
    atomic_int runs[chunks_max];
    atomic_int inside[threads_max]; // chunks now being run by a worker
    atomic_int wrong;
    int threads;
    int64_t chunks;
    long plain[chunks_max]; // written without a lock: must be seen by the caller afterwards
} job;

static void run_chunk(void *context, int64_t chunk, int worker)
{
    job *j = context;
    if (chunk < 0 || chunk >= j->chunks || worker < 0 || worker >= j->threads) {
        atomic_fetch_add(&j->wrong, 1);
        return;
    }
    if (atomic_fetch_add(&j->inside[worker], 1) != 0) atomic_fetch_add(&j->wrong, 1);
    atomic_fetch_add(&j->runs[chunk], 1);
    j->plain[chunk] = (long)chunk * 3 + 1;
    atomic_fetch_sub(&j->inside[worker], 1);
}

static void check_loop(sg_pool *pool, int threads, int64_t chunks)
{
    static job j;
    memset(&j, 0, sizeof j);
    j.threads = threads;
    j.chunks = chunks;
    sg_parallel_for(pool, chunks, run_chunk, &j);
    assert_int_equal(atomic_load(&j.wrong), 0);
    for (int64_t i = 0; i < chunks_max; i++) {
        assert_int_equal(atomic_load(&j.runs[i]), i < chunks ? 1 : 0);
        assert_int_equal(j.plain[i], i < chunks ? i * 3 + 1 : 0);
    }
}

static void test_each_chunk_once(void **state)
{
    (void)state;
    static const int64_t chunks[] = {0, 1, 2, 3, 7, 8, 9, 100, chunks_max};
    for (int threads = 1; threads < threads_max; threads++) {
        sg_pool *pool;
        assert_int_equal(sg_pool_new(threads, &pool, NULL), SG_OK);
        assert_int_equal(sg_pool_threads(pool), threads);
        for (int repeat = 0; repeat < 10; repeat++)
            for (size_t c = 0; c < sizeof chunks / sizeof *chunks; c++)
                check_loop(pool, threads, chunks[c]);
        sg_pool_free(pool);
    }
}

static void test_without_pool(void **state)
{
    (void)state;
    assert_int_equal(sg_pool_threads(NULL), 1);
    check_loop(NULL, 1, 0);
    check_loop(NULL, 1, 17);
    sg_pool_free(NULL);
}

typedef struct range_job {
    int runs[chunks_max]; // an item's, written without a lock
    int64_t count, chunk;
    atomic_int ranges, wrong;
} range_job;

static void run_range(void *context, sg_range range)
{
    range_job *j = context;
    const int64_t left = j->count - range.first;
    if (range.first != range.chunk * j->chunk || range.worker < 0 || range.worker >= threads_max ||
        range.end - range.first != (left < j->chunk ? left : j->chunk) || left < 1) {
        atomic_fetch_add(&j->wrong, 1);
        return;
    }
    atomic_fetch_add(&j->ranges, 1);
    for (int64_t i = range.first; i < range.end; i++)
        j->runs[i]++;
}

static void check_ranges(sg_pool *pool, int64_t count, int64_t chunk)
{
    static range_job j;
    memset(&j, 0, sizeof j);
    j.count = count;
    j.chunk = chunk;
    sg_parallel_ranges(pool, count, chunk, run_range, &j);
    assert_int_equal(atomic_load(&j.wrong), 0);
    assert_int_equal(atomic_load(&j.ranges), sg_chunks(count, chunk));
    for (int64_t i = 0; i < chunks_max; i++)
        assert_int_equal(j.runs[i], i < count ? 1 : 0);
}

// Every item once, cut by the chunk alone, for any number of threads.
static void test_each_item_once(void **state)
{
    (void)state;
    static const int64_t counts[] = {0, 1, 2, 31, 32, 33, 64, chunks_max - 1, chunks_max};
    static const int64_t sizes[] = {1, 2, 32, 33, chunks_max, 4 * chunks_max};
    assert_int_equal(sg_chunks(0, 32), 0);
    assert_int_equal(sg_chunks(32, 32), 1);
    assert_int_equal(sg_chunks(33, 32), 2);
    for (int threads = 0; threads <= 4; threads++) {
        sg_pool *pool = NULL; // none: the calling thread alone
        if (threads > 0) assert_int_equal(sg_pool_new(threads, &pool, NULL), SG_OK);
        for (size_t c = 0; c < sizeof counts / sizeof *counts; c++)
            for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
                check_ranges(pool, counts[c], sizes[s]);
        sg_pool_free(pool);
    }
}

static void count_chunk(void *context, int64_t chunk, int worker)
{
    (void)worker;
    int64_t *counts = context;
    counts[chunk]++;
}

// Short loops one after the other: a worker that comes late to one must not disturb the next.
static void test_many_short_loops(void **state)
{
    (void)state;
    for (int threads = 2; threads <= 4; threads++) {
        sg_pool *pool;
        int64_t counts[5] = {0};
        assert_int_equal(sg_pool_new(threads, &pool, NULL), SG_OK);
        for (int64_t loop = 1; loop <= 3000; loop++) {
            sg_parallel_for(pool, 5, count_chunk, counts);
            for (int i = 0; i < 5; i++)
                assert_int_equal(counts[i], loop);
        }
        sg_pool_free(pool);
    }
}

typedef struct caller {
    sg_pool *pool;
    int64_t counts[5];
} caller;

static void *call_loops(void *argument)
{
    caller *c = argument;
    for (int loop = 0; loop < 1000; loop++)
        sg_parallel_for(c->pool, 5, count_chunk, c->counts);
    return NULL;
}

// Loops of several threads on one pool take turns: none is lost, none runs twice.
static void test_several_callers(void **state)
{
    (void)state;
    enum { callers = 3 };
    caller all[callers] = {{0}};
    pthread_t threads[callers];
    sg_pool *pool;
    assert_int_equal(sg_pool_new(2, &pool, NULL), SG_OK);
    for (int i = 0; i < callers; i++) {
        all[i].pool = pool;
        assert_int_equal(pthread_create(&threads[i], NULL, call_loops, &all[i]), 0);
    }
    for (int i = 0; i < callers; i++) {
        pthread_join(threads[i], NULL);
        for (int c = 0; c < 5; c++)
            assert_int_equal(all[i].counts[c], 1000);
    }
    sg_pool_free(pool);
}

static void test_idle_pools(void **state)
{
    (void)state;
    for (int i = 0; i < 50; i++) { // started and stopped with nothing to do
        sg_pool *pool;
        assert_int_equal(sg_pool_new(3, &pool, NULL), SG_OK);
        sg_pool_free(pool);
    }
}

static bool fail_at(void *user, size_t bytes)
{
    (void)bytes;
    int *left = user;
    return (*left)-- != 0;
}

// ---- a worker whose processor is taken away -----------------------------------------------------

static atomic_bool held, released;

static void hold(int signal)
{
    (void)signal;
    const struct timespec moment = {.tv_nsec = 1000000};
    atomic_store(&held, true);
    while (!atomic_load(&released))
        nanosleep(&moment, NULL);
}

typedef struct meeting {
    atomic_int here;
    pthread_t other; // worker 1
} meeting;

// Two chunks that wait for each other, so that each thread has one; the worker's takes signals.
static void meet(void *context, int64_t chunk, int worker)
{
    (void)chunk;
    meeting *m = context;
    const struct timespec moment = {.tv_nsec = 100000};
    if (worker == 1) {
        sigset_t one;
        sigemptyset(&one);
        sigaddset(&one, SIGUSR1);
        pthread_sigmask(SIG_UNBLOCK, &one, NULL);
        m->other = pthread_self();
    }
    atomic_fetch_add(&m->here, 1);
    while (atomic_load(&m->here) < 2)
        nanosleep(&moment, NULL);
}

// On a busy machine a worker may be away for long: a loop that the others can do ends without it,
// and when it is back it takes part again.
static void test_worker_away(void **state)
{
    (void)state;
    const struct sigaction action = {.sa_handler = hold, .sa_flags = SA_RESTART};
    struct sigaction before;
    const struct timespec moment = {.tv_nsec = 1000000};
    meeting m = {0};
    sg_pool *pool;
    assert_int_equal(sg_pool_new(2, &pool, NULL), SG_OK);
    assert_int_equal(sigaction(SIGUSR1, &action, &before), 0);
    sg_parallel_for(pool, 2, meet, &m);
    assert_int_equal(pthread_kill(m.other, SIGUSR1), 0);
    while (!atomic_load(&held))
        nanosleep(&moment, NULL);
    for (int i = 0; i < 50; i++)
        check_loop(pool, 2, 1 + i * 7);
    atomic_store(&released, true);
    m = (meeting){0};
    sg_parallel_for(pool, 2, meet, &m);
    assert_int_equal(atomic_load(&m.here), 2);
    assert_int_equal(sigaction(SIGUSR1, &before, NULL), 0);
    sg_pool_free(pool);
}

// Handlers are for the threads of the program; faults stay a worker's own.
static void masked_chunk(void *context, int64_t chunk, int worker)
{
    atomic_int *wrong = context;
    sigset_t blocked;
    (void)chunk;
    pthread_sigmask(SIG_BLOCK, NULL, &blocked);
    const bool worked = worker > 0;
    if (sigismember(&blocked, SIGTERM) != worked || sigismember(&blocked, SIGINT) != worked ||
        sigismember(&blocked, SIGBUS) != 0)
        atomic_fetch_add(wrong, 1);
    sched_yield();
}

static void test_signals_blocked(void **state)
{
    sg_pool *pool;
    sg_error err = {0};
    atomic_int wrong = 0;
    (void)state;
    assert_int_equal(sg_pool_new(4, &pool, &err), SG_OK);
    for (int i = 0; i < 50; i++)
        sg_parallel_for(pool, 64, masked_chunk, &wrong);
    sg_pool_free(pool);
    assert_int_equal(atomic_load(&wrong), 0);
}

static void test_refusals(void **state)
{
    (void)state;
    sg_pool *pool;
    sg_error err;
    assert_int_equal(sg_pool_new(0, &pool, &err), SG_ERR_ARGUMENT);
    assert_null(pool);
    assert_non_null(strstr(err.message, "found 0"));
    assert_int_equal(sg_pool_new(1025, &pool, &err), SG_ERR_ARGUMENT);
    const int64_t live = sg_alloc_live();
    for (int n = 0; n < 2; n++) {
        int left = n;
        sg_alloc_set_hook(fail_at, &left);
        sg_status status = sg_pool_new(2, &pool, &err);
        sg_alloc_set_hook(NULL, NULL);
        assert_int_equal(status, SG_ERR_MEMORY);
        assert_null(pool);
        assert_int_equal(sg_alloc_live(), live);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_chunk_once),  cmocka_unit_test(test_without_pool),
        cmocka_unit_test(test_many_short_loops), cmocka_unit_test(test_several_callers),
        cmocka_unit_test(test_idle_pools),       cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_worker_away),      cmocka_unit_test(test_signals_blocked),
        cmocka_unit_test(test_each_item_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
