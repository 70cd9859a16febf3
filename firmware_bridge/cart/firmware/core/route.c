#include "route.h"

#include "message.h"

#define FAULTS_THAT_OPEN (FAULT_RELAY | FAULT_HOT | FAULT_SUPPLY | FAULT_HEARTBEAT | FAULT_VERSION)

static void set_fault(struct route *route, uint32_t fault, bool present)
{
    if (present) {
        route->faults |= fault;
    } else {
        route->faults &= ~fault;
    }
}

static bool may_overlay(const struct route *route)
{
    const bool shows = (route->state == (uint8_t)STATE_RUNNING) || (route->state == (uint8_t)STATE_DEGRADED);

    return route->greeted && route->beating && shows && ((route->faults & FAULTS_THAT_OPEN) == 0u);
}

void route_forget(struct route *route)
{
    route->greeted = false;
    route->beating = false;
    route->leased = false;
    set_fault(route, FAULT_HEARTBEAT, false);
}

void route_greet(struct route *route)
{
    route_forget(route);
    route->greeted = true;
    set_fault(route, FAULT_VERSION, false);
}

enum message_code route_beat(struct route *route, uint8_t state, uint32_t clock_ms, uint32_t now_ms)
{
    const uint32_t age = now_ms - clock_ms;
    const bool ahead = (clock_ms - now_ms) <= ROUTE_BEAT_AHEAD_MS;
    enum message_code code = CODE_DONE;

    if (!ahead && (age >= ROUTE_BEAT_AGE_MS)) {
        code = CODE_TOO_OLD;
    } else {
        route->beating = true;
        route->beat_ms = ahead ? now_ms : clock_ms;
        route->state = state;
        set_fault(route, FAULT_HEARTBEAT, false);
        if (state >= (uint8_t)STATE_COUNT) {
            code = CODE_UNKNOWN_STATE;
        }
    }
    return code;
}

bool route_lease(struct route *route, uint32_t lease_ms, uint32_t now_ms)
{
    const bool may = may_overlay(route) && ((lease_ms == 0u) || ((now_ms - route->beat_ms) < lease_ms));

    if (may) {
        route->leased = lease_ms > 0u;
        route->lease_from_ms = route->beat_ms;
        route->lease_ms = lease_ms;
    }
    return may;
}

void route_pass_through(struct route *route)
{
    route->leased = false;
}

void route_update(struct route *route, int32_t temperature_cc, uint32_t supply_mv, uint32_t now_ms)
{
    if (route->beating && ((now_ms - route->beat_ms) >= ROUTE_HEARTBEAT_MS)) {
        route->beating = false;
        set_fault(route, FAULT_HEARTBEAT, true);
    }
    if (temperature_cc >= ROUTE_HOT_CC) {
        set_fault(route, FAULT_HOT, true);
    } else if (temperature_cc <= ROUTE_COOL_CC) {
        set_fault(route, FAULT_HOT, false);
    } else {
        /* between the two, what was stays */
    }
    if (supply_mv < ROUTE_SUPPLY_LOW_MV) {
        set_fault(route, FAULT_SUPPLY, true);
    } else if (supply_mv >= ROUTE_SUPPLY_OK_MV) {
        set_fault(route, FAULT_SUPPLY, false);
    } else {
        /* between the two, what was stays */
    }
    if (!may_overlay(route) || (route->leased && ((now_ms - route->lease_from_ms) >= route->lease_ms))) {
        route->leased = false;
    }
    if (route->overlay != route->leased) {
        route->overlay = route->leased;
        route->settled_ms = now_ms;
    }
}

void route_check(struct route *route, bool feedback, uint32_t now_ms)
{
    if (feedback == route->overlay) {
        route->settled_ms = now_ms;
    } else if ((now_ms - route->settled_ms) >= ROUTE_SETTLE_MS) {
        set_fault(route, FAULT_RELAY, true);
    } else {
        /* on its way */
    }
}
