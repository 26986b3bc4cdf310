// The library of dense products: that it uses what the processor has, that its bits depend on the
// numbers alone, and that it fails in one line where there is no room.
#include "unit/kernel_check.h"

#include <pthread.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernel/gemm.h"
#include "kernel/products.h"

#ifdef SG_ONEDNN
static const bool products_built = true;
#else
static const bool products_built = false;
#endif

// By flags, whatever the model: a processor that is newer than the library has its widest vectors
// used too. The library takes a narrower set from the environment; the tests run without.
static void test_choice(void **state)
{
    (void)state;
    const char *name = sg_products_name();
    assert_null(sg_products_lack());
    if (!products_built) {
        assert_int_equal(strncmp(name, "plain", 5), 0);
        return;
    }
    assert_true(strncmp(name, "onednn ", 7) == 0);
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
        assert_non_null(strstr(name, "(avx512_core"));
    else if (__builtin_cpu_supports("avx2"))
        assert_non_null(strstr(name, "(avx2"));
#endif
    assert_int_equal(sg_products_refused(), 0);
}

// ---- the same bits ----------------------------------------------------------------------------

enum { products_max = 520 * 520, products_shift = 19, products_threads = 3 };

static const struct {
    int64_t m, n, k;
} products_shapes[] = {{256, 256, 512}, {512, 512, 512}, {17, 33, 65}, {5, 300, 256},
                       {32, 512, 500},  {100, 1, 200},   {3, 7, 519},  {200, 130, 33}};

typedef struct products_worker {
    const float *a, *b, *c;
    uint64_t hashes[sizeof products_shapes / sizeof *products_shapes * 8];
    bool moved; // operands at another address each time
    int failures;
} products_worker;

static uint64_t products_hash(const float *c, int64_t count)
{
    uint64_t hash = 1469598103934665603U;
    for (int64_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, c + i, sizeof bits);
        hash = (hash ^ bits) * 1099511628211U;
    }
    return hash;
}

static void *products_work(void *context)
{
    products_worker *w = context;
    float *buffer[3];
    int at = 0;
    for (int i = 0; i < 3; i++)
        buffer[i] = malloc((products_max + products_shift) * sizeof(float));
    for (size_t s = 0; s < sizeof products_shapes / sizeof *products_shapes; s++) {
        const int64_t m = products_shapes[s].m, n = products_shapes[s].n, k = products_shapes[s].k;
        for (int kind = 0; kind < 8; kind++, at++) {
            for (int repeat = 0; repeat < 3; repeat++) {
                const int shift = w->moved ? (at * 7 + repeat * 5) % products_shift : 0;
                float *a = buffer[0] + shift, *b = buffer[1] + (shift * 3) % products_shift;
                float *c = buffer[2] + (shift * 11) % products_shift;
                memcpy(a, w->a, (size_t)(m * k) * sizeof *a);
                memcpy(b, w->b, (size_t)(k * n) * sizeof *b);
                memcpy(c, w->c, (size_t)(m * n) * sizeof *c);
                sg_gemm_serial(sg_kernels_ref(), &(sg_gemm_args){.transpose_a = kind & 1,
                                                                 .transpose_b = kind & 2,
                                                                 .m = m,
                                                                 .n = n,
                                                                 .k = k,
                                                                 .alpha = 1,
                                                                 .a = a,
                                                                 .lda = kind & 1 ? m : k,
                                                                 .b = b,
                                                                 .ldb = kind & 2 ? k : n,
                                                                 .beta = kind & 4 ? 1.0f : 0.0f,
                                                                 .c = c,
                                                                 .ldc = n});
                const uint64_t hash = products_hash(c, m * n);
                if (repeat > 0 && hash != w->hashes[at]) w->failures++;
                w->hashes[at] = hash;
            }
        }
    }
    for (int i = 0; i < 3; i++)
        free(buffer[i]);
    return NULL;
}

static void test_bits(void **state)
{
    (void)state;
    float *a = check_random(products_max, 1, 1), *b = check_random(products_max, 2, 1);
    float *c = check_random(products_max, 3, 1);
    products_worker workers[products_threads];
    pthread_t threads[products_threads];
    for (int i = 0; i < products_threads; i++) {
        workers[i] = (products_worker){.a = a, .b = b, .c = c, .moved = i > 0};
        assert_int_equal(pthread_create(&threads[i], NULL, products_work, &workers[i]), 0);
    }
    for (int i = 0; i < products_threads; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(workers[i].failures, 0);
        assert_memory_equal(workers[i].hashes, workers[0].hashes, sizeof workers[0].hashes);
    }
    free(a);
    free(b);
    free(c);
}

// ---- little memory ----------------------------------------------------------------------------

// Runs `what` in a process of its own and returns how that ended.
static int products_apart(int (*what)(void))
{
    int ended = -1;
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) _exit(what());
    assert_int_equal(waitpid(child, &ended, 0), child);
    assert_true(WIFEXITED(ended));
    return WEXITSTATUS(ended);
}

static int products_limit(rlim_t soft)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_AS, &limit) != 0) return -1;
    limit.rlim_cur = soft;
    return setrlimit(RLIMIT_AS, &limit);
}

static int products_without_room(void)
{
    sg_error err = {0};
    if (products_limit(60 << 20) != 0) return 2;
    if (sg_products_open(&err) != SG_ERR_MEMORY || strstr(err.message, "ulimit -v") == NULL)
        return 3;
    if (strcmp(sg_products_name(), "plain") != 0) return 4;
    if (products_limit(RLIM_INFINITY) != 0) return 5;
    return sg_products_open(&err) == SG_OK && strcmp(sg_products_name(), "plain") != 0 ? 0 : 6;
}

// What the process has already may be enough for the library: it is taken too. Ends with the
// process.
static void products_take_all(void)
{
    for (size_t bytes = (size_t)1 << 26; bytes >= 16; bytes /= 2)
        while (1) {
            volatile char *taken = malloc(bytes);
            if (taken == NULL) break;
            taken[0] = 1;
        }
}

// The plain loops compute what the library has no memory for, and that is counted.
static int products_starved(void)
{
    enum { n = 512 };
    float *a = check_random(n * n, 1, 1), *b = check_random(n * n, 2, 1);
    float *c = calloc((size_t)n * n, sizeof *c);
    const sg_gemm_args args = {.transpose_b = true, // copied first, for which memory is taken
                               .m = n,
                               .n = n,
                               .k = n,
                               .alpha = 1,
                               .a = a,
                               .lda = n,
                               .b = b,
                               .ldb = n,
                               .beta = 0,
                               .c = c,
                               .ldc = n};
    const struct rlimit none = {0, RLIM_INFINITY};
    if (sg_products_open(NULL) != SG_OK) return 2;
    if (products_limit(0) != 0 || setrlimit(RLIMIT_DATA, &none) != 0) return 3;
    products_take_all();
    sg_gemm_serial(sg_kernels_ref(), &args);
    for (int i = 0; i < n; i += 37) {
        double sum = 0;
        for (int k = 0; k < n; k++)
            sum += (double)a[i * n + k] * (double)b[i * n + k];
        if (!(fabs(sum - (double)c[i * n + i]) < 1e-3)) return 4;
    }
    return sg_products_refused() == 1 ? 0 : 5;
}

static void test_little_memory(void **state)
{
    (void)state;
#if defined(__SANITIZE_ADDRESS__)
    skip(); // its own memory needs all the room there is
#endif
    if (!products_built) skip();
    assert_string_equal(sg_products_name(), "plain"); // nobody opened it yet
    assert_int_equal(products_apart(products_without_room), 0);
    assert_int_equal(products_apart(products_starved), 0);
}

static int open_products(void **state)
{
    (void)state;
    return sg_products_open(NULL) == SG_OK ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_little_memory), // first
        cmocka_unit_test_setup(test_choice, open_products),
        cmocka_unit_test_setup(test_bits, open_products),
    };
    unsetenv("ONEDNN_MAX_CPU_ISA");
    unsetenv("DNNL_MAX_CPU_ISA");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
