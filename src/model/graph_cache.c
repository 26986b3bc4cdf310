// Who takes a graph gets one that nobody runs: one recorded for another session has the same
// operations, and what is a session's own (keys and values, positions, ids) is set before each
// pass. The mutex is held to look and to mark, never to record or to compute.
#include "model/graph_cache.h"

#include "base/alloc.h"
#include "model/model.h"

typedef struct sg_graph_block {
    void *memory;
    size_t bytes;
    struct sg_graph_block *next;
} sg_graph_block;

void sg_graph_cache_open(sg_graph_cache *cache, sg_model *model, const sg_graph_options *options)
{
    *cache = (sg_graph_cache){.model = model, .options = *options};
    pthread_mutex_init(&cache->mutex, NULL);
}

static void kept_free(sg_kept_graph *kept)
{
    if (kept == NULL) return;
    sg_graph_free(kept->graph);
    sg_free(kept->caches);
    sg_free(kept->start);
    sg_free(kept);
}

static const sg_allocator *cache_allocator(const sg_graph_cache *cache)
{
    return cache->model->context->compute.allocator;
}

// ---- under the mutex ----------------------------------------------------------------------------

static bool kept_idle(const sg_kept_graph *kept)
{
    return kept->holds == 0 && !kept->running;
}

static void cache_remove(sg_graph_cache *cache, sg_kept_graph *kept)
{
    sg_kept_graph **link = &cache->graphs;
    while (*link != kept)
        link = &(*link)->next;
    *link = kept->next;
    kept_free(kept);
}

// Frees idle graphs that no longer fit the model, and of the others the ones that have been idle
// for longest, where there are more than `most`.
static void cache_trim(sg_graph_cache *cache, int most)
{
    for (;;) {
        int idle = 0;
        sg_kept_graph *oldest = NULL;
        for (sg_kept_graph *k = cache->graphs; k != NULL; k = k->next) {
            if (!kept_idle(k)) continue;
            if (k->layout != cache->model->layout) k->used = 0;
            if (oldest == NULL || k->used < oldest->used) oldest = k;
            idle++;
        }
        if (oldest == NULL || (idle <= most && oldest->used != 0)) return;
        cache_remove(cache, oldest);
    }
}

static sg_kept_graph *cache_find(const sg_graph_cache *cache, int64_t batch, int64_t length,
                                 sg_output output, bool running)
{
    for (sg_kept_graph *k = cache->graphs; k != NULL; k = k->next)
        if (k->batch == batch && k->length == length && k->output == output &&
            k->layout == cache->model->layout && (running || !k->running))
            return k;
    return NULL;
}

// The smallest block of at least so many bytes; where there is none, the largest; or NULL.
static sg_graph_block *cache_block(sg_graph_cache *cache, size_t bytes)
{
    sg_graph_block **best = NULL;
    for (sg_graph_block **link = &cache->blocks; *link != NULL; link = &(*link)->next) {
        const size_t has = (*link)->bytes, most = best ? (*best)->bytes : 0;
        if (best == NULL || (has >= bytes ? most < bytes || has < most : has > most)) best = link;
    }
    if (best == NULL) return NULL;
    sg_graph_block *block = *best;
    *best = block->next;
    return block;
}

static void cache_clear_blocks(sg_graph_cache *cache)
{
    while (cache->blocks != NULL) {
        sg_graph_block *block = cache->blocks;
        cache->blocks = block->next;
        sg_free_to(cache_allocator(cache), block->memory, block->bytes);
        sg_free(block);
    }
}

// ---- graphs -------------------------------------------------------------------------------------

static sg_status kept_new(const sg_graph_cache *cache, int64_t batch, int64_t length,
                          sg_output output, sg_kept_graph **out, sg_error *err)
{
    const sg_model *m = cache->model;
    sg_kept_graph *k = sg_alloc_zero(1, sizeof *k);
    if (k == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a model graph");
    *k = (sg_kept_graph){.batch = batch, .length = length, .output = output, .layout = m->layout};
    // Passes with gradients keep keys and values in their own memory.
    const bool caches = !cache->options.gradient;
    k->caches = sg_alloc_zero((size_t)(m->config.num_hidden_layers * batch), sizeof *k->caches);
    k->start = sg_alloc_zero((size_t)batch, sizeof *k->start);
    sg_graph_options options = cache->options;
    options.batch = batch;
    options.length = length;
    options.output = output;
    options.threads = m->context->threads;
    options.lent = true;
    options.caches = caches ? k->caches : NULL;
    options.start = caches ? k->start : NULL;
    options.narrow = m->narrow.items;
    options.screens = caches ? sg_model_screens(m) : NULL; // through which no gradient goes
    options.adapters = m->adapters;
    // Thin products, one row a sequence, are bound by reading weights, which are not in bf16.
    options.compute = length > 1 ? m->compute : SG_COMPUTE_F32;
    options.logits_compute = length > 1 ? m->logits_compute : SG_COMPUTE_F32;
    sg_status status = k->caches == NULL || k->start == NULL
                           ? sg_fail(err, SG_ERR_MEMORY, "out of memory for a model graph")
                           : SG_OK;
    if (status == SG_OK && caches && batch * length <= SG_SPARSE_ROWS)
        status = sg_model_columns(cache->model, &options.columns, err);
    if (status == SG_OK)
        status = sg_graph_new(&m->config, &m->params, m->values, NULL, &m->rope, &options,
                              &k->graph, err);
    if (status != SG_OK) {
        kept_free(k);
        return status;
    }
    *out = k;
    return SG_OK;
}

// One of that shape, marked as running or held.
static sg_status cache_get(sg_graph_cache *cache, int64_t batch, int64_t length, sg_output output,
                           bool run, sg_kept_graph **out, sg_error *err)
{
    pthread_mutex_lock(&cache->mutex);
    sg_kept_graph *kept = cache_find(cache, batch, length, output, !run);
    const bool found = kept != NULL;
    if (found && run) kept->running = true;
    if (found && !run) kept->holds++;
    pthread_mutex_unlock(&cache->mutex);
    if (!found) {
        SG_TRY(kept_new(cache, batch, length, output, &kept, err));
        kept->running = run;
        kept->holds = run ? 0 : 1;
        pthread_mutex_lock(&cache->mutex);
        kept->next = cache->graphs;
        cache->graphs = kept;
        pthread_mutex_unlock(&cache->mutex);
    }
    *out = kept;
    return SG_OK;
}

sg_status sg_graph_cache_hold(sg_graph_cache *cache, int64_t batch, int64_t length,
                              sg_output output, sg_kept_graph **kept, sg_error *err)
{
    return cache_get(cache, batch, length, output, false, kept, err);
}

void sg_graph_cache_drop(sg_graph_cache *cache, sg_kept_graph *kept)
{
    if (kept == NULL) return;
    pthread_mutex_lock(&cache->mutex);
    kept->holds--;
    kept->used = ++cache->passes;
    cache_trim(cache, SG_GRAPHS_KEPT);
    pthread_mutex_unlock(&cache->mutex);
}

// A block of at least so many bytes in place of `block`, which may be NULL.
static sg_graph_block *block_of(const sg_allocator *from, sg_graph_block *block, size_t bytes)
{
    if (block == NULL) block = sg_alloc_zero(1, sizeof *block);
    if (block == NULL || block->bytes >= bytes) return block;
    sg_free_to(from, block->memory, block->bytes);
    block->memory = sg_alloc_from(from, bytes);
    block->bytes = bytes;
    if (block->memory != NULL) return block;
    sg_free(block);
    return NULL;
}

sg_status sg_graph_cache_take(sg_graph_cache *cache, int64_t batch, int64_t length,
                              sg_output output, sg_kept_graph **out, sg_error *err)
{
    sg_kept_graph *kept;
    SG_TRY(cache_get(cache, batch, length, output, true, &kept, err));
    const size_t bytes = sg_tape_bytes(kept->graph->tape);
    pthread_mutex_lock(&cache->mutex);
    sg_graph_block *block = cache_block(cache, bytes);
    pthread_mutex_unlock(&cache->mutex);
    kept->block = block_of(cache_allocator(cache), block, bytes);
    if (kept->block == NULL) {
        sg_graph_cache_give(cache, kept);
        return sg_fail(err, SG_ERR_MEMORY, "out of memory: activations take %zu bytes", bytes);
    }
    sg_tape_lend(kept->graph->tape, kept->block->memory);
    *out = kept;
    return SG_OK;
}

void sg_graph_cache_give(sg_graph_cache *cache, sg_kept_graph *kept)
{
    pthread_mutex_lock(&cache->mutex);
    if (kept->block != NULL) {
        kept->block->next = cache->blocks;
        cache->blocks = kept->block;
        kept->block = NULL;
    }
    kept->running = false;
    kept->used = ++cache->passes;
    cache_trim(cache, SG_GRAPHS_KEPT);
    pthread_mutex_unlock(&cache->mutex);
}

void sg_graph_cache_clear(sg_graph_cache *cache)
{
    pthread_mutex_lock(&cache->mutex);
    cache_trim(cache, 0);
    cache_clear_blocks(cache);
    pthread_mutex_unlock(&cache->mutex);
}

void sg_graph_cache_close(sg_graph_cache *cache)
{
    if (cache->model == NULL) return;
    sg_graph_cache_clear(cache);
    pthread_mutex_destroy(&cache->mutex);
}
