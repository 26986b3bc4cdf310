// Which gradients share a place. Those of a sum z = a + b are the same numbers once its backward
// pass has run: da = db = dz. They may stay where dz is until one of them is added to, if the
// others have been read by then:
//
//   - dz itself has been read (by the sum) and added to (by all that reads z) before;
//   - one of a, b may be added to later, by others that read it: the layers of a residual stream;
//   - what nobody adds to, the other one, must be read for the last time before that.
//
// So along a residual stream there is one gradient, to which each layer adds, and no copy of it.
#include "tensor/shared_grads.h"

#include <limits.h>
#include <string.h>

#include "base/alloc.h"

enum { shared_never = INT_MAX, shared_nobody = -1 };

// Steps by tensor, and of an owner what shares its place at the present step.
typedef struct shared_facts {
    int first_write, second_write; // of its gradient; those that come later do not matter
    int last_read;
    bool loss;               // its gradient is put there by the tape
    int adding, adding_from; // the tensor whose gradient is added to from that step on, or nobody
    int read_until;          // the last read of the others
} shared_facts;

static void shared_write(shared_facts *f, int step)
{
    if (f->first_write == shared_never)
        f->first_write = step;
    else if (f->second_write == shared_never)
        f->second_write = step;
}

// A backward step. What hands a gradient out may be given another one in its place.
static void shared_note(const sg_node *node, int step, shared_facts *facts)
{
    for (int i = 0; i < node->n_out; i++) {
        shared_facts *f = &facts[node->out[i]->base->index];
        f->last_read = step;
        if (node->op->once) shared_write(f, step);
    }
    for (int i = 0; i < node->n_in; i++)
        if (node->in[i] != NULL && node->in[i]->wants_grad)
            shared_write(&facts[node->in[i]->base->index], step);
}

static void shared_note_all(const sg_tape *tape, shared_facts *facts)
{
    for (int t = 0; t < tape->n_tensors; t++)
        facts[t] = (shared_facts){
            .first_write = shared_never, .second_write = shared_never, .adding = shared_nobody};
    for (int n = 0; n < tape->n_nodes; n++) {
        const sg_node *node = tape->nodes[n];
        if (node->loss) facts[node->out[0]->base->index].loss = true;
    }
    for (int s = tape->forward_steps; s < tape->n_steps; s++)
        if (tape->steps[s].backward) shared_note(tape->nodes[tape->steps[s].node], s, facts);
}

// Whether the gradient of input i begins as that of the output, at this step.
static bool shared_begins(const sg_node *node, int i, int step, const shared_facts *facts)
{
    if (!(node->op->passes_gradient >> i & 1) || node->in[i] == NULL) return false;
    const sg_tensor *t = node->in[i]->base;
    const shared_facts *f = &facts[t->index];
    return t->wants_grad && !t->leaf && !f->loss && node->first[i] && f->first_write == step &&
           f->second_write > step && t->count == node->out[0]->base->count;
}

static void shared_inputs(const sg_node *node, int step, shared_facts *facts, int *owner)
{
    const int z = node->out[0]->base->index;
    shared_facts *place = &facts[owner[z]];
    if (facts[z].loss) return;
    if (place->adding == z) place->adding = shared_nobody;
    for (int added = 1; added >= 0; added--) // first what others add to
        for (int i = 0; i < node->n_in; i++) {
            if (!shared_begins(node, i, step, facts)) continue;
            const int x = node->in[i]->base->index;
            const shared_facts *f = &facts[x];
            if ((f->second_write != shared_never) != added) continue;
            if (added) {
                if (place->adding != shared_nobody || f->second_write <= place->read_until)
                    continue;
                place->adding = x;
                place->adding_from = f->second_write;
            } else {
                if (place->adding != shared_nobody && f->last_read >= place->adding_from) continue;
                if (f->last_read > place->read_until) place->read_until = f->last_read;
            }
            owner[x] = owner[z];
        }
}

sg_status sg_shared_grads(const sg_tape *tape, int *owner, sg_error *err)
{
    for (int t = 0; t < tape->n_tensors; t++)
        owner[t] = t;
    shared_facts *facts = sg_alloc_array((size_t)tape->n_tensors + 1, sizeof *facts);
    if (facts == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a tape");
    shared_note_all(tape, facts);
    for (int s = tape->forward_steps; s < tape->n_steps; s++) {
        const sg_node *node = tape->nodes[tape->steps[s].node];
        if (tape->steps[s].backward && node->op->passes_gradient)
            shared_inputs(node, s, facts, owner);
    }
    sg_free(facts);
    return SG_OK;
}
