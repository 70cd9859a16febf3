/*
 * Generated using zcbor version 0.9.1
 * https://github.com/NordicSemiconductor/zcbor
 * Generated with a --default-max-qty of 3
 */

#ifndef CART_TYPES_H__
#define CART_TYPES_H__

#include <stdint.h>
#include <stdbool.h>
#include <stddef.h>
#include <zcbor_common.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Which value for --default-max-qty this file was created with.
 *
 *  The define is used in the other generated file to do a build-time
 *  compatibility check.
 *
 *  See `zcbor --help` for more information about --default-max-qty
 */
#define DEFAULT_MAX_QTY 3

struct hello {
	uint32_t hello_role;
	uint32_t hello_proto;
	struct zcbor_string hello_fw;
};

struct heartbeat {
	uint32_t heartbeat_boot_id;
	uint32_t heartbeat_clock_ms;
	uint32_t heartbeat_state;
	uint32_t heartbeat_frame_age_ms;
};

struct set_lamp {
	uint32_t set_lamp_color;
	uint32_t set_lamp_blink_ms;
};

struct set_route {
	uint32_t set_route_route;
	uint32_t set_route_lease_ms;
};

struct ack {
	uint32_t ack_seq;
	uint32_t ack_code;
};

struct greeting {
	uint32_t greeting_hw_rev;
	uint32_t greeting_reset_cause;
	uint32_t greeting_boot_id;
	uint32_t greeting_clock_ms;
};

struct status {
	bool status_bypass;
	bool status_relay_feedback;
	int32_t status_temp_cc;
	uint32_t status_supply_mv;
	uint32_t status_faults;
	uint32_t status_drops;
	uint32_t status_refused;
	uint32_t status_clock_ms;
};

struct input_event {
	uint32_t input_event_event_id;
	uint32_t input_event_source;
	uint32_t input_event_edge;
	uint32_t input_event_t_ms;
};

struct power_fail {
	uint32_t power_fail_holdup_ms;
};

struct message_r {
	union {
		struct hello message_hello_m;
		struct heartbeat message_heartbeat_m;
		struct set_lamp message_set_lamp_m;
		struct set_route message_set_route_m;
		struct ack message_ack_m;
		struct greeting message_greeting_m;
		struct status message_status_m;
		struct input_event message_input_event_m;
		struct power_fail message_power_fail_m;
	};
	enum {
		message_hello_m_c,
		message_heartbeat_m_c,
		message_set_lamp_m_c,
		message_set_route_m_c,
		message_ack_m_c,
		message_greeting_m_c,
		message_status_m_c,
		message_input_event_m_c,
		message_power_fail_m_c,
	} message_choice;
};

struct envelope {
	uint32_t envelope_ver;
	uint32_t envelope_seq;
	struct message_r envelope_msg;
};

#ifdef __cplusplus
}
#endif

#endif /* CART_TYPES_H__ */
