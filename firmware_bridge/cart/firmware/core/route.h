/* The one place that decides on the relay: overlay needs everything at once, anything missing is pass-through. */
#ifndef ROUTE_H
#define ROUTE_H

#include <stdbool.h>
#include <stdint.h>

#include "message.h"

#define ROUTE_HEARTBEAT_MS 450u   /* a heartbeat of this age is lost; with the settling time the relay is open by 500 */
#define ROUTE_BEAT_AGE_MS 120u    /* a heartbeat that took this long to arrive is refused: the host's lease */
#define ROUTE_BEAT_AHEAD_MS 60u   /* by how much the host may reckon our clock ahead, between two of our statuses */
#define ROUTE_SETTLE_MS 50u       /* the auxiliary contact has followed the coil by then */
#define ROUTE_HOT_CC 8500         /* pass-through from here on */
#define ROUTE_COOL_CC 7500        /* overlay again from here down */
#define ROUTE_SUPPLY_LOW_MV 9000u /* of nominally 12 V: the supply is failing */
#define ROUTE_SUPPLY_OK_MV 10000u

/* Bits of what is wrong now. */
#define FAULT_RELAY 0x01u     /* the contact did not follow the coil; until the controller's next start */
#define FAULT_HOT 0x02u       /* too hot, or the sensor does not answer */
#define FAULT_SUPPLY 0x04u    /* supply below its limit */
#define FAULT_HEARTBEAT 0x08u /* the host was heard and fell silent */
#define FAULT_VERSION 0x10u   /* the host speaks another protocol */
#define FAULT_EVENTS 0x20u    /* an event of a pedal was given up; until another one arrives */

struct route {
    bool greeted;
    bool beating;
    uint32_t beat_ms; /* when the host made the last heartbeat, by our clock */
    uint8_t state;    /* what it said */
    bool leased;
    uint32_t lease_from_ms;
    uint32_t lease_ms;
    bool overlay;        /* what the coil is told */
    uint32_t settled_ms; /* when coil and contact last agreed, or the coil last changed */
    uint32_t faults;
};

/* Forget the host: the relay opens, and only a hello, heartbeats and a lease close it again. */
void route_forget(struct route *route);

void route_greet(struct route *route);

/* A heartbeat that the host made when our clock said `clock_ms`. One that is too old, or of the future, changes nothing:
 * the line held it up, and the host may be dead by now. */
enum message_code route_beat(struct route *route, uint8_t state, uint32_t clock_ms, uint32_t now_ms);

/* Lease the overlay from the last heartbeat on; false where it may not be shown now, or that lease has run out. */
bool route_lease(struct route *route, uint32_t lease_ms, uint32_t now_ms);

void route_pass_through(struct route *route);

/* Decide anew, with whatever changed; called each millisecond, and after each message. */
void route_update(struct route *route, int32_t temperature_cc, uint32_t supply_mv, uint32_t now_ms);

/* Compare the contact with the coil; called each millisecond. */
void route_check(struct route *route, bool feedback, uint32_t now_ms);

#endif
