/* The cart's controller: what it makes of the host's messages, of its inputs and of time. */
#ifndef APP_H
#define APP_H

#include <stdbool.h>
#include <stdint.h>

#include "link.h"
#include "message.h"
#include "pedal.h"
#include "route.h"

#define APP_STATUS_MS 250u /* between two, where nothing changes */
#define APP_RESEND_MS 50u  /* of what was not acknowledged */
#define APP_EVENT_MS 5000u /* a pedal's event of this age is given up: it must not act on another moment's picture */

/* A message that is sent until it is acknowledged. */
struct delivery {
    bool waiting;
    uint16_t sequence;
    uint32_t sent_ms;
};

struct app {
    struct link link;
    struct route route;
    struct pedals pedals;
    struct delivery event;
    struct delivery power_fail;
    bool failing; /* the supply, as far as it was told */
    uint32_t boot_id;
    uint8_t reset_cause;
    uint16_t sequence; /* of the next message that is sent */
    uint16_t heard;    /* of the newest message of the host */
    uint32_t refused;  /* whole frames that were no message for the controller */
    uint32_t lost;     /* frames that did not fit into the board's buffer */
    uint8_t color;    /* the lamp, as the host wants it */
    uint32_t blink_ms;
    uint32_t status_ms;
    uint32_t told_faults;
    bool told_overlay;
};

/* Start, and say so to the host. Every later call brings the time in milliseconds, which may wrap. */
void app_start(struct app *app, uint32_t boot_id, enum message_cause cause, uint32_t now_ms);

/* Take a byte from the host. */
void app_receive(struct app *app, uint8_t byte, uint32_t now_ms);

/* Bytes were lost before they got here. */
void app_lost_bytes(struct app *app);

/* Called each millisecond. */
void app_tick(struct app *app, uint32_t now_ms);

#endif
