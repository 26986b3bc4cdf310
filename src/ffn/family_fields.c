// The fields of a configuration that belong to the feed-forward layer, each stated once: which
// family has it, what it may be, its help. A new field is a member of sg_config, a row here, and
// where a family has it, its bit (SG_HAS_…) or its list of names (sg_family).
#include <stdio.h>
#include <string.h>

#include "ffn/ffn.h"

typedef struct family_field {
    sg_field field;
    unsigned has; // SG_HAS_…, one of which a family needs; 0: all have it, or those with `names`
    size_t names; // where a family lists its choices; 0: nowhere
    bool sparse;  // all sparse families have it; what else it may be is for layers.c to say
} family_field;

#define FIELD(member) SG_FIELD_OF(sg_config, member)
#define NAMES(list)   .names = offsetof(sg_family, list)
#define LAYER         .group = "Model: feed-forward layer"
#define CELLS         .group = "Model: memories of cells"
#define GATES         .group = "Model: gates and queries"
#define PLACES        .group = "Model: which layers are sparse"
#define ROUTER        .group = "Model: routers of experts and blocks"
#define SPARSE        .group = "Model: dense layers in blocks"
#define FORM          .group = "Model: form of dense layers and experts"

static const family_field fields[] = {
    {.field = {FIELD(ffn), LAYER, .help = "feed-forward family", .flags = SG_FIELD_FILLED}},
    {{FIELD(ffn_router), LAYER, .help = "how neurons are selected"}, NAMES(routers)},
    {{FIELD(ffn_activation), LAYER, .help = "activation"}, NAMES(activations)},
    {{FIELD(ffn_intermediate_size), LAYER, .low = 1, .high = 1 << 24,
      .help = "width F of a dense layer or one expert"},
     .has = SG_HAS_WIDTH},
    {{FIELD(ffn_experts), LAYER, .low = 1, .high = 1 << 16, .help = "experts E"},
     .has = SG_HAS_EXPERTS},
    {{FIELD(ffn_channels), LAYER, .low = 1, .high = 1 << 12, .help = "channels C"},
     .has = SG_HAS_CHANNELS},
    {{FIELD(ffn_neurons), LAYER, .low = 1, .high = 1 << 30, .help = "neurons N of a pool"},
     .has = SG_HAS_NEURONS},
    {{FIELD(ffn_key_size), LAYER, .low = 1, .high = 1 << 16, .help = "router bottleneck K"},
     .has = SG_HAS_KEY},
    {{FIELD(ffn_top_k), LAYER, .low = 1, .high = SG_TOPK_MAX,
      .help = "neurons a channel, or experts, that a token selects"},
     .has = SG_HAS_TOP_K},

    {{FIELD(ffn_block_size), CELLS, .also = "block-size", .low = 0, .high = 1 << 30,
      .help = "cells g of a block; 0: F"},
     .has = SG_HAS_BLOCK},
    {{FIELD(ffn_memory_factor), CELLS, .also = "memory-factor", .low = 1, .high = 1 << 16,
      .help = "cells of a memory, in multiples E of F"},
     .has = SG_HAS_FACTOR},
    {{FIELD(ffn_active_neurons), CELLS, .also = "active-neurons", .low = 0, .high = 1 << 30,
      .help = "cells k that a token reads; 0: F; of router gate about so many"},
     .has = SG_HAS_ACTIVE},
    {{FIELD(ffn_gate), CELLS, .also = "gate", .help = "what the score does"}, NAMES(gates)},
    {{FIELD(ffn_hash_seed), CELLS, .also = "hash-seed", .low = 0, .high = (int64_t)1 << 40,
      .help = "seed of the blocks of a token"},
     .has = SG_HAS_HASH},

    {{FIELD(ffn_normaliser), GATES, .help = "gates from selected scores"}, NAMES(normalisers)},
    {{FIELD(ffn_query_norm), GATES, .help = "norm of queries"}, NAMES(query_norms)},
    {{FIELD(ffn_query_bias), GATES, .low = 0, .high = 1,
      .help = "whether queries have a bias: 0 or 1"},
     .has = SG_HAS_BIAS},

    {{FIELD(ffn_layers), PLACES, .initial = "all",
      .help = "sparse layers, from 1: all, every:N, or a list: 1,3-5"},
     .sparse = true},
    {{FIELD(ffn_dense), PLACES, .initial = "mlp", .help = "dense family of the other layers"},
     .sparse = true},
    {{FIELD(ffn_dense_size), PLACES, .low = 1, .high = 1 << 24, .shown = "F, or 4 d",
      .help = "their width; 0: F, or 4 d where there is no F"},
     .sparse = true},
    {{FIELD(ffn_share_pool), PLACES, .low = 0, .high = 1,
      .help = "1: one memory for all sparse layers"},
     .sparse = true},

    {{FIELD(ffn_score), ROUTER, .help = "scores of the router"}, NAMES(scores)},
    {{FIELD(ffn_renormalise), ROUTER, .low = 0, .high = 1,
      .help = "1: scores of the selected are divided by their sum"},
     .has = SG_HAS_RENORMALISE},
    {{FIELD(ffn_shared_experts), ROUTER, .low = 0, .high = 1 << 10,
      .help = "experts that every token takes"},
     .has = SG_HAS_BESIDE},
    {{FIELD(ffn_capacity_factor), ROUTER, .low = 0, .high = 1e6, .flags = SG_FIELD_TUNED,
      .help = "a block takes that many times its share of tokens in training; 0: all"},
     .has = SG_HAS_CAPACITY},
    {{FIELD(ffn_balance_loss), ROUTER, .low = 0, .high = 1e3, .flags = SG_FIELD_TUNED,
      .help = "weight of the balance loss"},
     .has = SG_HAS_BALANCE},
    {{FIELD(ffn_z_loss), ROUTER, .low = 0, .high = 1e3, .flags = SG_FIELD_TUNED,
      .help = "weight of the z loss"},
     .has = SG_HAS_Z},
    {{FIELD(ffn_bias_rate), ROUTER, .low = 0, .high = 1,
      .help = "step of the bias that balances experts without a loss"},
     .has = SG_HAS_BIAS_RATE},

    {{FIELD(ffn_bias), FORM, .low = 0, .high = 1, .help = "1: layers or experts have biases"},
     .has = SG_HAS_LAYER_BIAS},
    {{FIELD(ffn_glu_interleaved), FORM, .low = 0, .high = 1,
      .help = "1: gates and values lie in turns"},
     .has = SG_HAS_PAIRS},
    {{FIELD(ffn_router_bias), FORM, .low = 0, .high = 1, .help = "1: the router has a bias"},
     .has = SG_HAS_SHARED},
    {{FIELD(ffn_shared_size), FORM, .low = 0, .high = 1 << 24,
      .help = "width of shared experts; 0: that of as many"},
     .has = SG_HAS_BESIDE},
    {{FIELD(ffn_shared_gate), FORM, .low = 0, .high = 1, .help = "1: shared experts have a gate"},
     .has = SG_HAS_SHARED},

    {{FIELD(ffn_select), SPARSE, .flags = SG_FIELD_TUNED, .help = "which blocks are read"},
     NAMES(selects)},
    {{FIELD(ffn_threshold), SPARSE, .low = -1e12, .high = 1e12, .flags = SG_FIELD_TUNED,
      .help = "of ffn_select, but for top_k"},
     .has = SG_HAS_SELECT},
    {{FIELD(ffn_router_size), SPARSE, .low = 0, .high = 1 << 16,
      .help = "hidden width of the router; 0: as many as blocks"},
     .has = SG_HAS_SELECT},
    {{FIELD(ffn_mean), SPARSE, .low = 0, .high = 1,
      .help = "1: means stand in for what is not read"},
     .has = SG_HAS_SELECT},
    {{FIELD(ffn_layer_block_size), SPARSE, .help = "ffn_block_size of each layer: 32,32,64"},
     .has = SG_HAS_SELECT},
    {{FIELD(ffn_layer_top_k), SPARSE, .help = "ffn_top_k of each layer"}, .has = SG_HAS_SELECT},
    {{FIELD(ffn_layer_threshold), SPARSE, .flags = SG_FIELD_TUNED,
      .help = "ffn_threshold of each layer"},
     .has = SG_HAS_SELECT},
};

enum { field_count = sizeof fields / sizeof *fields };

const sg_field *sg_ffn_field_at(size_t index)
{
    return index < field_count ? &fields[index].field : NULL;
}

size_t sg_ffn_field_count(void)
{
    return field_count;
}

const sg_field *sg_ffn_field(size_t offset)
{
    size_t i = 0;
    while (fields[i].field.offset != offset)
        i++;
    return &fields[i].field;
}

// The names that a family takes, up to a NULL; NULL for a field that is no choice of names.
static const char *const *family_names(const sg_family *family, const family_field *f)
{
    return f->names == 0 ? NULL : (const void *)((const char *)family + f->names);
}

static bool family_has(const sg_family *family, const family_field *f)
{
    if (f->names != 0) return family_names(family, f)[0] != NULL;
    if (f->sparse) return sg_family_is_sparse(family);
    return f->has == 0 || (family->has & f->has) != 0;
}

static void family_list_names(const char *const *names, char *text, size_t capacity)
{
    size_t used = 0;
    text[0] = '\0';
    for (int i = 0; i < SG_FAMILY_CHOICES && names[i] != NULL && used < capacity; i++)
        used += (size_t)snprintf(text + used, capacity - used, "%s%s", i ? ", " : "", names[i]);
}

bool sg_family_takes(const sg_family *family, const char *field, char *text, size_t capacity)
{
    text[0] = '\0';
    for (size_t i = 0; i < field_count; i++) {
        const family_field *f = &fields[i];
        if (strcmp(f->field.name, field) != 0) continue;
        if (f->names != 0)
            family_list_names(family_names(family, f), text, capacity);
        else if (f->field.offset == offsetof(sg_config, ffn_dense))
            sg_family_list(text, capacity, sg_family_is_dense);
        else if (f->has != 0)
            sg_field_range(&f->field, text, capacity);
        return family_has(family, f);
    }
    return true;
}

// A name that the family takes, its first where there is none.
static sg_status family_check_name(sg_config *c, const sg_family *family, const family_field *f,
                                   sg_error *err)
{
    const char *const *names = family_names(family, f);
    char *value = sg_field_in(&f->field, c), list[256];
    if (value[0] == '\0') snprintf(value, f->field.bytes, "%s", names[0]);
    for (int i = 0; i < SG_FAMILY_CHOICES && names[i] != NULL; i++)
        if (strcmp(value, names[i]) == 0) return SG_OK;
    family_list_names(names, list, sizeof list);
    return sg_fail(err, SG_ERR_ARGUMENT, "%s: found \"%s\", expected one of %s for family %s",
                   f->field.name, value, list, family->name);
}

sg_status sg_family_check_fields(sg_config *c, const sg_family *family, sg_error *err)
{
    char behind[48];
    snprintf(behind, sizeof behind, " for family %s", family->name);
    for (int names = 1; names >= 0; names--)
        for (size_t i = 0; i < field_count; i++) {
            const family_field *f = &fields[i];
            if (f->sparse || (f->names != 0) != (names == 1)) continue;
            if (!family_has(family, f))
                sg_field_clear(&f->field, c);
            else if (names == 1)
                SG_TRY(family_check_name(c, family, f, err));
            else
                SG_TRY(sg_field_check(&f->field, f->field.name, behind, c, err));
        }
    return SG_OK;
}
