/* The controller as a library: its board is in memory, and its clock is the caller's. */
#ifndef HOST_H
#define HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "app.h"
#include "ring.h"

/* Set by the caller between calls. */
struct host_inputs {
    int32_t temperature_cc;
    uint32_t supply_mv;
    uint32_t contact_ms; /* how long the relay takes to follow its coil */
    int32_t stuck;       /* -1 the contact follows, 0 it stays open, 1 it is welded */
    uint32_t holdup_ms;
    uint32_t pedals;
};

struct host {
    struct host_inputs inputs;
    struct app app;
    struct ring sent;
    uint32_t now_ms;
    uint32_t moved_ms; /* when the coil last changed */
    bool coil;
    bool contact;
    uint8_t color;
};

size_t host_size(void);

struct host_inputs *host_inputs_of(struct host *host);

/* Power on or reset. Inputs stay as they are. */
void host_start(struct host *host, uint32_t boot_id, uint32_t cause, uint32_t now_ms);

void host_receive(struct host *host, const uint8_t *bytes, size_t length);

/* Run each millisecond up to `now_ms`. */
void host_advance(struct host *host, uint32_t now_ms);

/* Take what was sent; returns how much. */
size_t host_take(struct host *host, uint8_t *bytes, size_t room);

uint32_t host_now_ms(const struct host *host);
bool host_coil(const struct host *host);
bool host_contact(const struct host *host);
uint32_t host_lamp(const struct host *host);
uint32_t host_faults(const struct host *host);
uint32_t host_drops(const struct host *host);
uint32_t host_refused(const struct host *host);

/* The codec and the frames by themselves: both return the length written, 0 for what they refuse. */
size_t host_reencode(const uint8_t *payload, size_t length, uint8_t *out, size_t room);
size_t host_reframe(const uint8_t *frame, size_t length, uint8_t *out, size_t room);

#endif
