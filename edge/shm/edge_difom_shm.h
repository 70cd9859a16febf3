/* edge_difom_shm.h - reads the shared-memory stream of edge-difom (`--sink shm:NAME`) from C or C++.
 *
 * RESEARCH USE ONLY. NOT A MEDICAL DEVICE.
 *
 *     struct edge_difom_stream stream;
 *     struct edge_difom_slot head;
 *     edge_difom_init(&stream, "/dev/shm/NAME");
 *     for (;;) {
 *         uint64_t now = edge_difom_now_ns();
 *         if (!edge_difom_has_news(&stream, now)) { show_no_news(); continue; }
 *         if (edge_difom_read(&stream, &head, overlay, sizeof overlay, scores, sizeof scores, NULL, 0) == EDGE_DIFOM_OK)
 *             show(&head, edge_difom_may_show(&head, now) ? overlay : NULL);
 *     }
 *     edge_difom_close(&stream);
 *
 * Rules for whoever shows something:
 *   - nothing is shown when the last sign of life is older than EDGE_DIFOM_SILENCE_NS: the writer may be dead;
 *   - nothing of a frame is shown from its `valid_until_ns` on; the mask and the regions only where
 *     EDGE_DIFOM_HAS_MASK is set. The overlay carries the status in any case.
 *
 * The file: a header at 0, then `slots` slots of `slot_bytes` from `header_bytes` on. Publication n is in slot
 * n % slots; `sequence` is odd while the slot is written. All times are CLOCK_MONOTONIC nanoseconds, byte order
 * is the machine's. The file never shrinks, so a mapping stays good; where `retired` is set, a new file has the
 * name. Overlay: height x width x 4 bytes R, G, B, A; A is 255 where something is drawn, and all four are 0
 * elsewhere, so straight and premultiplied alpha are the same. Scores: scores_height x scores_width bytes in 1/256
 * at the engine's resolution. Picture, where it was asked for: height x width x 3 bytes R, G, B. Rows have no gaps.
 *
 * C99 with the GCC and Clang atomics; POSIX. One `struct edge_difom_stream` belongs to one thread.
 */
#ifndef EDGE_DIFOM_SHM_H
#define EDGE_DIFOM_SHM_H

#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#ifdef __cplusplus
extern "C" {
#endif

#define EDGE_DIFOM_MAGIC "EDIFOM\0\1"
#define EDGE_DIFOM_VERSION 2u
#define EDGE_DIFOM_SLOTS 2u
#define EDGE_DIFOM_MAX_REGIONS 32u
#define EDGE_DIFOM_SILENCE_NS 120000000u

enum edge_difom_state {
    EDGE_DIFOM_BOOT = 0,
    EDGE_DIFOM_SELFTEST = 1,
    EDGE_DIFOM_NO_SIGNAL = 2,
    EDGE_DIFOM_RUNNING = 3,
    EDGE_DIFOM_PAUSED = 4,
    EDGE_DIFOM_DEGRADED = 5,
    EDGE_DIFOM_BYPASS = 6
};

enum edge_difom_flag {
    EDGE_DIFOM_HAS_FRAME = 1,   /* the slot is of a frame */
    EDGE_DIFOM_HAS_MASK = 2,    /* mask and regions may be drawn */
    EDGE_DIFOM_HAS_PICTURE = 4  /* the frame's picture is in the slot */
};

struct edge_difom_header {
    char magic[8];
    uint32_t version;
    uint32_t header_bytes; /* where slot 0 begins */
    uint32_t slots;
    uint32_t writer_pid;
    uint64_t slot_bytes;
    uint64_t total_bytes;
    uint64_t newest;  /* publication that is whole; 0 before the first */
    uint64_t news_ns; /* last sign of life */
    uint64_t retired; /* not 0: nothing comes any more, open the name again */
};

struct edge_difom_slot {
    uint64_t sequence; /* odd while the slot is written */
    uint64_t number;   /* of the publication, from 1 */
    uint64_t frame_index;
    uint64_t captured_ns;
    uint64_t done_ns;        /* when the slot was filled */
    uint64_t valid_until_ns; /* nothing of the frame may be shown from then on; 0 without a frame */
    uint64_t since_ns;       /* when the state began */
    uint32_t state;          /* enum edge_difom_state */
    uint32_t flags;          /* enum edge_difom_flag */
    uint32_t width, height;  /* of overlay and picture */
    uint32_t scores_width, scores_height; /* 0 without a mask */
    uint32_t regions;        /* how many */
    float mask_area;         /* share of the part */
    int32_t view_x, view_y, view_width, view_height; /* field of view */
    int32_t part_x, part_y, part_width, part_height; /* what of the frame the scores cover */
    uint64_t regions_at;     /* bytes from the slot's begin */
    uint64_t scores_at;
    uint64_t overlay_at;
    uint64_t picture_at;     /* 0 without room for a picture */
    char reason[128];        /* UTF-8; empty only while RUNNING */
};

struct edge_difom_region {
    int32_t x, y, width, height; /* frame pixels */
    float area;                  /* share of the part */
    float score;                 /* highest inside, 0 to 1 */
};

enum edge_difom_result {
    EDGE_DIFOM_OK = 0,
    EDGE_DIFOM_NOTHING = 1, /* no writer yet, nothing published yet, or overwritten again and again: try later */
    EDGE_DIFOM_TOO_SMALL = 2 /* a buffer is smaller than the part; `head` tells the sizes */
};

struct edge_difom_stream {
    const char *path;
    const unsigned char *base; /* NULL while no segment is open */
    size_t size;
    dev_t device;
    ino_t inode;
    struct edge_difom_region regions[EDGE_DIFOM_MAX_REGIONS]; /* of the last read */
};

static inline uint64_t edge_difom_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* `path` is kept by reference; no segment need exist yet. */
static inline void edge_difom_init(struct edge_difom_stream *stream, const char *path) {
    memset(stream, 0, sizeof *stream);
    stream->path = path;
}

static inline void edge_difom_close(struct edge_difom_stream *stream) {
    if (stream->base != NULL) munmap((void *)(uintptr_t)stream->base, stream->size);
    stream->base = NULL;
    stream->size = 0;
}

static inline const struct edge_difom_header *edge_difom_head(const struct edge_difom_stream *stream) {
    return (const struct edge_difom_header *)(const void *)stream->base;
}

/* Opens what has the name now, where that is another segment than the open one. Not 0: a segment is open. */
static inline int edge_difom_reopen(struct edge_difom_stream *stream) {
    struct stat found;
    int file = open(stream->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0) return stream->base != NULL;
    if (fstat(file, &found) == 0 && found.st_size >= (off_t)sizeof(struct edge_difom_header) &&
        (stream->base == NULL || found.st_dev != stream->device || found.st_ino != stream->inode)) {
        void *memory = mmap(NULL, (size_t)found.st_size, PROT_READ, MAP_SHARED, file, 0);
        if (memory != MAP_FAILED) {
            const struct edge_difom_header *head = (const struct edge_difom_header *)memory;
            uint64_t size = (uint64_t)found.st_size;
            if (memcmp(head->magic, EDGE_DIFOM_MAGIC, 8) == 0 && head->version == EDGE_DIFOM_VERSION &&
                head->slots == EDGE_DIFOM_SLOTS && head->header_bytes >= sizeof *head &&
                head->slot_bytes >= sizeof(struct edge_difom_slot) && head->header_bytes <= size &&
                head->slot_bytes <= (size - head->header_bytes) / EDGE_DIFOM_SLOTS) {
                edge_difom_close(stream);
                stream->base = (const unsigned char *)memory;
                stream->size = (size_t)size;
                stream->device = found.st_dev;
                stream->inode = found.st_ino;
            } else {
                munmap(memory, (size_t)found.st_size);
            }
        }
    }
    close(file);
    return stream->base != NULL;
}

/* The newest publication, 0 where there is none; `news_ns` is the last sign of life. Follows a new writer. */
static inline uint64_t edge_difom_news(struct edge_difom_stream *stream, uint64_t *news_ns) {
    uint64_t newest;
    *news_ns = 0;
    if (stream->base != NULL && __atomic_load_n(&edge_difom_head(stream)->retired, __ATOMIC_ACQUIRE))
        edge_difom_close(stream);
    if (stream->base == NULL && !edge_difom_reopen(stream)) return 0;
    newest = __atomic_load_n(&edge_difom_head(stream)->newest, __ATOMIC_ACQUIRE);
    *news_ns = __atomic_load_n(&edge_difom_head(stream)->news_ns, __ATOMIC_ACQUIRE);
    return newest;
}

/* Not 0 while the writer lives. After a silence it looks for a new writer under the name. */
static inline int edge_difom_has_news(struct edge_difom_stream *stream, uint64_t now_ns) {
    uint64_t news_ns;
    (void)edge_difom_news(stream, &news_ns);
    if (now_ns < news_ns + EDGE_DIFOM_SILENCE_NS) return 1;
    (void)edge_difom_reopen(stream);
    (void)edge_difom_news(stream, &news_ns);
    return now_ns < news_ns + EDGE_DIFOM_SILENCE_NS;
}

/* Whether a slot may still be shown. */
static inline int edge_difom_may_show(const struct edge_difom_slot *head, uint64_t now_ns) {
    return head->valid_until_ns == 0 || now_ns < head->valid_until_ns;
}

static inline int edge_difom_part_(const unsigned char *slot, uint64_t slot_bytes, uint64_t at, uint64_t size,
                                   void *to, size_t room) {
    if (to == NULL || size == 0) return EDGE_DIFOM_OK;
    if (at > slot_bytes || size > slot_bytes - at) return EDGE_DIFOM_NOTHING;
    if (size > room) return EDGE_DIFOM_TOO_SMALL;
    memcpy(to, slot + at, (size_t)size);
    return EDGE_DIFOM_OK;
}

/* Copies the newest publication, whole: head, regions (into `stream->regions`) and those parts whose buffer is given. */
static inline int edge_difom_read(struct edge_difom_stream *stream, struct edge_difom_slot *head, void *overlay,
                                  size_t overlay_room, void *scores, size_t scores_room, void *picture,
                                  size_t picture_room) {
    int attempt;
    for (attempt = 0; attempt < 4; attempt++) {
        uint64_t news_ns, number = edge_difom_news(stream, &news_ns), sequence, slot_bytes, pixels;
        const unsigned char *slot;
        const uint64_t *live;
        int parts[4], worst = EDGE_DIFOM_OK, n;
        if (number == 0) return EDGE_DIFOM_NOTHING;
        slot_bytes = edge_difom_head(stream)->slot_bytes;
        slot = stream->base + edge_difom_head(stream)->header_bytes + number % EDGE_DIFOM_SLOTS * slot_bytes;
        live = (const uint64_t *)(const void *)slot;
        sequence = __atomic_load_n(live, __ATOMIC_ACQUIRE);
        if (sequence & 1u) continue;
        memcpy(head, slot, sizeof *head);
        pixels = (uint64_t)head->height * head->width;
        if (head->regions > EDGE_DIFOM_MAX_REGIONS || pixels > slot_bytes) continue;
        parts[0] = edge_difom_part_(slot, slot_bytes, head->regions_at,
                                    (uint64_t)head->regions * sizeof(struct edge_difom_region), stream->regions,
                                    sizeof stream->regions);
        parts[1] = edge_difom_part_(slot, slot_bytes, head->scores_at,
                                    (uint64_t)head->scores_height * head->scores_width, scores, scores_room);
        parts[2] = edge_difom_part_(slot, slot_bytes, head->overlay_at, 4u * pixels, overlay, overlay_room);
        parts[3] = edge_difom_part_(slot, slot_bytes, head->picture_at,
                                    head->flags & EDGE_DIFOM_HAS_PICTURE ? 3u * pixels : 0u, picture, picture_room);
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        if (__atomic_load_n(live, __ATOMIC_RELAXED) != sequence) continue;
        head->reason[sizeof head->reason - 1] = 0;
        for (n = 0; n < 4; n++)
            if (parts[n] > worst) worst = parts[n];
        return worst;
    }
    return EDGE_DIFOM_NOTHING;
}

#ifdef __cplusplus
}
#endif

#endif
