// Blocks in which weights are stored: how many there are in one, and its bytes. kernel/quant.h says
// what they hold; files and kernels count them by these numbers.
#ifndef SG_BASE_BLOCK_SIZES_H
#define SG_BASE_BLOCK_SIZES_H

enum {
    SG_BLOCK_WEIGHTS = 32,        // of Q4_0 to Q8_0 and MXFP4
    SG_SUPERBLOCK_WEIGHTS = 256,  // of Q4_K to Q6_K
    SG_Q4_0_BYTES = 2 + 16,       // scale, nibbles
    SG_Q4_1_BYTES = 4 + 16,       // scale, offset, nibbles
    SG_Q5_0_BYTES = 2 + 4 + 16,   // scale, fifth bits, nibbles
    SG_Q5_1_BYTES = 4 + 4 + 16,   // scale, offset, fifth bits, nibbles
    SG_Q8_0_BYTES = 2 + 32,       // scale, bytes
    SG_Q4_K_BYTES = 4 + 12 + 128, // scale, scale of offsets, their factors, nibbles
    SG_Q5_K_BYTES = 4 + 12 + 32 + 128,
    SG_Q6_K_BYTES = 128 + 64 + 16 + 2, // nibbles, upper pairs of bits, factors, scale
    SG_MXFP4_BYTES = 16                // nibbles; scales lie elsewhere
};

#endif
