// Linux counts in ticks, mostly of a hundredth of a second: what is shorter than some of them
// cannot be told.
#include "sweep/idle.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"

static const double idle_least = 0.5;

bool sg_idle_parse(const char *text, double *busy, double *all)
{
    enum { idle = 3, waiting = 4, fields = 8 };
    if (strncmp(text, "cpu ", 4) != 0) return false;
    *busy = *all = 0;
    text += 4;
    for (int i = 0; i < fields; i++) {
        char *end;
        const unsigned long long ticks = strtoull(text, &end, 10);
        if (end == text) return false;
        text = end;
        *all += (double)ticks;
        if (i != idle && i != waiting) *busy += (double)ticks;
    }
    return true;
}

static bool idle_stat(char *text, int room)
{
    const sg_fs *fs = sg_fs_get();
    const int handle = fs->open(fs->user, "/proc/stat", SG_FS_READ);
    if (handle < 0) return false;
    const int64_t got = fs->read(fs->user, handle, text, (size_t)room - 1);
    fs->close(fs->user, handle);
    if (got <= 0) return false;
    text[got] = '\0';
    return true;
}

static double idle_seconds(struct timeval t)
{
    return (double)t.tv_sec + 1e-6 * (double)t.tv_usec;
}

static sg_idle_look idle_now(void)
{
    sg_idle_look look = {0};
    struct rusage own;
    char text[512];
    const double ticks = (double)sysconf(_SC_CLK_TCK);
    if (!idle_stat(text, sizeof text) || !sg_idle_parse(text, &look.busy, &look.all) ||
        !(ticks > 0) || getrusage(RUSAGE_SELF, &own) != 0)
        return look;
    look.busy /= ticks;
    look.all /= ticks;
    look.own = idle_seconds(own.ru_utime) + idle_seconds(own.ru_stime);
    look.known = true;
    return look;
}

static void idle_begin(void *user)
{
    *(sg_idle_look *)user = idle_now();
}

static double idle_end(void *user)
{
    const sg_idle_look *was = user, now = idle_now();
    if (!was->known || !now.known || !(now.all > was->all)) return NAN;
    const double others = now.busy - was->busy - (now.own - was->own);
    return others > 0 ? others / (now.all - was->all) : 0;
}

static void idle_wait(void *user, double seconds)
{
    (void)user;
    const struct timespec time = {(time_t)seconds, (long)(1e9 * (seconds - floor(seconds)))};
    nanosleep(&time, NULL);
}

sg_idle_watch sg_idle_watch_of(sg_idle_look *look)
{
    return (sg_idle_watch){idle_begin, idle_end, idle_wait, idle_least, look};
}
