/* Arbitrary and nearly right bytes into frames, codec and application, from a seed; the sanitizers watch.
 *
 * After each round one thing must hold whatever came: the coil is powered only while the application has a greeting,
 * a heartbeat and a lease that are young enough. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host.h"

#define BATCH_MAX 200u

static uint64_t seed;

/* xorshift64*, Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled", 2016. */
static uint32_t draw(uint32_t below)
{
    seed ^= seed >> 12;
    seed ^= seed << 25;
    seed ^= seed >> 27;
    return (uint32_t)((seed * 2685821657736338717u) >> 32) % below;
}

static void draw_message(const struct host *host, struct envelope *envelope)
{
    struct message_r *message = &envelope->envelope_msg;

    (void)memset(envelope, 0, sizeof *envelope);
    envelope->envelope_ver = (draw(50u) == 0u) ? draw(256u) : MESSAGE_PROTOCOL;
    envelope->envelope_seq = draw(65536u);
    switch (draw(8u)) {
    case 0:
        message->message_choice = message_hello_m_c;
        message->message_hello_m.hello_role = draw(8u) / 7u;
        message->message_hello_m.hello_proto = (draw(20u) == 0u) ? draw(256u) : MESSAGE_PROTOCOL;
        message->message_hello_m.hello_fw.value = (const uint8_t *)"0123456789012345678901234";
        message->message_hello_m.hello_fw.len = 1u + draw(24u);
        break;
    case 1:
        message->message_choice = message_set_lamp_m_c;
        message->message_set_lamp_m.set_lamp_color = draw(6u);
        message->message_set_lamp_m.set_lamp_blink_ms = draw(10001u);
        break;
    case 2:
    case 3:
        message->message_choice = message_set_route_m_c;
        message->message_set_route_m.set_route_route = draw(8u) / 2u > 0u ? 1u : 0u;
        message->message_set_route_m.set_route_lease_ms = draw(501u);
        break;
    case 4:
        message->message_choice = message_ack_m_c;
        message->message_ack_m.ack_seq = draw(65536u);
        break;
    default:
        message->message_choice = message_heartbeat_m_c;
        message->message_heartbeat_m.heartbeat_boot_id = host->app.boot_id - ((draw(20u) == 0u) ? 1u : 0u);
        message->message_heartbeat_m.heartbeat_clock_ms =
            (draw(20u) == 0u) ? draw(0xFFFFFFFFu) : (host->now_ms + 30u - draw(200u));
        message->message_heartbeat_m.heartbeat_state = (draw(10u) == 0u) ? draw(256u) : (uint32_t)STATE_RUNNING;
        message->message_heartbeat_m.heartbeat_frame_age_ms = draw(65536u);
        break;
    }
}

/* Random bytes, a whole frame of random bytes, a message, or a damaged one of these. */
static size_t draw_batch(const struct host *host, uint8_t batch[BATCH_MAX])
{
    uint8_t payload[LINK_PAYLOAD_MAX];
    struct envelope envelope;
    size_t length = 0u;

    switch (draw(4u)) {
    case 0:
        length = 1u + draw(BATCH_MAX - 1u);
        for (size_t i = 0u; i < length; i++) {
            batch[i] = (uint8_t)draw((draw(2u) == 0u) ? 256u : 4u);
        }
        break;
    case 1:
        length = 1u + draw(LINK_PAYLOAD_MAX);
        for (size_t i = 0u; i < length; i++) {
            payload[i] = (uint8_t)draw(256u);
        }
        length = link_frame(payload, length, batch);
        break;
    default:
        draw_message(host, &envelope);
        if (draw(4u) != 0u) {
            envelope.envelope_seq = (host->app.heard + 1u) & 0xFFFFu;
        }
        length = message_encode(&envelope, payload, sizeof payload);
        if ((length > 0u) && (draw(4u) == 0u)) {
            payload[draw((uint32_t)length)] = (uint8_t)draw(256u);
        }
        length = link_frame(payload, length, batch);
        break;
    }
    if ((length > 0u) && (draw(8u) == 0u)) {
        batch[draw((uint32_t)length)] ^= (uint8_t)(1u << draw(8u));
    }
    return length;
}

static void check(const struct host *host)
{
    const struct route *route = &host->app.route;

    if (host->coil) {
        if (!route->greeted || !route->beating || ((host->now_ms - route->beat_ms) > ROUTE_HEARTBEAT_MS) ||
            !route->leased || ((host->now_ms - route->lease_from_ms) > route->lease_ms) || (route->lease_ms > 500u)) {
            (void)fprintf(stderr, "overlay without its reasons at %u ms\n", (unsigned)host->now_ms);
            abort();
        }
    }
}

int main(int count, char **arguments)
{
    static struct host host;
    static uint8_t sent[RING_SIZE];
    const unsigned long long bytes = (count > 1) ? strtoull(arguments[1], NULL, 10) : 20000000ull;
    unsigned long long fed = 0u;
    unsigned long long overlays = 0u;
    unsigned long long rounds = 0u;

    seed = ((count > 2) ? strtoull(arguments[2], NULL, 10) : 1u) | (1ull << 63);
    host.inputs.temperature_cc = 2500;
    host.inputs.supply_mv = 12000u;
    host.inputs.stuck = -1;
    host_start(&host, 1u, CAUSE_POWER, 0xFFFF0000u);
    while (fed < bytes) {
        uint8_t batch[BATCH_MAX];
        const size_t length = draw_batch(&host, batch);

        host_receive(&host, batch, length);
        check(&host);
        fed += length;
        rounds++;
        overlays += host.coil ? 1u : 0u;
        if (draw(16u) == 0u) {
            host.inputs.pedals = draw(16u);
        }
        host_advance(&host, host.now_ms + draw(40u));
        check(&host);
        (void)host_take(&host, sent, sizeof sent);
        if (draw(50000u) == 0u) {
            host_start(&host, host.app.boot_id + 1u, CAUSE_PIN, host.now_ms);
        }
    }
    (void)printf("%llu bytes in %llu rounds, %llu of them with overlay, %u frames dropped, %u refused: clean\n", fed, rounds,
                 overlays, (unsigned)host.app.link.drops, (unsigned)host.app.refused);
    return (overlays > 0u) ? 0 : 1;
}
