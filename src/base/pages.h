// Pages of memory, above all of mapped files: which are in memory, and what the system is told of
// those that are. A range of bytes touches the pages in which any of it lies; inside are those that
// hold nothing else.
#ifndef SG_BASE_PAGES_H
#define SG_BASE_PAGES_H

#include "base/status.h"

int64_t sg_page_bytes(void);
// Pages that a range touches, and how many of them are in memory: found in the range itself, or of
// a file in the system's cache (mincore). False where the system does not say.
bool sg_pages_resident(const void *at, int64_t bytes, int64_t *pages, int64_t *resident);
// Whether it says so of a file's pages: to others than those who own it or may write to it the
// system calls all of them in memory.
bool sg_pages_told(const char *file);
// Reads the pages that a range touches and holds them until they are unlocked (mlock). False where
// the system refuses, by a limit (ulimit -l) or for want of memory.
bool sg_pages_lock(const void *at, int64_t bytes);
void sg_pages_unlock(const void *at, int64_t bytes);
// The pages that a range touches will be read soon: the system may begin to.
void sg_pages_ask(const void *at, int64_t bytes);
// The pages around those that are read are not worth reading too.
void sg_pages_scattered(const void *at, int64_t bytes);
// The pages that are inside leave memory, now. False where the system cannot.
bool sg_pages_drop(const void *at, int64_t bytes);
// Pages that this process waited for the disk for so far.
int64_t sg_pages_waited(void);

#endif
