/* Frames on a byte stream: 0x00 | COBS(payload | CRC-32, little endian) | 0x00. */
#ifndef LINK_H
#define LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LINK_CRC_SIZE 4u
#define LINK_PAYLOAD_MAX 64u
/* COBS adds one byte to up to 254; the delimiters are two. */
#define LINK_FRAME_MAX (LINK_PAYLOAD_MAX + LINK_CRC_SIZE + 1u + 2u)

struct link {
    uint8_t bytes[LINK_PAYLOAD_MAX + LINK_CRC_SIZE + 1u];
    size_t length;
    bool overrun;
    uint32_t drops; /* frames that were none: too long, no COBS, wrong CRC */
};

/* CRC-32 of IEEE 802.3, as zlib computes it. */
uint32_t link_crc32(const uint8_t *bytes, size_t length);

/* Take a byte of the stream.
 * Returns the length of the payload that it completed, which then stands at the beginning of link->bytes until the
 * next call, or 0. */
size_t link_receive(struct link *link, uint8_t byte);

/* Write the frame of a payload of 1 to LINK_PAYLOAD_MAX bytes.
 * Returns the frame's length, or 0 where the payload has another length. */
size_t link_frame(const uint8_t *payload, size_t length, uint8_t frame[LINK_FRAME_MAX]);

#endif
