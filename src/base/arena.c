// Pieces are cut from blocks of 64 KiB, or one of their own where they are larger; nothing is given
// back alone.
#include "base/arena.h"

#include <stdint.h>
#include <string.h>

#include "base/alloc.h"

typedef struct sg_arena_block {
    struct sg_arena_block *next;
    size_t used;
    size_t capacity;
    _Alignas(16) unsigned char data[];
} sg_arena_block;

enum { arena_block_bytes = 64 * 1024 };

void *sg_arena_alloc(sg_arena *arena, size_t bytes)
{
    if (bytes > SIZE_MAX - 64) return NULL;
    size_t rounded = (bytes + 15) & ~(size_t)15;
    sg_arena_block *block = arena->head;
    if (block == NULL || block->capacity - block->used < rounded) {
        size_t capacity = rounded > arena_block_bytes ? rounded : arena_block_bytes;
        block = sg_alloc(sizeof *block + capacity);
        if (block == NULL) return NULL;
        *block = (sg_arena_block){.next = arena->head, .capacity = capacity};
        arena->head = block;
    }
    void *pointer = block->data + block->used;
    block->used += rounded;
    return pointer;
}

char *sg_arena_strndup(sg_arena *arena, const char *text, size_t length)
{
    char *copy = sg_arena_alloc(arena, length + 1);
    if (copy == NULL) return NULL;
    memcpy(copy, text, length);
    copy[length] = '\0';
    return copy;
}

void sg_arena_free(sg_arena *arena)
{
    while (arena->head != NULL) {
        sg_arena_block *next = arena->head->next;
        sg_free(arena->head);
        arena->head = next;
    }
}
