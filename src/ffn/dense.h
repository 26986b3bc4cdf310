// What the operations have in common that read a memory of single neurons through dense products
// (memory_dense.c): their attributes and loop, the hits in the order of blocks of neurons, products
// with those blocks, and the gradients of the tables (dense.c).
#ifndef SG_FFN_DENSE_H
#define SG_FFN_DENSE_H

#include "ffn/neurons.h"

// Rows in f32 and, under bf16, what they are rounded to; values may be NULL then.
typedef struct sg_dense_rows {
    const sg_real *values;
    const sg_bf16 *half;
} sg_dense_rows;

// The hits of a pool and tile, by block of neurons: hit i is number hits[i] of the values of hits
// (sg_neurons.of_channel), and stands at places[i] of a matrix (rows of the tile, neurons of the
// block).
typedef struct sg_dense_index {
    int32_t *places, *hits; // (hits) each
    int32_t *starts;        // (pools, tiles, blocks + 1), into the hits of a pool and tile
} sg_dense_index;

// Right sides of products, prepared once for all tiles or all blocks (sg_gemm_pack); NULL: they are
// read as they are.
typedef struct sg_dense_packed {
    unsigned char *dots, *sums; // (pools, blocks) of the tables of the two products of a tile
    unsigned char *x, *dy;      // (tiles)
    size_t block_bytes, tile_bytes;
} sg_dense_packed;

typedef struct sg_dense_loop {
    sg_neurons_loop n;
    sg_dense_index index;
    sg_dense_rows x, dy;
    sg_real *z, *da; // of hits, as the index numbers them
    sg_dense_packed packed;
    unsigned char *pack; // where it is
    int dots, sums;      // of sg_dense_tiles
} sg_dense_loop;

// The scratch of a worker.
typedef struct sg_dense_room {
    sg_real *product; // (tile, block)
    sg_real *spread; // likewise: values of hits in a matrix of zeros, which it is again afterwards;
                     // NULL: no two hits can meet in it, and half is enough
    sg_bf16 *half;   // the same rounded; NULL: not wanted
    sg_real *wide;   // (block, d) of a table
    sg_real *gates;  // 3 (tile, k)
    void *gemm;      // sg_gemm_room
} sg_dense_room;

// The hits of one pool in one tile of rows.
typedef struct sg_dense_part {
    int64_t pool, row, end;
    int64_t channel, channels; // of the pool
    const int32_t *places, *hits, *starts;
} sg_dense_part;

// ---- recording --------------------------------------------------------------------------------

// Completes the attributes, makes them the node's, saves the index behind what is saved already and
// asks for scratch: `hits` times the values of hits, and the halves. false: the tape has the error.
bool sg_dense_record(sg_tape *tape, sg_node *node, sg_neurons *a, int hits);

// ---- running ----------------------------------------------------------------------------------

// The node's loop, z and da behind each other in its scratch where there is room for them, and x in
// bf16 where it is to be; of a backward pass dy too (else NULL).
sg_dense_loop sg_dense_begin(const sg_run *run, const sg_node *node, const sg_real *dy);
// Puts the hits in order; forward.
void sg_dense_sort(sg_dense_loop *loop);
// Calls `fn` for all tiles of rows, which make dots with input `dots` and sums of input `sums`; -1:
// they do not.
void sg_dense_tiles(sg_dense_loop *loop, sg_range_fn fn, int dots, int sums);
sg_dense_room sg_dense_room_of(const sg_dense_loop *loop, int worker);
sg_dense_part sg_dense_part_of(const sg_dense_loop *loop, int64_t pool, int64_t tile);

// values[hit] = row . neuron, for the hits of a part: `from` are all rows.
void sg_dense_dots(const sg_dense_loop *loop, const sg_dense_part *part, const sg_dense_room *room,
                   sg_real *values, const sg_dense_rows *from, int input);
// The rows of `to` (rows, d) that the part has get the sum of values[hit] times neuron, or it is
// added.
void sg_dense_sums(const sg_dense_loop *loop, const sg_dense_part *part, const sg_dense_room *room,
                   sg_real *to, bool add, const sg_real *values, int input);
// The gradients of both tables from z and da.
void sg_dense_weights(sg_dense_loop *loop);

#endif
