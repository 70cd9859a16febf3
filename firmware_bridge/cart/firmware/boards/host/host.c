#include "host.h"

#include <string.h>

#include "board.h"

/* Whose board it is; callers take turns (one thread at a time). */
static struct host *current;

bool board_send(const uint8_t *frame, size_t length)
{
    const bool fits = ring_room(&current->sent) >= length;

    for (size_t i = 0u; fits && (i < length); i++) {
        (void)ring_put(&current->sent, frame[i]);
    }
    return fits;
}

void board_relay(bool overlay)
{
    if (overlay != current->coil) {
        current->coil = overlay;
        current->moved_ms = current->now_ms;
    }
}

static void move_contact(struct host *host)
{
    if (host->inputs.stuck >= 0) {
        host->contact = host->inputs.stuck != 0;
    } else if ((host->now_ms - host->moved_ms) >= host->inputs.contact_ms) {
        host->contact = host->coil;
    } else {
        /* on its way */
    }
}

bool board_relay_feedback(void)
{
    return current->contact;
}

void board_lamp(uint8_t color)
{
    current->color = color;
}

uint8_t board_pedals(void)
{
    return (uint8_t)(current->inputs.pedals & 0x0Fu);
}

int32_t board_temperature_cc(void)
{
    return current->inputs.temperature_cc;
}

uint32_t board_supply_mv(void)
{
    return current->inputs.supply_mv;
}

uint16_t board_holdup_ms(void)
{
    return (uint16_t)(current->inputs.holdup_ms & 0xFFFFu);
}

uint8_t board_revision(void)
{
    return 0u;
}

size_t host_size(void)
{
    return sizeof(struct host);
}

struct host_inputs *host_inputs_of(struct host *host)
{
    return &host->inputs;
}

void host_start(struct host *host, uint32_t boot_id, uint32_t cause, uint32_t now_ms)
{
    const bool contact = host->contact; /* a relay that takes its time, or is welded, stays where it was */

    current = host;
    host->sent.tail = host->sent.head;
    host->now_ms = now_ms;
    host->coil = false;
    host->contact = contact;
    host->moved_ms = now_ms;
    move_contact(host);
    app_start(&host->app, boot_id, (enum message_cause)cause, now_ms);
}

void host_receive(struct host *host, const uint8_t *bytes, size_t length)
{
    current = host;
    for (size_t i = 0u; i < length; i++) {
        app_receive(&host->app, bytes[i], host->now_ms);
    }
}

void host_advance(struct host *host, uint32_t now_ms)
{
    current = host;
    while (host->now_ms != now_ms) {
        host->now_ms++;
        move_contact(host);
        app_tick(&host->app, host->now_ms);
    }
}

size_t host_take(struct host *host, uint8_t *bytes, size_t room)
{
    size_t taken = 0u;

    while ((taken < room) && ring_take(&host->sent, &bytes[taken])) {
        taken++;
    }
    return taken;
}

uint32_t host_now_ms(const struct host *host)
{
    return host->now_ms;
}

bool host_coil(const struct host *host)
{
    return host->coil;
}

bool host_contact(const struct host *host)
{
    return host->contact;
}

uint32_t host_lamp(const struct host *host)
{
    return host->color;
}

uint32_t host_faults(const struct host *host)
{
    return host->app.route.faults;
}

uint32_t host_drops(const struct host *host)
{
    return host->app.link.drops;
}

uint32_t host_refused(const struct host *host)
{
    return host->app.refused;
}

size_t host_reencode(const uint8_t *payload, size_t length, uint8_t *out, size_t room)
{
    struct envelope envelope = {0};
    size_t written = 0u;

    if (message_decode(payload, length, &envelope)) {
        written = message_encode(&envelope, out, room);
    }
    return written;
}

size_t host_reframe(const uint8_t *frame, size_t length, uint8_t *out, size_t room)
{
    struct link link = {0};
    uint8_t again[LINK_FRAME_MAX];
    size_t written = 0u;

    for (size_t i = 0u; i < length; i++) {
        const size_t payload = link_receive(&link, frame[i]);

        if (payload > 0u) {
            const size_t framed = link_frame(link.bytes, payload, again);

            if (framed <= (room - written)) {
                (void)memcpy(&out[written], again, framed);
                written += framed;
            }
        }
    }
    return written;
}
