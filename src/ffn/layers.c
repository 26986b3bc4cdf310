// Which layers of a model are sparse, and what a layer is: of a configuration with some dense
// layers each layer is one of a model of one kind, so that nothing else knows of placement.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/number_list.h"
#include "ffn/ffn.h"

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

const sg_config *sg_ffn_layer_config(const sg_config *c, int64_t layer, sg_config *dense)
{
    const sg_family *family = sg_family_find(c->ffn), *other;
    if (sg_ffn_is_sparse(c, layer) || !sg_family_is_sparse(family)) return c;
    *dense = *c;
    memcpy(dense->ffn, c->ffn_dense, sizeof dense->ffn);
    memset(dense->ffn_router, 0, sizeof dense->ffn_router);
    other = sg_family_find(dense->ffn);
    // A gated layer beside gated experts is as they are.
    if (!(family->memory->gated && other->memory->gated))
        memset(dense->ffn_activation, 0, sizeof dense->ffn_activation);
    dense->ffn_intermediate_size = c->ffn_dense_size;
    // Nothing is left that could be wrong: the width has been checked.
    (void)sg_ffn_complete(dense, NULL);
    return dense;
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
