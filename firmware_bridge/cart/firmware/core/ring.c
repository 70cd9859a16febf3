#include "ring.h"

bool ring_put(struct ring *ring, uint8_t byte)
{
    const uint32_t head = ring->head;
    const uint32_t next = (head + 1u) % RING_SIZE;
    const bool fits = next != ring->tail;

    if (fits) {
        ring->bytes[head] = byte;
        ring->head = next;
    }
    return fits;
}

bool ring_take(struct ring *ring, uint8_t *byte)
{
    const uint32_t tail = ring->tail;
    const bool any = tail != ring->head;

    if (any) {
        *byte = ring->bytes[tail];
        ring->tail = (tail + 1u) % RING_SIZE;
    }
    return any;
}

uint32_t ring_room(const struct ring *ring)
{
    const uint32_t head = ring->head;
    const uint32_t tail = ring->tail;

    return (tail + RING_SIZE - head - 1u) % RING_SIZE;
}
