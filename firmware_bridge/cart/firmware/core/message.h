/* The messages of ../../protocol/cart.cddl, as the generated codec reads and writes them. */
#ifndef MESSAGE_H
#define MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cart_types.h"

#define MESSAGE_PROTOCOL 2u

enum { ROLE_RUNTIME = 0, ROLE_SERVICE = 1 };
enum { LAMP_OFF = 0, LAMP_GREEN, LAMP_AMBER, LAMP_RED, LAMP_BLUE, LAMP_WHITE };
enum { ROUTE_PASSTHROUGH = 0, ROUTE_OVERLAY = 1 };
enum message_cause { CAUSE_UNKNOWN = 0, CAUSE_POWER, CAUSE_PIN, CAUSE_WATCHDOG, CAUSE_SOFTWARE, CAUSE_FAULT };
enum {
    STATE_BOOT = 0,
    STATE_SELFTEST,
    STATE_NO_SIGNAL,
    STATE_RUNNING,
    STATE_PAUSED,
    STATE_DEGRADED,
    STATE_BYPASS,
    STATE_COUNT
};
enum message_code {
    CODE_DONE = 0,
    CODE_SCHEMA,
    CODE_VERSION,
    CODE_GREET_FIRST,
    CODE_NOT_NEWER,
    CODE_UNKNOWN_STATE,
    CODE_REFUSED,
    CODE_TOO_OLD
};

/* Read what every version has in common. False where the payload has not even that. */
bool message_preamble(const uint8_t *payload, size_t length, uint32_t *version, uint32_t *sequence);

/* Read a whole message. The host's version in a hello points into the payload. False where it breaks the schema. */
bool message_decode(const uint8_t *payload, size_t length, struct envelope *envelope);

/* Write a message. Returns its length, 0 where it breaks the schema or does not fit. */
size_t message_encode(const struct envelope *envelope, uint8_t *payload, size_t room);

#endif
