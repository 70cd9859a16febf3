#include "app.h"

#include <string.h>

#include "board.h"

#define SEQUENCE_MASK 0xFFFFu
#define SEQUENCE_HALF 0x8000u
#define TEMPERATURE_MIN (-5500)
#define TEMPERATURE_MAX 15500
#define SUPPLY_MAX_MV 60000u

static void send_as(struct app *app, struct envelope *envelope, uint16_t sequence)
{
    uint8_t payload[LINK_PAYLOAD_MAX];
    uint8_t frame[LINK_FRAME_MAX];
    size_t length;

    envelope->envelope_ver = MESSAGE_PROTOCOL;
    envelope->envelope_seq = sequence;
    length = message_encode(envelope, payload, sizeof payload);
    if ((length == 0u) || !board_send(frame, link_frame(payload, length, frame))) {
        app->lost++;
    }
}

static void send(struct app *app, struct envelope *envelope)
{
    send_as(app, envelope, app->sequence);
    app->sequence++;
}

static void send_ack(struct app *app, uint32_t sequence, enum message_code code)
{
    struct envelope envelope = {0};

    envelope.envelope_msg.message_choice = message_ack_m_c;
    envelope.envelope_msg.message_ack_m.ack_seq = sequence;
    envelope.envelope_msg.message_ack_m.ack_code = (uint32_t)code;
    send(app, &envelope);
}

static void send_greeting(struct app *app, uint32_t now_ms)
{
    struct envelope envelope = {0};
    struct greeting *greeting = &envelope.envelope_msg.message_greeting_m;

    envelope.envelope_msg.message_choice = message_greeting_m_c;
    greeting->greeting_hw_rev = board_revision();
    greeting->greeting_reset_cause = app->reset_cause;
    greeting->greeting_boot_id = app->boot_id;
    greeting->greeting_clock_ms = now_ms;
    send(app, &envelope);
}

static int32_t within(int32_t value, int32_t low, int32_t high)
{
    int32_t inside = value;

    if (value < low) {
        inside = low;
    } else if (value > high) {
        inside = high;
    } else {
        /* inside already */
    }
    return inside;
}

static void send_status(struct app *app, uint32_t now_ms)
{
    struct envelope envelope = {0};
    struct status *status = &envelope.envelope_msg.message_status_m;
    const uint32_t supply_mv = board_supply_mv();

    envelope.envelope_msg.message_choice = message_status_m_c;
    status->status_bypass = !app->route.overlay;
    status->status_relay_feedback = board_relay_feedback();
    status->status_temp_cc = within(board_temperature_cc(), TEMPERATURE_MIN, TEMPERATURE_MAX);
    status->status_supply_mv = (supply_mv < SUPPLY_MAX_MV) ? supply_mv : SUPPLY_MAX_MV;
    status->status_faults = app->route.faults;
    status->status_drops = app->link.drops;
    status->status_refused = app->refused;
    status->status_clock_ms = now_ms;
    send(app, &envelope);
    app->status_ms = now_ms;
    app->told_faults = app->route.faults;
    app->told_overlay = app->route.overlay;
}

/* Whether a delivery is due; then `*sequence` is its number, the same each time. */
static bool due(struct app *app, struct delivery *delivery, uint32_t now_ms)
{
    const bool now = !delivery->waiting || ((now_ms - delivery->sent_ms) >= APP_RESEND_MS);

    if (!delivery->waiting) {
        delivery->waiting = true;
        delivery->sequence = app->sequence;
        app->sequence++;
    }
    if (now) {
        delivery->sent_ms = now_ms;
    }
    return now;
}

static void deliver_event(struct app *app, uint32_t now_ms)
{
    const struct pedal_event *oldest = pedals_oldest(&app->pedals);

    if ((oldest != NULL) && ((now_ms - oldest->at_ms) >= APP_EVENT_MS)) {
        app->route.faults |= FAULT_EVENTS;
        app->event.waiting = false;
        pedals_arrived(&app->pedals);
        oldest = pedals_oldest(&app->pedals);
    }
    if ((oldest != NULL) && due(app, &app->event, now_ms)) {
        struct envelope envelope = {0};
        struct input_event *event = &envelope.envelope_msg.message_input_event_m;

        envelope.envelope_msg.message_choice = message_input_event_m_c;
        event->input_event_event_id = oldest->id;
        event->input_event_source = oldest->source;
        event->input_event_edge = oldest->pressed ? 1u : 0u;
        event->input_event_t_ms = oldest->at_ms;
        send_as(app, &envelope, app->event.sequence);
    }
}

static void deliver_power_fail(struct app *app, uint32_t now_ms)
{
    const bool fails = (app->route.faults & FAULT_SUPPLY) != 0u;
    const bool begins = fails && !app->failing;

    app->failing = fails;
    if (begins) {
        app->power_fail.waiting = false;
    }
    if ((begins || app->power_fail.waiting) && due(app, &app->power_fail, now_ms)) {
        struct envelope envelope = {0};

        envelope.envelope_msg.message_choice = message_power_fail_m_c;
        envelope.envelope_msg.message_power_fail_m.power_fail_holdup_ms = board_holdup_ms();
        send_as(app, &envelope, app->power_fail.sequence);
    }
}

static void take_ack(struct app *app, uint32_t sequence)
{
    if (app->event.waiting && (sequence == app->event.sequence)) {
        app->event.waiting = false;
        app->route.faults &= ~FAULT_EVENTS;
        pedals_arrived(&app->pedals);
    } else if (app->power_fail.waiting && (sequence == app->power_fail.sequence)) {
        app->power_fail.waiting = false;
    } else {
        /* of an earlier sending, or of none */
    }
}

static enum message_code take_hello(struct app *app, const struct hello *hello)
{
    enum message_code code = CODE_DONE;

    route_forget(&app->route);
    if (hello->hello_proto != MESSAGE_PROTOCOL) {
        app->route.faults |= FAULT_VERSION;
        code = CODE_VERSION;
    } else if (hello->hello_role == (uint32_t)ROLE_RUNTIME) {
        route_greet(&app->route);
    } else {
        /* a service tool may look on */
    }
    return code;
}

static enum message_code take_heartbeat(struct app *app, const struct heartbeat *beat, uint32_t now_ms)
{
    enum message_code code = CODE_GREET_FIRST; /* it was meant for a controller before this one's start */

    if (beat->heartbeat_boot_id == app->boot_id) {
        code = route_beat(&app->route, (uint8_t)beat->heartbeat_state, beat->heartbeat_clock_ms, now_ms);
    }
    return code;
}

static enum message_code take(struct app *app, const struct message_r *message, uint32_t now_ms)
{
    enum message_code code = CODE_DONE;

    switch (message->message_choice) {
    case message_heartbeat_m_c:
        code = take_heartbeat(app, &message->message_heartbeat_m, now_ms);
        break;
    case message_set_lamp_m_c:
        app->color = (uint8_t)message->message_set_lamp_m.set_lamp_color;
        app->blink_ms = message->message_set_lamp_m.set_lamp_blink_ms;
        break;
    case message_set_route_m_c:
        if (message->message_set_route_m.set_route_route == (uint32_t)ROUTE_PASSTHROUGH) {
            route_pass_through(&app->route);
        } else if (!route_lease(&app->route, message->message_set_route_m.set_route_lease_ms, now_ms)) {
            code = CODE_REFUSED;
        } else {
            /* leased */
        }
        break;
    default: /* what only the controller sends */
        app->refused++;
        code = CODE_SCHEMA;
        break;
    }
    return code;
}

static bool is_newer(uint32_t sequence, uint16_t than)
{
    const uint32_t ahead = (sequence - than) & SEQUENCE_MASK;

    return (ahead != 0u) && (ahead < SEQUENCE_HALF);
}

static void take_payload(struct app *app, const uint8_t *payload, size_t length, uint32_t now_ms)
{
    struct envelope envelope = {0};
    uint32_t version = 0u;
    uint32_t sequence = 0u;
    enum message_code code = CODE_DONE;
    bool answer = true;

    if (!message_preamble(payload, length, &version, &sequence)) {
        app->refused++;
        answer = false; /* it has no sequence number to name */
    } else if (version != MESSAGE_PROTOCOL) {
        app->refused++;
        route_forget(&app->route);
        app->route.faults |= FAULT_VERSION;
        code = CODE_VERSION;
    } else if (!message_decode(payload, length, &envelope)) {
        app->refused++;
        code = CODE_SCHEMA;
    } else if (envelope.envelope_msg.message_choice == message_hello_m_c) {
        app->heard = (uint16_t)sequence;
        code = take_hello(app, &envelope.envelope_msg.message_hello_m);
        send_greeting(app, now_ms);
    } else if (envelope.envelope_msg.message_choice == message_ack_m_c) {
        take_ack(app, envelope.envelope_msg.message_ack_m.ack_seq);
        answer = false;
    } else if (!app->route.greeted) {
        code = CODE_GREET_FIRST;
    } else if (!is_newer(sequence, app->heard)) {
        code = CODE_NOT_NEWER; /* one that was held up must not extend a lease */
    } else {
        app->heard = (uint16_t)sequence;
        code = take(app, &envelope.envelope_msg, now_ms);
    }
    if (answer) {
        send_ack(app, sequence, code);
    }
}

static void drive(struct app *app, uint32_t now_ms)
{
    route_update(&app->route, board_temperature_cc(), board_supply_mv(), now_ms);
    board_relay(app->route.overlay);
}

/* The host's lamp while it is heard; otherwise the controller's own. */
static uint8_t lamp(const struct app *app, uint32_t now_ms)
{
    uint32_t color = app->color;
    uint32_t period = app->blink_ms;

    if ((app->route.faults & (FAULT_RELAY | FAULT_SUPPLY | FAULT_HOT)) != 0u) {
        color = (uint32_t)LAMP_RED;
        period = 250u;
    } else if ((app->route.faults & (FAULT_HEARTBEAT | FAULT_VERSION)) != 0u) {
        color = (uint32_t)LAMP_RED;
        period = 1000u;
    } else if (!app->route.beating) {
        color = (uint32_t)LAMP_AMBER;
        period = 1000u;
    } else {
        /* as the host said */
    }
    if ((period > 1u) && ((now_ms % period) >= (period / 2u))) {
        color = (uint32_t)LAMP_OFF;
    }
    return (uint8_t)color;
}

void app_start(struct app *app, uint32_t boot_id, enum message_cause cause, uint32_t now_ms)
{
    (void)memset(app, 0, sizeof *app);
    app->boot_id = boot_id;
    app->reset_cause = (uint8_t)cause;
    app->route.settled_ms = now_ms;
    app->status_ms = now_ms;
    pedals_start(&app->pedals, board_pedals(), now_ms);
    board_relay(false);
    board_lamp(lamp(app, now_ms));
    send_greeting(app, now_ms);
}

void app_receive(struct app *app, uint8_t byte, uint32_t now_ms)
{
    const size_t length = link_receive(&app->link, byte);

    if (length > 0u) {
        take_payload(app, app->link.bytes, length, now_ms);
        drive(app, now_ms);
    }
}

void app_lost_bytes(struct app *app)
{
    app->link.drops++;
}

void app_tick(struct app *app, uint32_t now_ms)
{
    route_check(&app->route, board_relay_feedback(), now_ms);
    drive(app, now_ms);
    if (!pedals_update(&app->pedals, board_pedals(), app->route.greeted, now_ms)) {
        app->route.faults |= FAULT_EVENTS;
        app->event.waiting = false; /* it was the one displaced */
    }
    board_lamp(lamp(app, now_ms));
    deliver_event(app, now_ms);
    deliver_power_fail(app, now_ms);
    if ((app->route.overlay != app->told_overlay) || (app->route.faults != app->told_faults) ||
        ((now_ms - app->status_ms) >= APP_STATUS_MS)) {
        send_status(app, now_ms);
    }
}
