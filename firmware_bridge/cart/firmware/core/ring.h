/* Bytes between one writer and one reader, of which either may be an interrupt. */
#ifndef RING_H
#define RING_H

#include <stdbool.h>
#include <stdint.h>

#define RING_SIZE 1024u /* a power of two; one place stays empty */

struct ring {
    uint8_t bytes[RING_SIZE];
    volatile uint32_t head; /* written by the writer only */
    volatile uint32_t tail; /* written by the reader only */
};

/* False, and the byte is lost, where the ring is full. */
bool ring_put(struct ring *ring, uint8_t byte);

/* False where the ring is empty. */
bool ring_take(struct ring *ring, uint8_t *byte);

/* Bytes that fit now, for the writer. */
uint32_t ring_room(const struct ring *ring);

#endif
