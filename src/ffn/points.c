// Names of points, who asked for them, and the list of all.
#include "ffn/points.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/name_pattern.h"
#include "ffn/ffn.h"

enum { point_name = sizeof((sg_point_info *)NULL)->name };

static const char *point_full_name(const sg_builder *b, const char *name, char full[point_name])
{
    static const char mlp[] = "mlp.";
    const size_t own = sizeof mlp - 1;
    const bool moved = b->mlp_point != NULL && strncmp(name, mlp, own) == 0;
    if (b->layer < 0)
        snprintf(full, point_name, "%s", name);
    else
        snprintf(full, point_name, "blocks.%lld.%s%s", (long long)b->layer,
                 moved ? b->mlp_point : "", moved ? name + own : name);
    return full;
}

static bool point_fits(const sg_point_request *request, const char *full)
{
    return request->name != NULL && sg_name_fits(request->name, strlen(request->name), full);
}

unsigned sg_build_point_use(const sg_builder *b, const char *name)
{
    const sg_point_recorder *r = b->points;
    char full[point_name];
    unsigned use = 0;
    if (r == NULL || r->asked == NULL) return 0;
    point_full_name(b, name, full);
    for (size_t i = 0; i < r->asked->count; i++)
        if (point_fits(&r->asked->items[i], full)) use |= r->asked->items[i].use;
    return use;
}

bool sg_build_point_asked(const sg_builder *b, const char *name)
{
    if (b->points == NULL) return false;
    return b->points->list != NULL || sg_build_point_use(b, name) != 0;
}

static void point_list(const sg_builder *b, const sg_point_info *info)
{
    sg_point_list *list = b->points->list;
    if (!sg_grow((void **)&list->items, &list->capacity, list->count + 1, sizeof *list->items)) {
        sg_tape_fail(b->tape, SG_ERR_MEMORY, "out of memory for a list of points");
        return;
    }
    list->items[list->count++] = *info;
}

static const char *point_uses(unsigned use, char text[64])
{
    snprintf(text, 64, "%s%s%s", use & SG_POINT_READ ? " read" : "",
             use & SG_POINT_WRITE ? " write" : "", use & SG_POINT_GRADIENT ? " gradient" : "");
    return text + (text[0] == ' ');
}

void sg_build_each_point(const sg_builder *b, const sg_point_place *place, sg_kind kind, int rank,
                         const int64_t *shape,
                         void (*each)(void *user, const sg_observation *observation), void *user)
{
    const sg_point_recorder *r = b->points;
    if (r == NULL) return;
    const unsigned every = SG_POINT_READ | SG_POINT_WRITE | SG_POINT_GRADIENT;
    sg_point_info info = {.layer = b->layer,
                          .kind = kind == SG_KIND_INT ? SG_POINT_I32 : SG_POINT_F32,
                          .can = place->can != 0 ? place->can : every,
                          .rank = rank};
    point_full_name(b, place->name, info.name);
    memcpy(info.shape, shape, (size_t)rank * sizeof *shape);
    info.shape[0] = 0;
    if (r->list != NULL) point_list(b, &info);
    // A last layer's norm and logits may be of the last row of each sequence alone.
    const int64_t step = r->pass->sequences * r->pass->length / shape[0];
    for (size_t i = 0; r->asked != NULL && i < r->asked->count; i++) {
        const sg_point_request *request = &r->asked->items[i];
        if (!point_fits(request, info.name)) continue;
        r->found[i] = true;
        char asked[64], can[64];
        if ((request->use & ~info.can) != 0) {
            sg_tape_fail(b->tape, SG_ERR_UNSUPPORTED, "%s: found a request to %s, expected %s",
                         info.name, point_uses(request->use, asked), point_uses(info.can, can));
            return;
        }
        char *name = sg_tape_memory(b->tape, sizeof info.name);
        if (name == NULL) return;
        memcpy(name, info.name, sizeof info.name);
        sg_observation observation = {.request = request,
                                      .pass = r->pass,
                                      .name = name,
                                      .layer = b->layer,
                                      .rank = rank,
                                      .row_step = step,
                                      .ids_end = place->ids_end,
                                      .counts = place->counts};
        memcpy(observation.shape, shape, (size_t)rank * sizeof *shape);
        each(user, &observation);
    }
}

typedef struct point_chain {
    sg_tape *tape;
    sg_tensor *t;
} point_chain;

static void point_observe(void *user, const sg_observation *observation)
{
    point_chain *chain = user;
    chain->t = sg_observe(chain->tape, chain->t, observation);
}

sg_tensor *sg_build_point(const sg_builder *b, sg_tensor *t, const sg_point_place *place)
{
    if (b->points == NULL || t == NULL) return t;
    int64_t shape[3] = {t->shape[0], t->shape[1], 1};
    int rank = t->rank;
    if (place->runs > 0) {
        shape[1] = place->runs;
        shape[2] = sg_columns(t) / place->runs;
        rank = 3;
    }
    sg_point_place of = *place;
    if (t->kind == SG_KIND_INT && of.can == 0) of.can = SG_POINT_READ | SG_POINT_WRITE;
    point_chain chain = {b->tape, t};
    sg_build_each_point(b, &of, t->kind, rank, shape, point_observe, &chain);
    return chain.t;
}

// ---- requests that fit nothing ----------------------------------------------------------------

// Letters to change, put in or leave out to make b of a, of two names.
static int point_distance(const char *a, const char *b)
{
    int row[point_name + 1];
    const size_t n = strnlen(b, point_name);
    for (size_t j = 0; j <= n; j++)
        row[j] = (int)j;
    for (size_t i = 0; a[i] != '\0'; i++) {
        int corner = row[0]++;
        for (size_t j = 1; j <= n; j++) {
            int change = corner + (a[i] != b[j - 1]),
                least = row[j] < row[j - 1] ? row[j] : row[j - 1];
            corner = row[j];
            row[j] = change < least + 1 ? change : least + 1;
        }
    }
    return row[n];
}

static sg_status point_unknown(const char *name, const sg_point_list *all, sg_error *err)
{
    const char *nearest = all->count > 0 ? all->items[0].name : "none";
    bool mid = false;
    for (size_t i = 0; i < all->count; i++) {
        if (point_distance(name, all->items[i].name) < point_distance(name, nearest))
            nearest = all->items[i].name;
        mid = mid || strstr(all->items[i].name, "hook_resid_mid") != NULL;
    }
    if (!mid && strstr(name, "hook_resid_mid") != NULL)
        return sg_fail(
            err, SG_ERR_NOT_FOUND,
            "point \"%s\": found a model whose attention and feed-forward layer read one "
            "stream, expected hook_resid_pre or hook_resid_post",
            name);
    return sg_fail(err, SG_ERR_NOT_FOUND,
                   "point \"%s\": found no such point in this model; the nearest is \"%s\"", name,
                   nearest);
}

sg_status sg_point_check(const sg_point_recorder *r, const sg_point_list *all, sg_error *err)
{
    const unsigned every = SG_POINT_READ | SG_POINT_WRITE | SG_POINT_GRADIENT;
    for (size_t i = 0; r->asked != NULL && i < r->asked->count; i++) {
        const sg_point_request *request = &r->asked->items[i];
        if (request->name == NULL || request->call == NULL)
            return sg_fail(err, SG_ERR_ARGUMENT, "point %zu of the list: found no %s", i,
                           request->name == NULL ? "name" : "callback");
        if (request->use == 0 || (request->use & ~every) != 0)
            return sg_fail(err, SG_ERR_ARGUMENT,
                           "point \"%s\": found use %u, expected SG_POINT_READ, SG_POINT_WRITE and "
                           "SG_POINT_GRADIENT, joined",
                           request->name, request->use);
        if (request->use == SG_POINT_GRADIENT && !r->gradient)
            return sg_fail(err, SG_ERR_ARGUMENT,
                           "point \"%s\": found a gradient asked for, expected a pass that has one",
                           request->name);
        if (!r->found[i]) return point_unknown(request->name, all, err);
    }
    return SG_OK;
}
