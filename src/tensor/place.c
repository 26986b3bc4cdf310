// The lowest free offset for a value, in time that grows with the logarithm of how many there are.
//
// A binary tree over the steps: a node is a span of steps, its children are the halves of it. Each
// node keeps two sets of taken bytes, as intervals in ascending order that neither overlap nor
// touch: `any` is taken in some step of the node, `all` in every one of them. A life is made of
// O(log steps) nodes. What conflicts with it is in the `any` of these and the `all` of the nodes
// above them. Values are placed behind each other, so that the intervals soon grow together: a set
// has few of them, however many values it is made of.
#include "tensor/place.h"

#include <stdlib.h>

#include "base/alloc.h"

// Links are indices, 0 for none.
typedef struct place_interval {
    size_t begin, end;
    int next;
} place_interval;

typedef struct place_node {
    int any, all; // first intervals
} place_node;

enum { place_depth = 32, place_sets = 8 * place_depth };

typedef struct place_tree {
    int steps;
    place_node *nodes;
    place_interval *intervals; // [0] is not used
    size_t capacity;
    int used, spare;      // intervals ever used; the first of those given back
    bool failed;          // there was no memory for an interval
    int sets[place_sets]; // while looking: the next interval of each set that matters
    int n_sets;
} place_tree;

// ---- sets of intervals --------------------------------------------------------------------------

static int interval_new(place_tree *t, size_t begin, size_t end, int next)
{
    int i = t->spare;
    if (i != 0) {
        t->spare = t->intervals[i].next;
    } else {
        i = t->used;
        if (!sg_grow((void **)&t->intervals, &t->capacity, (size_t)i + 1, sizeof *t->intervals)) {
            t->failed = true;
            return next;
        }
        t->used++;
    }
    t->intervals[i] = (place_interval){begin, end, next};
    return i;
}

// Adds begin … end to the set that starts with interval `first`; returns its new first one.
static int interval_add(place_tree *t, int first, size_t begin, size_t end)
{
    int before = 0, at = first;
    while (at != 0 && t->intervals[at].end < begin) {
        before = at;
        at = t->intervals[at].next;
    }
    while (at != 0 && t->intervals[at].begin <= end) { // it becomes part of the new one
        place_interval *old = &t->intervals[at];
        const int next = old->next;
        if (old->begin < begin) begin = old->begin;
        if (old->end > end) end = old->end;
        old->next = t->spare;
        t->spare = at;
        at = next;
    }
    at = interval_new(t, begin, end, at);
    if (before == 0) return at;
    t->intervals[before].next = at;
    return first;
}

// ---- the tree -----------------------------------------------------------------------------------

// Takes bytes in the steps from … to; node n is steps low … high.
static void place_take(place_tree *t, int n, int low, int high, int from, int to, size_t begin,
                       size_t end)
{
    if (to < low || high < from) return;
    place_node *node = &t->nodes[n];
    node->any = interval_add(t, node->any, begin, end);
    if (from <= low && high <= to) {
        node->all = interval_add(t, node->all, begin, end);
        return;
    }
    const int middle = low + (high - low) / 2;
    place_take(t, 2 * n, low, middle, from, to, begin, end);
    place_take(t, 2 * n + 1, middle + 1, high, from, to, begin, end);
}

static void place_set(place_tree *t, int first)
{
    if (first != 0) t->sets[t->n_sets++] = first;
}

// Collects the sets of what is taken in any of the steps from … to.
static void place_collect(place_tree *t, int n, int low, int high, int from, int to)
{
    if (to < low || high < from) return;
    const place_node *node = &t->nodes[n];
    if (node->any == 0) return; // nothing is taken below it, and above it has been seen
    if (from <= low && high <= to) {
        place_set(t, node->any);
        return;
    }
    place_set(t, node->all);
    const int middle = low + (high - low) / 2;
    place_collect(t, 2 * n, low, middle, from, to);
    place_collect(t, 2 * n + 1, middle + 1, high, from, to);
}

// The lowest offset with room for `bytes` in all collected sets. Each set is gone through once.
static size_t place_lowest(place_tree *t, size_t bytes)
{
    size_t at = 0;
    for (int quiet = 0, s = 0; quiet < t->n_sets; s = s + 1 < t->n_sets ? s + 1 : 0) {
        int i = t->sets[s];
        const size_t before = at;
        while (i != 0 && t->intervals[i].begin < at + bytes) {
            if (t->intervals[i].end > at) at = t->intervals[i].end;
            i = t->intervals[i].next;
        }
        t->sets[s] = i;
        quiet = at == before ? quiet + 1 : 1;
    }
    return at;
}

static void place_one(place_tree *t, sg_place *item)
{
    const sg_life *life = &item->life;
    t->n_sets = 0;
    for (int s = 0; s < life->spans; s++)
        place_collect(t, 1, 0, t->steps - 1, life->begin[s], life->end[s]);
    item->offset = place_lowest(t, item->bytes);
    for (int s = 0; s < life->spans; s++)
        place_take(t, 1, 0, t->steps - 1, life->begin[s], life->end[s], item->offset,
                   item->offset + item->bytes);
}

static int place_larger(const void *a, const void *b)
{
    const sg_place *x = *(sg_place *const *)a, *y = *(sg_place *const *)b;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? 1 : -1;
    return x < y ? -1 : x > y;
}

sg_status sg_place_all(sg_place *items, int count, int steps, size_t *total, sg_error *err)
{
    *total = 0;
    place_tree tree = {.steps = steps, .used = 1};
    tree.nodes = sg_alloc_zero(4 * (size_t)steps + 1, sizeof *tree.nodes);
    sg_place **order = sg_alloc_array((size_t)count, sizeof(sg_place *));
    tree.failed = tree.nodes == NULL || order == NULL;
    for (int i = 0; i < count && !tree.failed; i++)
        order[i] = &items[i];
    if (!tree.failed) qsort(order, (size_t)count, sizeof(sg_place *), place_larger);
    for (int i = 0; i < count && !tree.failed; i++) {
        place_one(&tree, order[i]);
        if (order[i]->offset + order[i]->bytes > *total)
            *total = order[i]->offset + order[i]->bytes;
    }
    sg_free(tree.intervals);
    sg_free(tree.nodes);
    sg_free(order);
    return tree.failed ? sg_fail(err, SG_ERR_MEMORY, "out of memory for a tape") : SG_OK;
}
