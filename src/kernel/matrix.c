// oneDNN's matmul primitives, of versions 2 and 3. See matrix.h.
#include "kernel/matrix.h"

#if defined(SG_ONEDNN) && !defined(SG_REAL_DOUBLE)

#include <dlfcn.h>
#include <dnnl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#if DNNL_VERSION_MAJOR >= 3
typedef dnnl_memory_desc_t matrix_desc; // a handle
#define MATRIX_FUNCTIONS_OF_VERSION(F)                                                             \
    F(memory_desc_create_with_tag) F(memory_desc_destroy) F(matmul_primitive_desc_create)
#else
typedef dnnl_memory_desc_t matrix_desc[1];
#define MATRIX_FUNCTIONS_OF_VERSION(F)                                                             \
    F(memory_desc_init_by_tag) F(matmul_desc_init) F(primitive_desc_create)
#endif

#define MATRIX_FUNCTIONS(F)                                                                        \
    F(engine_create)                                                                               \
    F(stream_create)                                                                               \
    F(primitive_attr_create)                                                                       \
    F(primitive_attr_destroy)                                                                      \
    F(primitive_attr_set_scratchpad_mode)                                                          \
    F(primitive_desc_query)                                                                        \
    F(primitive_desc_query_md)                                                                     \
    F(primitive_desc_destroy)                                                                      \
    F(primitive_create)                                                                            \
    F(primitive_destroy)                                                                           \
    F(primitive_execute)                                                                           \
    F(primitive_get_primitive_desc)                                                                \
    F(memory_create)                                                                               \
    F(memory_destroy)                                                                              \
    F(memory_set_data_handle)                                                                      \
    F(memory_desc_get_size)                                                                        \
    MATRIX_FUNCTIONS_OF_VERSION(F)

#define MATRIX_MEMBER(name) __typeof__(dnnl_##name) *name;
#define MATRIX_FIND(name)   (matrix.name = (__typeof__(matrix.name))dlsym(library, "dnnl_" #name)) &&

enum {
    matrix_m = SG_PANEL_TILE / SG_PANEL_ROWS,
    matrix_n = SG_PANEL_WIDTH / SG_PANEL_BLOCK,
    matrix_k = SG_PANEL_DEPTH / SG_PANEL_STEP,
    matrix_calls = 16, // of one shape at a time without making objects anew
    // Bytes of the stack that the library may have: 5 KB, and sums of the largest product where it
    // cuts k by itself.
    matrix_scratch = SG_PANEL_TILE * SG_PANEL_WIDTH * 4 + (16 << 10),
    matrix_arguments = 4
};

static const int matrix_names[matrix_arguments] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST,
                                                   DNNL_ARG_SCRATCHPAD};

// The library's objects that say where A, B, C and the scratch of one call lie: making them takes
// longer than a small product, so they are kept for the next call of that shape.
typedef struct matrix_call {
    atomic_flag taken;
    dnnl_memory_t memory[matrix_arguments];
    void *places[matrix_arguments]; // where they say
} matrix_call;

typedef struct matrix_shape {
    dnnl_primitive_t primitive; // NULL: the library refuses, and need not be asked again
    matrix_call calls[matrix_calls];
} matrix_shape;

static struct {
    int (*get_threads)(void);
    void (*set_threads)(int);
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    sg_panel_order order;
    pthread_mutex_t mutex; // held while a shape is made
    // NULL: not asked for yet. Never freed.
    _Atomic(matrix_shape *) shapes[matrix_m][matrix_n][matrix_k];
    MATRIX_FUNCTIONS(MATRIX_MEMBER)
} matrix = {.mutex = PTHREAD_MUTEX_INITIALIZER};

// The caller's OpenMP, if it has any, keeps its threads.
static int matrix_hold(void)
{
    const int threads = matrix.get_threads ? matrix.get_threads() : 1;
    if (threads != 1) matrix.set_threads(1);
    return threads;
}

static void matrix_release(int threads)
{
    if (threads != 1) matrix.set_threads(threads);
}

// ---- shapes -------------------------------------------------------------------------------------

static dnnl_status_t matrix_describe(matrix_desc *desc, int64_t rows, int64_t columns,
                                     dnnl_data_type_t type, dnnl_format_tag_t tag)
{
    const dnnl_dims_t dims = {rows, columns};
#if DNNL_VERSION_MAJOR >= 3
    return matrix.memory_desc_create_with_tag(desc, 2, dims, type, tag);
#else
    return matrix.memory_desc_init_by_tag(*desc, 2, dims, type, tag);
#endif
}

static dnnl_status_t matrix_primitive_desc(dnnl_primitive_desc_t *out, int64_t m, int64_t n,
                                           int64_t k, sg_panel_order order,
                                           const_dnnl_primitive_attr_t attributes)
{
    const dnnl_format_tag_t tag = order == SG_PANEL_PAIRS ? dnnl_BA16a64b2a : dnnl_ab;
    matrix_desc desc[3];
    memset(desc, 0, sizeof desc);
    dnnl_status_t status = matrix_describe(&desc[0], m, k, dnnl_bf16, dnnl_ab);
    if (status == dnnl_success) status = matrix_describe(&desc[1], k, n, dnnl_bf16, tag);
    if (status == dnnl_success) status = matrix_describe(&desc[2], m, n, dnnl_f32, dnnl_ab);
#if DNNL_VERSION_MAJOR >= 3
    if (status == dnnl_success)
        status = matrix.matmul_primitive_desc_create(out, matrix.engine, desc[0], desc[1], NULL,
                                                     desc[2], attributes);
    for (int i = 0; i < 3; i++)
        if (desc[i] != NULL) matrix.memory_desc_destroy(desc[i]);
#else
    dnnl_matmul_desc_t matmul;
    if (status == dnnl_success)
        status = matrix.matmul_desc_init(&matmul, desc[0], desc[1], NULL, desc[2]);
    if (status == dnnl_success)
        status = matrix.primitive_desc_create(out, &matmul, attributes, matrix.engine, NULL);
#endif
    return status;
}

// Fast code of the library, not its loops that take anything, and content with the scratch there
// is.
static bool matrix_is_fast(const_dnnl_primitive_desc_t desc)
{
    const char *name = NULL;
    if (matrix.primitive_desc_query(desc, dnnl_query_impl_info_str, 0, &name) != dnnl_success)
        return false;
    if (name == NULL || strncmp(name, "ref", 3) == 0) return false;
    return matrix.memory_desc_get_size(
               matrix.primitive_desc_query_md(desc, dnnl_query_scratchpad_md, 0)) <= matrix_scratch;
}

static dnnl_primitive_t matrix_primitive(int64_t m, int64_t n, int64_t k, sg_panel_order order)
{
    dnnl_primitive_t primitive = NULL;
    dnnl_primitive_desc_t desc = NULL;
    dnnl_primitive_attr_t attributes = NULL;
    const int threads = matrix_hold();
    if (matrix.primitive_attr_create(&attributes) == dnnl_success &&
        matrix.primitive_attr_set_scratchpad_mode(attributes, dnnl_scratchpad_mode_user) ==
            dnnl_success &&
        matrix_primitive_desc(&desc, m, n, k, order, attributes) == dnnl_success &&
        matrix_is_fast(desc) && matrix.primitive_create(&primitive, desc) != dnnl_success)
        primitive = NULL;
    if (desc != NULL) matrix.primitive_desc_destroy(desc);
    if (attributes != NULL) matrix.primitive_attr_destroy(attributes);
    matrix_release(threads);
    return primitive;
}

// Not of base/alloc.h: a shape lives as long as the process and is no caller's to free, so it is
// not among the blocks that callers are asked to give back.
static matrix_shape *matrix_shape_new(int64_t m, int64_t n, int64_t k)
{
    matrix_shape *shape = calloc(1, sizeof *shape);
    if (shape != NULL) shape->primitive = matrix_primitive(m, n, k, matrix.order);
    return shape;
}

// Made once and kept until the process ends; NULL where there is no memory for it.
static matrix_shape *matrix_shape_of(int64_t m, int64_t n, int64_t k)
{
    _Atomic(matrix_shape *) *place =
        &matrix.shapes[m / SG_PANEL_ROWS - 1][n / SG_PANEL_BLOCK - 1][k / SG_PANEL_STEP - 1];
    matrix_shape *shape = atomic_load_explicit(place, memory_order_acquire);
    if (shape != NULL) return shape;
    pthread_mutex_lock(&matrix.mutex);
    shape = atomic_load(place);
    if (shape == NULL) {
        shape = matrix_shape_new(m, n, k);
        atomic_store_explicit(place, shape, memory_order_release);
    }
    pthread_mutex_unlock(&matrix.mutex);
    return shape;
}

// ---- calls --------------------------------------------------------------------------------------

static void matrix_forget(matrix_call *call)
{
    for (int i = 0; i < matrix_arguments; i++) {
        if (call->memory[i] != NULL) matrix.memory_destroy(call->memory[i]);
        call->memory[i] = NULL;
    }
}

static bool matrix_prepare(matrix_call *call, dnnl_primitive_t primitive, void *const *places)
{
    static const dnnl_query_t queries[matrix_arguments] = {
        dnnl_query_src_md, dnnl_query_weights_md, dnnl_query_dst_md, dnnl_query_scratchpad_md};
    const_dnnl_primitive_desc_t desc;
    if (matrix.primitive_get_primitive_desc(primitive, &desc) != dnnl_success) return false;
    for (int i = 0; i < matrix_arguments; i++)
        if (matrix.memory_create(&call->memory[i],
                                 matrix.primitive_desc_query_md(desc, queries[i], 0), matrix.engine,
                                 places[i]) == dnnl_success) {
            call->places[i] = places[i];
        } else {
            call->memory[i] = NULL;
            matrix_forget(call);
            return false;
        }
    return true;
}

static bool matrix_execute(matrix_call *call, dnnl_primitive_t primitive, void *const *places)
{
    if (call->memory[0] == NULL && !matrix_prepare(call, primitive, places)) return false;
    dnnl_exec_arg_t arguments[matrix_arguments];
    for (int i = 0; i < matrix_arguments; i++) {
        // Of B it takes most of a microsecond, and B is the same for many tiles.
        if (call->places[i] != places[i] &&
            matrix.memory_set_data_handle(call->memory[i], places[i]) != dnnl_success) {
            matrix_forget(call);
            return false;
        }
        call->places[i] = places[i];
        arguments[i] = (dnnl_exec_arg_t){matrix_names[i], call->memory[i]};
    }
    const int threads = matrix_hold();
    const dnnl_status_t status =
        matrix.primitive_execute(primitive, matrix.stream, matrix_arguments, arguments);
    matrix_release(threads);
    return status == dnnl_success;
}

bool sg_matrix_run(float *c, const sg_bf16 *a, const sg_bf16 *b, int64_t m, int64_t n, int64_t k)
{
    _Alignas(64) unsigned char scratch[matrix_scratch];
    matrix_shape *shape = matrix.order != SG_PANEL_NONE ? matrix_shape_of(m, n, k) : NULL;
    if (shape == NULL || shape->primitive == NULL) return false;
    void *const places[matrix_arguments] = {(void *)(uintptr_t)a, (void *)(uintptr_t)b, c, scratch};
    for (int i = 0; i < matrix_calls; i++) {
        matrix_call *call = &shape->calls[i];
        if (atomic_flag_test_and_set_explicit(&call->taken, memory_order_acquire)) continue;
        const bool done = matrix_execute(call, shape->primitive, places);
        atomic_flag_clear_explicit(&call->taken, memory_order_release);
        return done;
    }
    matrix_call once = {.memory = {NULL}};
    const bool done = matrix_execute(&once, shape->primitive, places);
    matrix_forget(&once);
    return done;
}

// ---- the library --------------------------------------------------------------------------------

static bool matrix_find(void *library)
{
    return MATRIX_FUNCTIONS(MATRIX_FIND) true;
}

// Which order of B the library has fast code for, tried with the smallest product.
static sg_panel_order matrix_find_order(void)
{
    static const sg_panel_order orders[] = {SG_PANEL_PAIRS, SG_PANEL_PLAIN};
    for (int i = 0; i < 2; i++) {
        dnnl_primitive_t primitive =
            matrix_primitive(SG_PANEL_ROWS, SG_PANEL_BLOCK, SG_PANEL_STEP, orders[i]);
        if (primitive == NULL) continue;
        matrix.primitive_destroy(primitive);
        return orders[i];
    }
    return SG_PANEL_NONE;
}

void sg_matrix_open(void *library, int (*get_threads)(void), void (*set_threads)(int))
{
    matrix.get_threads = get_threads;
    matrix.set_threads = set_threads;
    if (matrix_find(library) && matrix.engine_create(&matrix.engine, dnnl_cpu, 0) == dnnl_success &&
        matrix.stream_create(&matrix.stream, matrix.engine, dnnl_stream_default_flags) ==
            dnnl_success)
        matrix.order = matrix_find_order();
}

sg_panel_order sg_matrix_order(void)
{
    return matrix.order;
}

#else

void sg_matrix_open(void *library, int (*get_threads)(void), void (*set_threads)(int))
{
    (void)library, (void)get_threads, (void)set_threads;
}

sg_panel_order sg_matrix_order(void)
{
    return SG_PANEL_NONE;
}

bool sg_matrix_run(float *c, const sg_bf16 *a, const sg_bf16 *b, int64_t m, int64_t n, int64_t k)
{
    (void)c, (void)a, (void)b, (void)m, (void)n, (void)k;
    return false;
}

#endif
