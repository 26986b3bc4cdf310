// In this order: statistics of the calibration part, as far as something needs them; the split; the
// router, trained on its own part of the text where it is trained.
#include "sparsify/moefy_layer.h"

#include <math.h>

#include "base/alloc.h"
#include "base/status.h"
#include "sparsify/pair_sums.h"
#include "sparsify/router_train.h"
#include "sparsify/top_sets.h"

enum { moefy_top = 10, moefy_rounds = 20, moefy_batch = 512 }; // CMoE's K_a; MoEfication's batch

void sg_moefy_layer_free(sg_moefy_layer *l)
{
    sg_partition_free(&l->split);
    sg_router_net_free(&l->net);
    sg_free(l->means);
    sg_free(l->chosen);
    *l = (sg_moefy_layer){0};
}

sg_partition sg_moefy_routed(const sg_partition *split)
{
    sg_partition routed = *split;
    routed.blocks -= split->shared;
    routed.order += split->shared * split->size;
    routed.shared = 0;
    return routed;
}

// ---- statistics ---------------------------------------------------------------------------------

typedef struct moefy_statistics {
    sg_pair_sums pairs;
    sg_top_sets sets;
    sg_activation_means means;
    bool has_pairs, has_sets, has_means;
} moefy_statistics;

static void statistics_free(moefy_statistics *s)
{
    if (s->has_pairs) sg_pair_sums_free(&s->pairs);
    if (s->has_sets) sg_top_sets_free(&s->sets);
    if (s->has_means) sg_activation_means_free(&s->means);
}

static sg_status statistics_add(void *user, int64_t first, int64_t count, const sg_real *a,
                                sg_error *err)
{
    moefy_statistics *s = user;
    (void)first;
    if (s->has_pairs) SG_TRY(sg_pair_sums_add(&s->pairs, a, count, err));
    if (s->has_sets) SG_TRY(sg_top_sets_add(&s->sets, a, count, err));
    if (s->has_means) SG_TRY(sg_activation_means_add(&s->means, a, count, err));
    return SG_OK;
}

static sg_status statistics_new(const sg_moefy_source *s, moefy_statistics *t, sg_error *err)
{
    const int64_t D = s->dense->neurons, most = s->text->parts[SG_USE_CALIBRATION].rows;
    *t = (moefy_statistics){0};
    if (sg_moefy_is(s->options->split, "coactivation")) {
        SG_TRY(sg_pair_sums_new(s->compute, D, SG_PAIR_CLAMPED, most, &t->pairs, err));
        t->has_pairs = true;
    }
    if (sg_moefy_is(s->options->split, "shared")) {
        const int64_t top = D < moefy_top ? D : moefy_top;
        SG_TRY(sg_top_sets_new(s->compute, D, top, most, &t->sets, err));
        t->has_sets = true;
    }
    if (s->config->ffn_mean || sg_moefy_centres(s->options)) {
        SG_TRY(sg_activation_means_new(D, &t->means, err));
        t->has_means = true;
    }
    return SG_OK;
}

static sg_status statistics_collect(const sg_moefy_source *s, moefy_statistics *t, sg_error *err)
{
    const sg_calibration_part *part = &s->text->parts[SG_USE_CALIBRATION];
    SG_TRY(statistics_new(s, t, err));
    if (!t->has_pairs && !t->has_sets && !t->has_means) return SG_OK;
    SG_TRY(sg_dense_layer_activate(s->compute, s->dense, s->x + part->row * s->dense->d, part->rows,
                                   statistics_add, t, err));
    if (t->has_pairs) sg_pair_sums_finish(&t->pairs);
    return SG_OK;
}

// ---- the split ----------------------------------------------------------------------------------

static sg_status moefy_kmeans(const sg_moefy_source *s, int64_t size, uint64_t seed,
                              sg_partition *split, sg_error *err)
{
    const sg_dense_layer *l = s->dense;
    sg_kmeans_options k = sg_kmeans_options_default();
    k.kind = sg_moefy_is(s->options->split, "auction") ? SG_KMEANS_AUCTION : SG_KMEANS_EXACT;
    k.seed = seed;
    return sg_partition_kmeans(s->compute, l->gate, l->neurons, l->d, size, &k, split, NULL, err);
}

static sg_status moefy_shared(const sg_moefy_source *s, int64_t size, uint64_t seed,
                              const moefy_statistics *t, sg_moefy_layer *to, sg_error *err)
{
    const int64_t shared = s->options->shared_blocks;
    to->chosen = sg_alloc_array((size_t)(s->dense->neurons / size), sizeof *to->chosen);
    if (to->chosen == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a split");
    return sg_partition_shared(&t->sets, size, shared, moefy_rounds, seed, &to->split, to->chosen,
                               NULL, err);
}

static sg_status moefy_split(const sg_moefy_source *s, const moefy_statistics *t,
                             sg_moefy_layer *to, sg_error *err)
{
    const char *by = s->options->split;
    const int64_t size = s->config->ffn_block_size, D = s->dense->neurons;
    const uint64_t seed = s->options->seed + (uint64_t)s->layer;
    double sum = 0;
    if (sg_moefy_is(by, "random"))
        SG_TRY(sg_partition_random(D, size, seed, &to->split, err));
    else if (sg_moefy_is(by, "coactivation"))
        SG_TRY(sg_partition_graph(&t->pairs, size, seed, &to->split, err));
    else if (sg_moefy_is(by, "shared"))
        SG_TRY(moefy_shared(s, size, seed, t, to, err));
    else
        SG_TRY(moefy_kmeans(s, size, seed, &to->split, err));
    SG_TRY(sg_partition_distance(s->compute, &to->split, s->dense->gate, s->dense->d, &sum, err));
    to->quality.distance = sum / (double)D;
    return SG_OK;
}

// ---- targets ------------------------------------------------------------------------------------

typedef struct moefy_target {
    sg_compute compute;
    sg_target_source source;
    const sg_real *x; // (rows, d); NULL: not scaled
    int64_t d;
    sg_real *values; // (rows, routed blocks)
    sg_real *room;   // (rows of a call, blocks)
    int64_t room_rows;
} moefy_target;

// One over the length of a row, 0 of a row of zeros.
static double moefy_scale(const sg_real *x, int64_t d)
{
    double square = 0;
    for (int64_t i = 0; i < d; i++)
        square += (double)x[i] * (double)x[i];
    return square > 0 ? 1 / sqrt(square) : 0;
}

static sg_status moefy_target_rows(void *user, int64_t first, int64_t count, const sg_real *a,
                                   sg_error *err)
{
    moefy_target *t = user;
    const int64_t all = t->source.partition->blocks, shared = t->source.partition->shared;
    const int64_t E = all - shared;
    if (count > t->room_rows) {
        sg_free(t->room);
        t->room = sg_alloc_array((size_t)(count * all), sizeof *t->room);
        t->room_rows = t->room != NULL ? count : 0;
        if (t->room == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for targets");
    }
    SG_TRY(sg_block_targets(t->compute, &t->source, a, count, t->room, err));
    for (int64_t i = 0; i < count; i++) {
        const double by = t->x != NULL ? moefy_scale(t->x + (first + i) * t->d, t->d) : 1;
        for (int64_t e = 0; e < E; e++)
            t->values[(first + i) * E + e] = (sg_real)((double)t->room[i * all + shared + e] * by);
    }
    return SG_OK;
}

sg_status sg_moefy_targets(const sg_moefy_source *s, const sg_moefy_layer *l,
                           sg_calibration_use use, sg_block_target kind, bool scaled,
                           sg_real *values, sg_error *err)
{
    const sg_calibration_part *part = &s->text->parts[use];
    const sg_real *x = s->x + part->row * s->dense->d;
    moefy_target t = {.compute = s->compute,
                      .source = {.partition = &l->split,
                                 .kind = kind,
                                 .means = l->means,
                                 .w_out = s->dense->out,
                                 .d = s->dense->d},
                      .x = scaled ? x : NULL,
                      .d = s->dense->d,
                      .values = values};
    sg_status status =
        sg_dense_layer_activate(s->compute, s->dense, x, part->rows, moefy_target_rows, &t, err);
    sg_free(t.room);
    return status;
}

// ---- the router ---------------------------------------------------------------------------------

static sg_block_target moefy_target_kind(const sg_sparsify_options *o)
{
    const char *target = sg_sparsify_target(o);
    return sg_moefy_is(target, "norm")        ? SG_TARGET_NORM
           : sg_moefy_is(target, "deviation") ? SG_TARGET_DEVIATION
           : sg_moefy_is(target, "absolute")  ? SG_TARGET_ABSOLUTE
                                              : SG_TARGET_POSITIVE;
}

static sg_status moefy_router_start(const sg_moefy_source *s, const sg_moefy_layer *l,
                                    sg_router_net *net, sg_error *err)
{
    const char *by = s->options->router;
    const sg_dense_layer *dense = s->dense;
    const sg_partition routed = sg_moefy_routed(&l->split);
    const int64_t width = s->config->ffn_router_size, E = routed.blocks;
    const uint64_t seed = s->options->seed + (uint64_t)s->layer;
    const sg_neuron_rows rows = {.neurons = dense->neurons,
                                 .d = dense->d,
                                 .gate = dense->gate,
                                 .up = dense->linear,
                                 .bias = dense->gate_bias,
                                 .activation = dense->activation,
                                 .glu = dense->form.kind};
    if (sg_moefy_is(by, "representative"))
        return sg_router_of_neurons(l->chosen, E, &rows, net, err);
    if (sg_moefy_is(by, "sigmoid"))
        return sg_router_random_start(SG_ROUTER_SIGMOID, dense->d, 0, E, seed, net, err);
    if (sg_moefy_is(by, "norm") || (sg_moefy_is(by, "mlp") && width != 0 && width != E))
        return sg_router_random_start(sg_moefy_is(by, "norm") ? SG_ROUTER_NORM : SG_ROUTER_MLP,
                                      dense->d, width != 0 ? width : E, E, seed, net, err);
    if (sg_moefy_is(by, "mlp"))
        return sg_router_mlp_start(&routed, dense->gate, dense->d, net, err);
    return sg_router_of_centres(&routed, dense->gate, dense->d, sg_moefy_is(by, "random"), net,
                                err);
}

static sg_router_training moefy_training(const sg_moefy_source *s, const sg_moefy_layer *l)
{
    const sg_sparsify_options *o = s->options;
    const int64_t rows = s->text->parts[SG_USE_ROUTER].rows;
    sg_router_training t = sg_router_training_default(l->net.form);
    const int64_t trained = rows - (int64_t)(t.held_out * (double)rows);
    t.batch = trained < moefy_batch ? trained : moefy_batch;
    t.seed = o->seed + (uint64_t)s->layer;
    // Epochs are compared at the count that is read, where that is one count and not all.
    if (sg_moefy_is(o->select, "top_k") && s->config->ffn_top_k < l->net.blocks)
        t.kept = (double)s->config->ffn_top_k / (double)l->net.blocks;
    t.epochs = o->router_epochs;
    if (o->router_rate > 0) t.learning_rate = o->router_rate;
    return t;
}

static sg_status moefy_router_train(const sg_moefy_source *s, sg_moefy_layer *l, sg_error *err)
{
    const sg_calibration_part *part = &s->text->parts[SG_USE_ROUTER];
    const sg_block_target kind = moefy_target_kind(s->options);
    const sg_router_training training = moefy_training(s, l);
    sg_router_trained trained = {0};
    sg_real *targets = sg_alloc_array((size_t)part->rows, (size_t)l->net.blocks * sizeof *targets);
    if (targets == NULL)
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for what a router is trained on");
    // MoEfication's targets are of x / |x|; of a layer of degree 1 that is the same.
    sg_status status =
        sg_moefy_targets(s, l, SG_USE_ROUTER, kind, kind == SG_TARGET_POSITIVE, targets, err);
    if (status == SG_OK)
        status = sg_router_train(s->compute, &l->net, s->x + part->row * s->dense->d, targets,
                                 part->rows, &training, &trained, err);
    sg_free(targets);
    l->quality.router_epoch = trained.epoch + 1;
    l->quality.router_loss = trained.loss;
    return status;
}

static sg_status moefy_router(const sg_moefy_source *s, sg_moefy_layer *l, sg_error *err)
{
    SG_TRY(moefy_router_start(s, l, &l->net, err));
    return sg_moefy_trains(s->options) ? moefy_router_train(s, l, err) : SG_OK;
}

// ---- all of it ----------------------------------------------------------------------------------

static sg_status moefy_make(const sg_moefy_source *s, moefy_statistics *t, sg_moefy_layer *l,
                            sg_error *err)
{
    SG_TRY(statistics_collect(s, t, err));
    if (t->has_means) {
        l->means = sg_alloc_array((size_t)s->dense->neurons, sizeof *l->means);
        if (l->means == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for means");
        SG_TRY(sg_activation_means_read(&t->means, l->means, err));
    }
    SG_TRY(moefy_split(s, t, l, err));
    SG_TRY(moefy_router(s, l, err));
    return sg_moefy_quality(s, l, err);
}

sg_status sg_moefy_layer_make(const sg_moefy_source *s, sg_moefy_layer *l, sg_error *err)
{
    moefy_statistics t = {0};
    *l = (sg_moefy_layer){0};
    sg_status status = moefy_make(s, &t, l, err);
    statistics_free(&t);
    if (status != SG_OK) sg_moefy_layer_free(l);
    return status;
}
