// How much of the processors others use while something is measured, by what the system counts
// (Linux: /proc/stat) and what this process has used itself.
#ifndef SG_SWEEP_IDLE_H
#define SG_SWEEP_IDLE_H

#include <stdbool.h>

// How step_times.c looks at it; tests put another in its place.
typedef struct sg_idle_watch {
    void (*begin)(void *user);
    // Share of all processors that others used since `begin`, 0 to 1; NAN: cannot be told here.
    double (*end)(void *user);
    void (*wait)(void *user, double seconds);
    double least; // seconds from `begin` to `end` that it takes to tell a few hundredths
    void *user;
} sg_idle_watch;

typedef struct sg_idle_look {
    bool known;
    double busy, all; // seconds that processors have worked, have been there
    double own;       // of these, that they have worked for this process
} sg_idle_look;

// watch.user is `look`, which must outlive it.
sg_idle_watch sg_idle_watch_of(sg_idle_look *look);

// Processor ticks of the first line of /proc/stat, "cpu  user nice system idle iowait irq softirq
// steal …": what others of a virtual machine take (steal) counts as work. False: it is another
// text.
bool sg_idle_parse(const char *text, double *busy, double *all);

#endif
