// The plan of a tape: the order of steps, which gradient write comes first, how long every value
// lives, and where it lies in one block of memory. All of it is known before anything runs.
#include <string.h>

#include "base/alloc.h"
#include "tensor/place.h"
#include "tensor/shared_grads.h"
#include "tensor/tape_inside.h"

// ---- steps ------------------------------------------------------------------------------------

static bool node_grad_in(const sg_node *node, int i)
{
    return node->in[i] != NULL && node->in[i]->wants_grad;
}

static bool node_any_grad_in(const sg_node *node)
{
    for (int i = 0; i < node->n_in; i++)
        if (node_grad_in(node, i)) return true;
    return false;
}

// Notes the gradient writes of a node; `written` is by base tensor.
static void plan_writes(sg_node *node, bool *written)
{
    for (int i = 0; i < node->n_in; i++) {
        if (!node_grad_in(node, i)) continue;
        bool *seen = &written[node->in[i]->base->index];
        node->first[i] = !*seen;
        *seen = true;
    }
}

static bool plan_has_backward(const sg_node *node, const bool *written)
{
    if (node->op->backward == NULL || node->op->gradient_in_forward) return false;
    if (!node_any_grad_in(node)) return false;
    if (node->loss) return true;
    for (int i = 0; i < node->n_out; i++)
        if (node->out[i]->wants_grad && written[node->out[i]->base->index]) return true;
    return false;
}

static void plan_add(sg_tape *tape, int node, bool backward)
{
    tape->steps[tape->n_steps++] = (sg_step){.node = node, .backward = backward};
}

// Adds forward steps for those nodes of a segment whose results its backward pass reads. What a
// later segment read of this one has stayed alive and is of no concern here.
static void plan_recompute(sg_tape *tape, int segment, int last, const bool *has_backward,
                           bool *needed)
{
    memset(needed, 0, (size_t)tape->n_tensors * sizeof *needed);
    int first = last;
    while (first > 0 && tape->nodes[first - 1]->segment == segment)
        first--;
    for (int n = last; n >= first; n--) {
        const sg_node *node = tape->nodes[n];
        bool run = has_backward[n] && node->n_saved > 0;
        for (int i = 0; i < node->n_out; i++)
            run = run || needed[node->out[i]->base->index] ||
                  (has_backward[n] && (node->op->backward_reads_out >> i & 1));
        run = run && !node->op->once;
        if (run) needed[node->out[0]->base->index] = true;
        for (int i = 0; i < node->n_in; i++)
            if (node->in[i] != NULL &&
                (run || (has_backward[n] && (node->op->backward_reads_in >> i & 1))))
                needed[node->in[i]->base->index] = true;
    }
    for (int n = first; n <= last; n++)
        if (!tape->nodes[n]->op->once && needed[tape->nodes[n]->out[0]->base->index])
            plan_add(tape, n, false);
}

// Values of cheap operations are made again for the backward pass where that takes nothing that
// would not be there: inputs that their own backward pass reads, or that are made so themselves.
typedef struct plan_again {
    sg_tape *tape;
    int *maker; // by tensor: the node whose output it is and that makes it again, or -1
} plan_again;

// Whether an input is exact in the forward pass, and not when that is run again.
static bool again_rounds(const sg_node *node)
{
    for (int i = 0; i < node->n_in; i++)
        if (node->in[i] != NULL && sg_reads_half(node, i, true) && !sg_reads_half(node, i, false))
            return true;
    return false;
}

// Whether what reads the output of a node is of its segment, so that no forward pass comes behind
// the backward passes that made it again, and nobody else sees it.
static bool again_inside(const sg_tape *tape, const sg_node *node)
{
    const sg_tensor *out = node->out[0]->base;
    for (int n = 0; n < tape->n_nodes; n++)
        for (int i = 0; i < tape->nodes[n]->n_in; i++)
            if (tape->nodes[n]->in[i] != NULL && tape->nodes[n]->in[i]->base == out &&
                tape->nodes[n]->segment != node->segment)
                return false;
    for (int i = 0; i < tape->n_keep; i++)
        if (tape->keep[i] == out) return false;
    return true;
}

// What is recomputed with its segment is there without; but where the values are others, these are
// what backward passes read, with recomputation or not.
static bool again_can(const plan_again *p, const sg_node *node, bool has_backward)
{
    if (!node->op->cheap || node->kind != SG_COMPUTE_BF16) return false;
    const bool rounds = again_rounds(node);
    if (rounds && !again_inside(p->tape, node)) return false;
    if (p->tape->options.recompute && node->segment != 0 && !rounds) return false;
    for (int i = 0; i < node->n_in; i++) {
        if (node->in[i] == NULL || node->in[i]->base->leaf) continue;
        const bool there = has_backward && (node->op->backward_reads_in >> i & 1);
        if (!there && p->maker[node->in[i]->base->index] < 0) return false;
    }
    return true;
}

// Of all segments, or one (>= 0).
static void again_find(const plan_again *p, const bool *has_backward, int segment)
{
    for (int t = 0; segment < 0 && t < p->tape->n_tensors; t++)
        p->maker[t] = -1;
    for (int n = 0; n < p->tape->n_nodes; n++) {
        const sg_node *node = p->tape->nodes[n];
        if (segment >= 0 && node->segment != segment) continue;
        if (!again_can(p, node, has_backward[n])) continue;
        for (int i = 0; i < node->n_out; i++)
            if (node->out[i]->base == node->out[i]) p->maker[node->out[i]->index] = n;
    }
}

// Before a step that reads it: the value, if it is to be made again and has not been.
static void again_value(const plan_again *p, const sg_tensor *tensor)
{
    const int n = p->maker[tensor->base->index];
    if (n < 0) return;
    const sg_node *node = p->tape->nodes[n];
    for (int i = 0; i < node->n_out; i++)
        p->maker[node->out[i]->base->index] = -1;
    for (int i = 0; i < node->n_in; i++)
        if (node->in[i] != NULL) again_value(p, node->in[i]);
    p->tape->steps[p->tape->n_steps++] = (sg_step){.node = n, .again = true};
}

static void again_before(const plan_again *p, const sg_node *node)
{
    for (int i = 0; i < node->n_in; i++)
        if (node->in[i] != NULL && (node->op->backward_reads_in >> i & 1))
            again_value(p, node->in[i]);
    for (int i = 0; i < node->n_out; i++)
        if (node->op->backward_reads_out >> i & 1) again_value(p, node->out[i]);
    // What it has saved belongs to the inputs that its backward pass reads.
    if (again_rounds(node)) again_value(p, node->out[0]);
}

static sg_status plan_steps(sg_tape *tape, sg_error *err)
{
    size_t nodes = (size_t)tape->n_nodes, tensors = (size_t)tape->n_tensors;
    tape->steps = sg_alloc_array(5 * nodes + 1, sizeof *tape->steps);
    bool *written = sg_alloc_zero(tensors + 1, sizeof *written);
    bool *needed = sg_alloc_zero(tensors + 1, sizeof *needed);
    bool *has_backward = sg_alloc_zero(nodes + 1, sizeof *has_backward);
    const plan_again again = {tape, sg_alloc_array(tensors + 1, sizeof(int))};
    sg_status status = SG_OK;
    if (!tape->steps || !written || !needed || !has_backward || !again.maker) {
        status = sg_fail(err, SG_ERR_MEMORY, "out of memory for a tape");
    } else {
        for (int n = 0; n < tape->n_nodes; n++) {
            plan_add(tape, n, false);
            if (tape->options.gradient && tape->nodes[n]->op->gradient_in_forward)
                plan_writes(tape->nodes[n], written);
        }
        tape->forward_steps = tape->n_steps;
        // First decide which nodes have a backward pass, then lay out the steps.
        for (int n = tape->n_nodes - 1; tape->options.gradient && n >= 0; n--) {
            has_backward[n] = plan_has_backward(tape->nodes[n], written);
            if (has_backward[n]) plan_writes(tape->nodes[n], written);
            // A result whose gradient nobody wrote has none.
            for (int i = 0; i < tape->nodes[n]->n_out; i++) {
                sg_tensor *out = tape->nodes[n]->out[i];
                if (!tape->nodes[n]->loss && !written[out->base->index]) out->wants_grad = false;
            }
        }
        again_find(&again, has_backward, -1);
        int done = 0; // the segment whose values are there again
        for (int n = tape->n_nodes - 1; tape->options.gradient && n >= 0; n--) {
            int segment = tape->nodes[n]->segment;
            if (tape->options.recompute && segment != 0 && segment != done) {
                plan_recompute(tape, segment, n, has_backward, needed);
                again_find(&again, has_backward, segment);
                done = segment;
            }
            if (!has_backward[n]) continue;
            again_before(&again, tape->nodes[n]);
            plan_add(tape, n, true);
        }
    }
    sg_free(again.maker);
    sg_free(written);
    sg_free(needed);
    sg_free(has_backward);
    return status;
}

// ---- lifetimes --------------------------------------------------------------------------------

static void life_write(sg_life *life, int step)
{
    if (life->spans < 2) {
        life->begin[life->spans] = life->end[life->spans] = step;
        life->spans++;
    } else {
        life->end[1] = step;
    }
}

static void life_touch(sg_life *life, int step)
{
    if (life->spans == 0) life_write(life, step);
    if (life->end[life->spans - 1] < step) life->end[life->spans - 1] = step;
}

// Alive from its first write to the end of everything.
static void life_keep(sg_life *life, int end)
{
    life->spans = 1;
    life->end[0] = end;
}

// By tensor.
typedef struct plan_tables {
    sg_life *data, *half, *grad;
    int *owner; // in whose place its gradient lies
} plan_tables;

// The lives that reads of input i, and of output i in the backward pass, belong to.
static sg_life *plan_read(const sg_node *node, int i, bool again, const plan_tables *lives)
{
    const sg_tensor *base = node->in[i]->base;
    const bool half = base->has_half && sg_reads_half(node, i, again);
    return half ? &lives->half[base->index] : &lives->data[base->index];
}

static sg_life *plan_read_out(const sg_node *node, int i, const plan_tables *lives)
{
    const sg_tensor *base = node->out[i]->base;
    const bool half = base->has_half && (node->op->reads_half_out >> i & 1);
    return half ? &lives->half[base->index] : &lives->data[base->index];
}

static void plan_forward_life(const sg_node *node, int step, bool again, bool gradient,
                              const plan_tables *lives)
{
    sg_life *data = lives->data, *grad = lives->grad;
    for (int i = 0; i < node->n_out; i++) {
        const sg_tensor *out = node->out[i];
        if (out->base != out) continue;
        if (out->has_half) life_write(&lives->half[out->index], step);
        if (!out->no_data || !(node->op->writes_half >> i & 1)) life_write(&data[out->index], step);
    }
    for (int i = 0; i < node->n_saved; i++)
        life_write(&data[node->saved[i]->index], step);
    for (int i = 0; i < node->n_in; i++) {
        if (node->in[i] == NULL) continue;
        life_touch(plan_read(node, i, again, lives), step);
        if (gradient && node->op->gradient_in_forward && node->in[i]->wants_grad)
            life_touch(&grad[node->in[i]->base->index], step);
    }
}

static void plan_backward_life(const sg_node *node, int step, const plan_tables *lives)
{
    sg_life *grad = lives->grad;
    for (int i = 0; i < node->n_in; i++) {
        if (node->in[i] == NULL) continue;
        int base = node->in[i]->base->index;
        if (node->op->backward_reads_in >> i & 1) life_touch(plan_read(node, i, true, lives), step);
        if (node->in[i]->wants_grad) life_touch(&grad[base], step);
    }
    for (int i = 0; i < node->n_out; i++) {
        int base = node->out[i]->base->index;
        if (node->op->backward_reads_out >> i & 1) life_touch(plan_read_out(node, i, lives), step);
        if (node->out[i]->wants_grad) life_touch(&grad[base], step);
    }
    for (int i = 0; i < node->n_saved; i++)
        life_touch(&lives->data[node->saved[i]->index], step);
}

static void plan_lives(const sg_tape *tape, const plan_tables *lives)
{
    sg_life *data = lives->data, *grad = lives->grad;
    // The weights of all losses are put into their gradients before the first backward step: these
    // lives begin there, also where the loss's own backward pass comes late.
    for (int n = 0; tape->options.gradient && n < tape->n_nodes; n++)
        if (tape->nodes[n]->loss && tape->nodes[n]->out[0]->wants_grad)
            life_touch(&grad[tape->nodes[n]->out[0]->index], tape->forward_steps);
    for (int s = 0; s < tape->n_steps; s++) {
        const sg_node *node = tape->nodes[tape->steps[s].node];
        if (tape->steps[s].backward)
            plan_backward_life(node, s, lives);
        else
            plan_forward_life(node, s, tape->steps[s].again,
                              tape->options.gradient && s < tape->forward_steps, lives);
    }
    for (int n = 0; n < tape->n_nodes; n++) {
        const sg_node *node = tape->nodes[n];
        // A loss is read by the caller after the pass.
        if (node->loss) life_keep(&data[node->out[0]->index], tape->n_steps);
    }
    for (int i = 0; i < tape->n_keep; i++)
        life_keep(&data[tape->keep[i]->index], tape->n_steps);
}

// What lies in the place of another one lives there, from the first to the last of them.
static void plan_join_lives(const sg_tape *tape, const plan_tables *lives)
{
    for (int t = 0; t < tape->n_tensors; t++) {
        sg_life *life = &lives->grad[t], *place = &lives->grad[lives->owner[t]];
        if (life == place || life->spans == 0) continue;
        if (life->begin[0] < place->begin[0]) place->begin[0] = life->begin[0];
        if (life->end[0] > place->end[0]) place->end[0] = life->end[0];
    }
}

// ---- places -----------------------------------------------------------------------------------

// The values of a tape that lie in its memory; returns how many.
static int plan_items(const sg_tape *tape, const plan_tables *lives, sg_place *items)
{
    const sg_life *of[] = {[SG_PLACE_DATA] = lives->data,
                           [SG_PLACE_HALF] = lives->half,
                           [SG_PLACE_GRAD] = lives->grad};
    int count = 0;
    for (sg_place_kind kind = SG_PLACE_DATA; kind <= SG_PLACE_GRAD; kind++)
        for (int t = 0; t < tape->n_tensors; t++) {
            const sg_tensor *tensor = tape->tensors[t];
            const sg_life *life = &of[kind][t];
            if (tensor->leaf || tensor->base != tensor || life->spans == 0) continue;
            if (kind == SG_PLACE_GRAD && (!tensor->wants_grad || lives->owner[t] != t)) continue;
            size_t width = kind == SG_PLACE_HALF          ? sizeof(sg_bf16)
                           : tensor->kind == SG_KIND_REAL ? sizeof(sg_real)
                                                          : sizeof(int32_t);
            items[count++] = (sg_place){.life = *life,
                                        .bytes = sg_whole_lines((size_t)tensor->count * width),
                                        .tensor = t,
                                        .kind = kind};
        }
    return count;
}

static void plan_scratch(sg_tape *tape, size_t total)
{
    size_t shared = 0, worker = 0;
    for (int n = 0; n < tape->n_nodes; n++) {
        const sg_node *node = tape->nodes[n];
        if (node->scratch_bytes > shared) shared = node->scratch_bytes;
        if (node->worker_scratch_bytes > worker) worker = node->worker_scratch_bytes;
    }
    tape->scratch_offset = total;
    tape->worker_offset = total + sg_whole_lines(shared);
    // An odd number of cache lines keeps the workers' pieces off the same cache sets.
    tape->worker_stride = sg_whole_lines(worker) + (worker ? 64 : 0);
    tape->memory_bytes = tape->worker_offset + tape->worker_stride * (size_t)tape->options.threads;
}

static sg_status plan_memory(sg_tape *tape, sg_error *err)
{
    size_t tensors = (size_t)tape->n_tensors, total = 0;
    sg_life *lives = sg_alloc_zero(3 * (tensors + 1), sizeof *lives);
    sg_place *items = sg_alloc_array(3 * tensors + 1, sizeof *items);
    tape->data_offset = sg_arena_alloc(&tape->arena, (tensors + 1) * sizeof(size_t));
    tape->half_offset = sg_arena_alloc(&tape->arena, (tensors + 1) * sizeof(size_t));
    tape->grad_offset = sg_arena_alloc(&tape->arena, (tensors + 1) * sizeof(size_t));
    int *owner = sg_alloc_array(tensors + 1, sizeof *owner);
    sg_status status = SG_OK;
    if (!lives || !items || !owner || !tape->data_offset || !tape->half_offset ||
        !tape->grad_offset)
        status = sg_fail(err, SG_ERR_MEMORY, "out of memory for a tape");
    if (status == SG_OK) status = sg_shared_grads(tape, owner, err);
    if (status == SG_OK) {
        const plan_tables tables = {lives, lives + tensors + 1, lives + 2 * (tensors + 1), owner};
        size_t *const offsets[] = {[SG_PLACE_DATA] = tape->data_offset,
                                   [SG_PLACE_HALF] = tape->half_offset,
                                   [SG_PLACE_GRAD] = tape->grad_offset};
        plan_lives(tape, &tables);
        plan_join_lives(tape, &tables);
        const int count = plan_items(tape, &tables, items);
        for (size_t t = 0; t < tensors; t++)
            tape->data_offset[t] = tape->half_offset[t] = tape->grad_offset[t] = SIZE_MAX;
        status = sg_place_all(items, count, tape->n_steps + 1, &total, err);
        for (int i = 0; i < count; i++)
            offsets[items[i].kind][items[i].tensor] = items[i].offset;
        for (size_t t = 0; t < tensors; t++)
            tape->grad_offset[t] = tape->grad_offset[owner[t]];
        plan_scratch(tape, total);
    }
    sg_free(lives);
    sg_free(items);
    sg_free(owner);
    return status;
}

// ---- the whole --------------------------------------------------------------------------------

// A gradient by rows needs operations that know of it: any other would leave it out.
static sg_status plan_row_gradients(const sg_tape *tape, sg_error *err)
{
    for (int n = 0; n < tape->n_nodes; n++) {
        const sg_node *node = tape->nodes[n];
        for (int i = 0; i < node->n_in; i++)
            if (node->in[i] != NULL && node->in[i]->base->row_grads != NULL &&
                !(node->op->row_gradients >> i & 1))
                return sg_fail(err, SG_ERR_INTERNAL, "%s: %s cannot read it by rows",
                               node->in[i]->name, node->op->name);
    }
    return SG_OK;
}

// Notes which leaves are read by operations that cannot read them narrow.
static void plan_narrow(const sg_tape *tape)
{
    for (int n = 0; n < tape->n_nodes; n++) {
        const sg_node *node = tape->nodes[n];
        const unsigned forward = node->op->forward_reads_narrow;
        const unsigned both = forward & node->op->backward_reads_narrow;
        for (int i = 0; i < node->n_in; i++) {
            if (node->in[i] == NULL) continue;
            sg_tensor *base = node->in[i]->base;
            const bool other = sg_columns(node->in[i]) != sg_columns(base);
            base->not_narrow |= other || !(forward >> i & 1);
            base->not_narrow_both |= other || !(both >> i & 1);
        }
    }
}

// Which values belong to the sum that layers add to: a copy does where what it is of does, and the
// other way round.
static void plan_exact(const sg_tape *tape)
{
    for (int n = 0; n < tape->n_nodes; n++) {
        const sg_node *node = tape->nodes[n];
        for (int i = 0; node->op->exact && i < node->n_in; i++)
            if (node->in[i] != NULL) node->in[i]->base->exact = true;
        for (int i = 0; i < node->n_out; i++)
            node->out[i]->base->exact |= node->op->exact;
        if (node->op->copies) node->out[0]->base->exact |= node->in[0]->base->exact;
    }
    for (int n = tape->n_nodes - 1; n >= 0; n--) {
        const sg_node *node = tape->nodes[n];
        if (node->op->copies) node->in[0]->base->exact |= node->out[0]->base->exact;
    }
}

// Which results have a form in bf16. Of a copy that is rounded, so is what it is of: whoever sees
// both sees the same numbers.
static void plan_has_half(const sg_tape *tape)
{
    for (int n = tape->n_nodes - 1; n >= 0; n--) {
        const sg_node *node = tape->nodes[n];
        for (int i = 0; i < node->n_in; i++) {
            sg_tensor *base = node->in[i] ? node->in[i]->base : NULL;
            if (base == NULL || base->leaf || base->kind != SG_KIND_REAL) continue;
            if (sg_reads_half(node, i, tape->options.gradient)) base->has_half = true;
        }
        if (!node->op->copies || node->in[0]->base->leaf) continue;
        if (node->out[0]->base->has_half && !node->out[0]->base->exact)
            node->in[0]->base->has_half = true;
    }
}

// Which of these have no reader of f32. What the caller keeps, or makes a loss, is read in f32.
static void plan_no_data(const sg_tape *tape)
{
    for (int t = 0; t < tape->n_tensors; t++)
        tape->tensors[t]->no_data = tape->tensors[t]->has_half;
    for (int n = 0; n < tape->n_nodes; n++) {
        const sg_node *node = tape->nodes[n];
        for (int i = 0; i < node->n_in; i++)
            if (node->in[i] != NULL && !sg_reads_half(node, i, false))
                node->in[i]->base->no_data = false;
        const unsigned reads_out = node->op->backward_reads_out & ~node->op->reads_half_out;
        for (int i = 0; i < node->n_out; i++)
            if (node->loss || (reads_out >> i & 1)) node->out[i]->base->no_data = false;
    }
    for (int i = 0; i < tape->n_keep; i++)
        tape->keep[i]->no_data = false;
}

sg_status sg_tape_finish(sg_tape *tape, const sg_tape_options *options, sg_error *err)
{
    if (tape->error.code != SG_OK) return sg_fail(err, tape->error.code, "%s", tape->error.message);
    SG_TRY(plan_row_gradients(tape, err));
    plan_narrow(tape);
    tape->options = *options;
    if (tape->options.threads < 1) tape->options.threads = 1;
    plan_exact(tape);
    plan_has_half(tape);
    plan_no_data(tape);
    if (!options->gradient)
        for (int t = 0; t < tape->n_tensors; t++)
            tape->tensors[t]->wants_grad = false;
    SG_TRY(plan_steps(tape, err));
    return plan_memory(tape, err);
}

size_t sg_tape_bytes(const sg_tape *tape)
{
    return tape->memory_bytes;
}

static void *lend_place(const sg_tape *tape, size_t offset)
{
    return offset != SIZE_MAX ? tape->memory + offset : NULL;
}

void sg_tape_lend(sg_tape *tape, void *memory)
{
    if (memory == tape->memory) return;
    tape->memory = memory;
    for (int t = 0; t < tape->n_tensors; t++) {
        sg_tensor *tensor = tape->tensors[t];
        if (tensor->leaf || tensor->base != tensor) continue;
        tensor->data = lend_place(tape, tape->data_offset[t]);
        tensor->half = lend_place(tape, tape->half_offset[t]);
        tensor->grad = lend_place(tape, tape->grad_offset[t]);
    }
}

sg_status sg_tape_allocate(sg_tape *tape, sg_error *err)
{
    tape->own = sg_alloc_from(tape->options.allocator, tape->memory_bytes);
    if (tape->own == NULL)
        return sg_fail(err, SG_ERR_MEMORY, "out of memory: activations take %zu bytes",
                       tape->memory_bytes);
    sg_tape_lend(tape, tape->own);
    return SG_OK;
}
