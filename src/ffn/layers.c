// Which layers of a model are sparse, and what a layer is: of a configuration with some dense
// layers each layer is one of a model of one kind, so that nothing else knows of placement.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/number_list.h"
#include "ffn/sparsity.h"

bool sg_layers_have(const char *layers, int64_t layer)
{
    const int64_t number = layer + 1;
    if (layers[0] == '\0' || strcmp(layers, "all") == 0) return true;
    if (strncmp(layers, "every:", 6) == 0) return number % strtoll(layers + 6, NULL, 10) == 0;
    int64_t first, last;
    for (const char *at = layers; sg_list_item(&at, &first, &last); at += *at == ',')
        if (number >= first && number <= last) return true;
    return false;
}

static sg_status layers_wrong(const char *layers, const char *field, int64_t count, const char *why,
                              sg_error *err)
{
    return sg_fail(err, SG_ERR_ARGUMENT,
                   "%s: found \"%s\", expected all, every:N or a list such as 1,3 or 2-4,6, "
                   "ascending, of layers 1 to %lld: %s",
                   field, layers, (long long)count, why);
}

sg_status sg_layers_check(const char *layers, const char *field, int64_t count, sg_error *err)
{
    const char *at = layers, *why = NULL;
    int64_t first, last, before = 0;
    if (strcmp(at, "all") == 0) return SG_OK;
    if (strncmp(at, "every:", 6) == 0) {
        char *end;
        long long every = strtoll(at + 6, &end, 10);
        if (at[6] < '0' || at[6] > '9' || *end != '\0')
            why = "there is no number behind every:";
        else if (every < 1 || every > count)
            why = "N must be 1 to the number of layers";
        return why == NULL ? SG_OK : layers_wrong(layers, field, count, why, err);
    }
    do {
        if (!sg_list_item(&at, &first, &last))
            why = "an item is no number";
        else if (first <= before || last < first)
            why = "it does not ascend";
        else if (last > count)
            why = "there is no such layer";
        if (why != NULL) return layers_wrong(layers, field, count, why, err);
        before = last;
    } while (*at++ == ',');
    if (at[-1] == '\0') return SG_OK;
    return layers_wrong(layers, field, count, "something follows a number", err);
}

// ---- values of each layer -----------------------------------------------------------------------

// The fields that such lists stand in for.
typedef struct layers_list {
    size_t list, value; // offsets in sg_config
    bool number;        // double, else int64_t
} layers_list;

static const layers_list lists[] = {
    {offsetof(sg_config, ffn_layer_block_size), offsetof(sg_config, ffn_block_size), false},
    {offsetof(sg_config, ffn_layer_top_k), offsetof(sg_config, ffn_top_k), false},
    {offsetof(sg_config, ffn_layer_threshold), offsetof(sg_config, ffn_threshold), true},
};
enum { list_count = sizeof lists / sizeof *lists };

static const char *layers_text(const sg_config *c, const layers_list *list)
{
    return (const char *)c + list->list;
}

static bool layers_have_lists(const sg_config *c)
{
    bool any = false;
    for (int i = 0; i < list_count; i++)
        any = any || layers_text(c, &lists[i])[0] != '\0';
    return any;
}

static sg_status layers_check_list(const sg_config *c, const layers_list *list, sg_error *err)
{
    const char *at = layers_text(c, list);
    int64_t found = 0;
    double value;
    while (*at != '\0' && sg_list_number(&at, !list->number, &value))
        found++;
    if (*at == '\0' && found == c->num_hidden_layers) return SG_OK;
    return sg_fail(err, SG_ERR_ARGUMENT, "%s: found \"%.60s\", expected %lld numbers, as 8,8,16",
                   sg_ffn_field(list->list)->name, layers_text(c, list),
                   (long long)c->num_hidden_layers);
}

// *own: the configuration with the values of a layer, of lists that were checked.
static void layers_own(const sg_config *c, int64_t layer, sg_config *own)
{
    *own = *c;
    for (int i = 0; i < list_count; i++) {
        const char *at = layers_text(c, &lists[i]);
        char *member = (char *)own;
        double value = 0;
        if (*at == '\0') continue;
        for (int64_t l = 0; l <= layer; l++)
            sg_list_number(&at, !lists[i].number, &value);
        if (lists[i].number)
            *(double *)(void *)(member + lists[i].value) = value;
        else
            *(int64_t *)(void *)(member + lists[i].value) = (int64_t)value;
        sg_field_clear(sg_ffn_field(lists[i].list), own);
    }
}

static sg_status layers_check_lists(const sg_config *c, sg_error *err)
{
    if (!layers_have_lists(c)) return SG_OK;
    for (int i = 0; i < list_count; i++)
        if (layers_text(c, &lists[i])[0] != '\0') SG_TRY(layers_check_list(c, &lists[i], err));
    if (c->ffn_share_pool && c->ffn_layer_block_size[0] != '\0')
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "ffn_layer_block_size: found \"%.60s\", expected none where ffn_share_pool "
                       "is 1",
                       c->ffn_layer_block_size);
    for (int64_t l = 0; l < c->num_hidden_layers; l++) {
        sg_config own;
        if (!sg_ffn_is_sparse(c, l)) continue;
        layers_own(c, l, &own);
        const sg_status status = sg_family_complete(&own, err);
        if (status != SG_OK) return sg_fail_context(err, status, "layer %lld", (long long)l + 1);
    }
    return SG_OK;
}

// ---- which are sparse ---------------------------------------------------------------------------

static void layers_fill(sg_config *c, size_t offset)
{
    const sg_field *field = sg_ffn_field(offset);
    if (sg_field_is_empty(field, c)) sg_field_fill(field, c);
}

static sg_status layers_field(const sg_config *c, size_t offset, sg_error *err)
{
    const sg_field *field = sg_ffn_field(offset);
    return sg_field_check(field, field->name, "", c, err);
}

static sg_status layers_complete(sg_config *c, sg_error *err)
{
    if (!sg_family_is_sparse(sg_family_find(c->ffn))) {
        memset(c->ffn_layers, 0, sizeof c->ffn_layers);
        memset(c->ffn_dense, 0, sizeof c->ffn_dense);
        c->ffn_dense_size = c->ffn_share_pool = 0;
        return SG_OK;
    }
    layers_fill(c, offsetof(sg_config, ffn_layers));
    SG_TRY(sg_layers_check(c->ffn_layers, "ffn_layers", c->num_hidden_layers, err));
    SG_TRY(layers_field(c, offsetof(sg_config, ffn_share_pool), err));
    SG_TRY(layers_check_lists(c, err));
    bool dense = false;
    for (int64_t l = 0; l < c->num_hidden_layers; l++)
        dense = dense || !sg_ffn_is_sparse(c, l);
    if (!dense) {
        memset(c->ffn_dense, 0, sizeof c->ffn_dense);
        c->ffn_dense_size = 0;
        return SG_OK;
    }
    char list[SG_FAMILY_LIST];
    layers_fill(c, offsetof(sg_config, ffn_dense));
    const sg_family *family = sg_family_find(c->ffn_dense);
    if (family == NULL || sg_family_is_sparse(family))
        return sg_fail(err, SG_ERR_ARGUMENT, "ffn_dense: found \"%s\", expected one of %s",
                       c->ffn_dense, sg_family_list(list, sizeof list, sg_family_is_dense));
    if (c->ffn_dense_size == 0)
        c->ffn_dense_size =
            c->ffn_intermediate_size ? c->ffn_intermediate_size : 4 * c->hidden_size;
    return layers_field(c, offsetof(sg_config, ffn_dense_size), err);
}

sg_status sg_ffn_complete(sg_config *config, sg_error *err)
{
    SG_TRY(sg_family_complete(config, err));
    return layers_complete(config, err);
}

bool sg_ffn_is_sparse(const sg_config *c, int64_t layer)
{
    return sg_family_is_sparse(sg_family_find(c->ffn)) && sg_layers_have(c->ffn_layers, layer);
}

int64_t sg_ffn_first_sparse(const sg_config *c)
{
    for (int64_t l = 0; l < c->num_hidden_layers; l++)
        if (sg_ffn_is_sparse(c, l)) return l;
    return 0;
}

// Whether a dense layer beside sparse ones has their activation: both are gated, or neither and the
// sparse one was dense.
static bool layers_alike(const sg_config *c, const sg_family *dense)
{
    if (sg_ffn_is_gated(c) != dense->memory->gated) return false;
    return dense->memory->gated || sg_ffn_memory_of(c) == &sg_memory_of_moefied;
}

const sg_config *sg_ffn_layer_config(const sg_config *c, int64_t layer, sg_config *own)
{
    if (!sg_family_is_sparse(sg_family_find(c->ffn))) return c;
    if (sg_ffn_is_sparse(c, layer)) {
        if (!layers_have_lists(c)) return c;
        layers_own(c, layer, own);
        return own;
    }
    *own = *c;
    memcpy(own->ffn, c->ffn_dense, sizeof own->ffn);
    memset(own->ffn_router, 0, sizeof own->ffn_router);
    if (!layers_alike(c, sg_family_find(own->ffn)))
        memset(own->ffn_activation, 0, sizeof own->ffn_activation);
    own->ffn_intermediate_size = c->ffn_dense_size;
    // Nothing is left that could be wrong: the width has been checked.
    (void)sg_ffn_complete(own, NULL);
    return own;
}

sg_memory_shape sg_ffn_memory_at(const sg_config *config, int64_t layer)
{
    sg_config own;
    return sg_ffn_memory(sg_ffn_layer_config(config, layer, &own));
}

// ---- one layer, and all -------------------------------------------------------------------------

static int64_t layers_sparse(const sg_config *c)
{
    int64_t count = 0;
    for (int64_t l = 0; l < c->num_hidden_layers; l++)
        count += sg_ffn_is_sparse(c, l);
    return count;
}

void sg_ffn_params(const sg_config *config, int64_t layer, const char *prefix, sg_param_list *list)
{
    sg_config dense;
    const sg_config *c = sg_ffn_layer_config(config, layer, &dense);
    sg_memory_place place = {
        .list = list, .prefix = prefix, .tables = prefix, .table = "mlp.experts.", .readers = 1};
    if (c->ffn_share_pool) {
        place.tables = layer == sg_ffn_first_sparse(c) ? "model.shared_memory." : NULL;
        place.table = "experts.";
        place.readers = layers_sparse(c);
    }
    sg_family_params(c, &place);
}

sg_tensor *sg_ffn_build(const sg_builder *builder, sg_tensor *x)
{
    sg_config dense;
    sg_builder of = *builder;
    of.config = sg_ffn_layer_config(builder->config, builder->layer, &dense);
    if (sg_build_is_soft(&of)) of.config = sg_soft_config(of.config, &dense);
    return sg_family_build(&of, x);
}

sg_ffn_count sg_ffn_counts(const sg_config *config, int64_t layer)
{
    sg_config dense;
    return sg_family_count(sg_ffn_layer_config(config, layer, &dense));
}

// A shared memory is there once, and what its layers read of it together is at most all different.
static void layers_share(const sg_config *c, int64_t layers, sg_ffn_count *total)
{
    const sg_ffn_count one = sg_ffn_counts(c, sg_ffn_first_sparse(c));
    const sg_memory_shape m = sg_ffn_memory(c);
    const int64_t stored = m.pools * m.blocks, read = m.channels * m.selected;
    total->neurons -= (layers - 1) * stored * m.block;
    total->idle_parameters -= layers * one.idle_parameters;
    if (layers * read < stored)
        total->idle_parameters += one.idle_parameters / (stored - read) * (stored - layers * read);
}

sg_ffn_count sg_ffn_total(const sg_config *c)
{
    sg_ffn_count total = {0};
    for (int64_t l = 0; l < c->num_hidden_layers; l++) {
        sg_ffn_count of = sg_ffn_counts(c, l);
        total.router_flops += of.router_flops;
        total.memory_flops += of.memory_flops;
        total.neurons += of.neurons;
        total.active_neurons += of.active_neurons;
        total.idle_parameters += of.idle_parameters;
        total.numbers += of.numbers;
        if (of.hits > total.hits) total.hits = of.hits;
    }
    if (c->ffn_share_pool) layers_share(c, layers_sparse(c), &total);
    return total;
}
