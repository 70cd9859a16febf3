/* Pedals: debounced, and each edge queued until the host has acknowledged it. */
#ifndef PEDAL_H
#define PEDAL_H

#include <stdbool.h>
#include <stdint.h>

#define PEDAL_COUNT 4u
#define PEDAL_DEBOUNCE_MS 20u
#define PEDAL_QUEUE 16u

struct pedal_event {
    uint32_t id;
    uint32_t at_ms;
    uint8_t source;
    bool pressed;
};

struct pedals {
    uint8_t stable; /* bit per pedal */
    uint8_t moving; /* last raw value */
    uint32_t since_ms[PEDAL_COUNT];
    struct pedal_event queue[PEDAL_QUEUE];
    uint32_t first; /* place of the oldest */
    uint32_t count;
    uint32_t next_id;
};

/* Take the pedals as they are: one that is held down while the controller starts is no event. */
void pedals_start(struct pedals *pedals, uint8_t raw, uint32_t now_ms);

/* Called each millisecond. An edge becomes an event only while somebody listens: one pressed before the runtime was
 * there must not act when it comes. False where an edge displaced the oldest one of a full queue. */
bool pedals_update(struct pedals *pedals, uint8_t raw, bool listened, uint32_t now_ms);

/* The oldest event that was not acknowledged, NULL where there is none. */
const struct pedal_event *pedals_oldest(const struct pedals *pedals);

/* The oldest event has arrived. */
void pedals_arrived(struct pedals *pedals);

#endif
