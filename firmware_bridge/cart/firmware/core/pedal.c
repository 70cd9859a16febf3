#include "pedal.h"

#include <stddef.h>

static bool push(struct pedals *pedals, uint8_t source, bool pressed, uint32_t now_ms)
{
    const bool fits = pedals->count < PEDAL_QUEUE;
    struct pedal_event *event;

    if (!fits) {
        pedals_arrived(pedals);
    }
    event = &pedals->queue[(pedals->first + pedals->count) % PEDAL_QUEUE];
    event->id = pedals->next_id;
    event->at_ms = now_ms;
    event->source = source;
    event->pressed = pressed;
    pedals->next_id++;
    pedals->count++;
    return fits;
}

void pedals_start(struct pedals *pedals, uint8_t raw, uint32_t now_ms)
{
    pedals->stable = raw;
    pedals->moving = raw;
    for (uint8_t i = 0u; i < PEDAL_COUNT; i++) {
        pedals->since_ms[i] = now_ms;
    }
}

bool pedals_update(struct pedals *pedals, uint8_t raw, bool listened, uint32_t now_ms)
{
    bool kept = true;

    for (uint8_t i = 0u; i < PEDAL_COUNT; i++) {
        const uint8_t bit = (uint8_t)(1u << i);

        if (((raw ^ pedals->moving) & bit) != 0u) {
            pedals->since_ms[i] = now_ms;
        } else if ((((raw ^ pedals->stable) & bit) != 0u) &&
                   ((now_ms - pedals->since_ms[i]) >= PEDAL_DEBOUNCE_MS)) {
            pedals->stable ^= bit;
            if (listened && !push(pedals, i, (raw & bit) != 0u, now_ms)) {
                kept = false;
            }
        } else {
            /* at rest, or still bouncing */
        }
    }
    pedals->moving = raw;
    return kept;
}

const struct pedal_event *pedals_oldest(const struct pedals *pedals)
{
    return (pedals->count > 0u) ? &pedals->queue[pedals->first] : NULL;
}

void pedals_arrived(struct pedals *pedals)
{
    if (pedals->count > 0u) {
        pedals->first = (pedals->first + 1u) % PEDAL_QUEUE;
        pedals->count--;
    }
}
