// The order in which the runs of a plan are made: families take turns, so that an hour in which the
// machine is slow hits all alike.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "sweep/due_inside.h"

typedef struct order_place {
    const sg_due *d;
    size_t item, family;
} order_place;

static int order_numbers(double a, double b)
{
    if (sg_sweep_same_number(a, b)) return 0;
    return isnan(a) || a < b ? -1 : 1;
}

// Inside a family: budget, scale, cell, as listed.
static int order_places(const void *a, const void *b)
{
    const order_place *x = a, *y = b;
    const size_t u = x->d->items[x->item].todo.cell, v = y->d->items[y->item].todo.cell;
    const sg_sweep_cell *p = sg_due_at(x->d, u), *q = sg_due_at(y->d, v);
    int order = (x->family > y->family) - (x->family < y->family);
    if (order == 0) order = order_numbers(p->budget, q->budget);
    if (order == 0) order = order_numbers(p->scale, q->scale);
    if (order == 0) order = (p->index > q->index) - (p->index < q->index);
    if (order == 0) order = (u > v) - (u < v);
    return order != 0 ? order : (x->item > y->item) - (x->item < y->item);
}

static int order_ids(const void *a, const void *b)
{
    const order_place *x = *(const order_place *const *)a, *y = *(const order_place *const *)b;
    const int order = strcmp(x->d->items[x->item].todo.id, y->d->items[y->item].todo.id);
    return order != 0 ? order : (x > y) - (x < y);
}

// Takes out runs that stand before in the order; how many are left.
static sg_status order_once(sg_due *d, order_place *places, size_t *count)
{
    size_t kept = 0;
    order_place **sorted = sg_alloc_array(*count + 1, sizeof *sorted);
    if (sorted == NULL) return sg_due_memory(d);
    for (size_t i = 0; i < *count; i++)
        sorted[i] = &places[i];
    qsort(sorted, *count, sizeof *sorted, order_ids);
    for (size_t i = 1; i < *count; i++)
        if (strcmp(d->items[sorted[i]->item].todo.id, d->items[sorted[i - 1]->item].todo.id) == 0)
            sorted[i]->d = NULL;
    for (size_t i = 0; i < *count; i++)
        if (places[i].d != NULL) places[kept++] = places[i];
    *count = kept;
    sg_free(sorted);
    return SG_OK;
}

// Families take turns. places: sorted by family.
static sg_status order_turns(sg_due *d, const order_place *places, size_t count)
{
    sg_sweep_plan *plan = d->plan;
    size_t *next = sg_alloc_array(count + 1, sizeof *next); // where families begin, and go on
    size_t families = 0;
    plan->todos = sg_alloc_array(count + 1, sizeof *plan->todos);
    plan->rows = sg_alloc_array(count + 1, sizeof *plan->rows);
    if (next == NULL || plan->todos == NULL || plan->rows == NULL) {
        sg_free(next);
        return sg_due_memory(d);
    }
    for (size_t i = 0; i < count; i++)
        if (i == 0 || places[i].family != places[i - 1].family) next[families++] = i;
    for (size_t turn = 0; plan->count < count; turn = (turn + 1) % families) {
        const size_t at = next[turn];
        if (at == SIZE_MAX) continue;
        const sg_due_item *item = &d->items[places[at].item];
        plan->todos[plan->count] = item->todo;
        plan->rows[plan->count++] = item->row;
        const bool more = at + 1 < count && places[at + 1].family == places[at].family;
        next[turn] = more ? at + 1 : SIZE_MAX;
    }
    sg_free(next);
    return SG_OK;
}

sg_status sg_due_arrange(sg_due *d)
{
    size_t count = d->item_count;
    order_place *places = sg_alloc_array(count + 1, sizeof *places);
    if (places == NULL) return sg_due_memory(d);
    for (size_t i = 0; i < count; i++)
        places[i] = (order_place){d, i, d->cells[d->items[i].todo.cell].family};
    qsort(places, count, sizeof *places, order_places);
    sg_status status = order_once(d, places, &count);
    if (status == SG_OK) status = order_turns(d, places, count);
    sg_free(places);
    for (size_t i = 0; i < d->count; i++)
        d->plan->expected += d->plan->cells[i].expected;
    return status;
}
