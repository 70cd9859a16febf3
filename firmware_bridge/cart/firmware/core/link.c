#include "link.h"

#define CRC_POLYNOMIAL 0xEDB88320u

uint32_t link_crc32(const uint8_t *bytes, size_t length)
{
    uint32_t crc = 0xFFFFFFFFu;

    for (size_t i = 0u; i < length; i++) {
        crc ^= bytes[i];
        for (uint8_t bit = 0u; bit < 8u; bit++) {
            crc = ((crc & 1u) != 0u) ? ((crc >> 1) ^ CRC_POLYNOMIAL) : (crc >> 1);
        }
    }
    return ~crc;
}

/* Undo COBS in place: what is written never overtakes what is read. Returns the length, 0 where it is no COBS. */
static size_t unstuff(uint8_t *bytes, size_t length)
{
    size_t read = 0u;
    size_t written = 0u;
    bool valid = true;

    while (valid && (read < length)) {
        const size_t code = bytes[read];
        const size_t next = read + code;

        if ((code == 0u) || (next > length)) {
            valid = false;
        } else {
            read++;
            while (read < next) {
                bytes[written] = bytes[read];
                written++;
                read++;
            }
            if ((code != 0xFFu) && (read < length)) {
                bytes[written] = 0u;
                written++;
            }
        }
    }
    return valid ? written : 0u;
}

static size_t finish(struct link *link)
{
    size_t payload = 0u;

    if ((link->length > 0u) || link->overrun) { /* otherwise two delimiters in a row */
        const size_t length = link->overrun ? 0u : unstuff(link->bytes, link->length);

        if (length > LINK_CRC_SIZE) {
            const uint8_t *sent = &link->bytes[length - LINK_CRC_SIZE];
            const uint32_t crc = (uint32_t)sent[0] | ((uint32_t)sent[1] << 8) | ((uint32_t)sent[2] << 16) |
                                 ((uint32_t)sent[3] << 24);

            if (crc == link_crc32(link->bytes, length - LINK_CRC_SIZE)) {
                payload = length - LINK_CRC_SIZE;
            }
        }
        if (payload == 0u) {
            link->drops++;
        }
    }
    link->length = 0u;
    link->overrun = false;
    return payload;
}

size_t link_receive(struct link *link, uint8_t byte)
{
    size_t payload = 0u;

    if (byte == 0u) {
        payload = finish(link);
    } else if (link->length < sizeof link->bytes) {
        link->bytes[link->length] = byte;
        link->length++;
    } else {
        link->overrun = true;
    }
    return payload;
}

size_t link_frame(const uint8_t *payload, size_t length, uint8_t frame[LINK_FRAME_MAX])
{
    size_t end = 0u;

    if ((length > 0u) && (length <= LINK_PAYLOAD_MAX)) {
        const uint32_t crc = link_crc32(payload, length);
        size_t code_at = 1u;

        /* A block ends at a zero; none has 254 bytes, for which COBS knows a case of its own. */
        frame[0] = 0u;
        end = 2u;
        for (size_t i = 0u; i < (length + LINK_CRC_SIZE); i++) {
            uint8_t byte;

            if (i < length) {
                byte = payload[i];
            } else {
                byte = (uint8_t)((crc >> (8u * (i - length))) & 0xFFu);
            }
            if (byte != 0u) {
                frame[end] = byte;
            } else {
                frame[code_at] = (uint8_t)(end - code_at);
                code_at = end;
            }
            end++;
        }
        frame[code_at] = (uint8_t)(end - code_at);
        frame[end] = 0u;
        end++;
    }
    return end;
}
