/*
 * Generated using zcbor version 0.9.1
 * https://github.com/NordicSemiconductor/zcbor
 * Generated with a --default-max-qty of 3
 */

#include <stdint.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include "zcbor_decode.h"
#include "cart_decode.h"
#include "zcbor_print.h"

#if DEFAULT_MAX_QTY != 3
#error "The type file was generated with a different default_max_qty than this file"
#endif

#define log_result(state, result, func) do { \
	if (!result) { \
		zcbor_trace_file(state); \
		zcbor_log("%s error: %s\r\n", func, zcbor_error_str(zcbor_peek_error(state))); \
	} else { \
		zcbor_log("%s success\r\n", func); \
	} \
} while(0)

static bool decode_hello(zcbor_state_t *state, struct hello *result);
static bool decode_heartbeat(zcbor_state_t *state, struct heartbeat *result);
static bool decode_set_lamp(zcbor_state_t *state, struct set_lamp *result);
static bool decode_set_route(zcbor_state_t *state, struct set_route *result);
static bool decode_ack(zcbor_state_t *state, struct ack *result);
static bool decode_greeting(zcbor_state_t *state, struct greeting *result);
static bool decode_status(zcbor_state_t *state, struct status *result);
static bool decode_input_event(zcbor_state_t *state, struct input_event *result);
static bool decode_power_fail(zcbor_state_t *state, struct power_fail *result);
static bool decode_message(zcbor_state_t *state, struct message_r *result);
static bool decode_envelope(zcbor_state_t *state, struct envelope *result);


static bool decode_hello(
		zcbor_state_t *state, struct hello *result)
{
	zcbor_log("%s\r\n", __func__);

	bool res = (((zcbor_list_start_decode(state) && ((((zcbor_uint32_expect(state, (0))))
	&& ((zcbor_uint32_decode(state, (&(*result).hello_role)))
	&& ((((*result).hello_role <= 1)) || (zcbor_error(state, ZCBOR_ERR_WRONG_RANGE), false)))
	&& ((zcbor_uint32_decode(state, (&(*result).hello_proto)))
	&& ((((*result).hello_proto <= UINT8_MAX)) || (zcbor_error(state, ZCBOR_ERR_WRONG_RANGE), false)))
	&& ((zcbor_tstr_decode(state, (&(*result).hello_fw)))
	&& ((((*result).hello_fw.len >= 1)
	&& ((*result).hello_fw.len <= 24)) || (zcbor_error(state, ZCBOR_ERR_WRONG_RANGE), false)))) || (zcbor_list_map_end_force_decode(state), false)) && zcbor_list_end_decode(state))));

	log_result(state, res, __func__);
	return res;
}

static bool decode_heartbeat(
		zcbor_state_t *state, struct heartbeat *result)
{
	zcbor_log("%s\r\n", __func__);

	bool res = (((zcbor_list_start_decode(state) && ((((zcbor_uint32_expect(state, (1))))
	&& ((zcbor_uint32_decode(state, (&(*result).heartbeat_boot_id)))
	&& ((((*result).heartbeat_boot_id <= UINT32_MAX)) || (zcbor_error(state, ZCBOR_ERR_WRONG_RANGE), false)))
	&& ((zcbor_uint32_decode(state, (&(*result).heartbeat_clock_ms)))
	&& ((((*result).heartbeat_clock_ms <= UINT32_MAX)) || (zcbor_error(state, ZCBOR_ERR_WRONG_RANGE), false)))
	&& ((zcbor_uint32_decode(state, (&(*result).heartbeat_state)))
	&& ((((*result).heartbeat_state <= UINT8_MAX)) || (zcbor_error(state, ZCBOR_ERR_WRONG_RANGE), false)))
	&& ((zcbor_uint32_decode(state, (&(*result).heartbeat_frame_age_ms)))
	&& ((((*result).heartbeat_frame_age_ms <= UINT16_MAX)) || (zcbor_error(state, ZCBOR_ERR_WRONG_RANGE), false)))) || (zcbor_list_map_end_force_decode(state), false)) && zcbor_list_end_decode(state))));

	log_result(state, res, __func__);
	return res;
}

static bool decode_set_lamp(
		zcbor_state_t *state, struct set_lamp *result)
{
	zcbor_log("%s\r\n", __func__);

	bool res = (((zcbor_list_start_decode(state) && ((((zcbor_uint32_expect(state, (2))))
	&& ((zcbor_uint32_decode(state, (&(*result).set_lamp_color)))
	&& ((((*result).set_lamp_color <= 5)) || (zcbor_error(state, ZCBOR_ERR_WRONG_RANGE), false)))
	&& ((zcbor_uint32_decode(state, (&(*result).set_lamp_blink_ms)))
	&& ((((*result).set_lamp_blink_ms <= 10000)) || (zcbor_error(state, ZCBOR_ERR_WRONG_RANGE), false)))) || (zcbor_list_map_end_force_decode(state), false)) && zcbor_list_end_decode(state))));

	log_result(state, res, __func__);
	return res;
}

static bool decode_set_route(
		zcbor_state_t *state, struct set_route *result)
{
	zcbor_log("%s\r\n", __func__);

	bool res = (((zcbor_list_start_decode(state) && ((((zcbor_uint32_expect(state, (3))))
	&& ((zcbor_uint32_decode(state, (&(*result).set_route_route)))
	&& ((((*result).set_route_route <= 1)) || (zcbor_error(state, ZCBOR_ERR_WRONG_RANGE), false)))
	&& ((zcbor_uint32_decode(state, (&(*result).set_route_lease_ms)))
	&& ((((*result).set_route_lease_ms <= 500)) || (zcbor_error(state, ZCBOR_ERR_WRONG_RANGE), false)))) || (zcbor_list_map_end_force_decode(state), false)) && zcbor_list_end_decode(state))));

	log_result(state, res, __func__);
	return res;
}

static bool decode_ack(
		zcbor_state_t *state, struct ack *result)
{
	zcbor_log("%s\r\n", __func__);

	bool res = (((zcbor_list_start_decode(state) && ((((zcbor_uint32_expect(state, (4))))
	&& ((zcbor_uint32_decode(state, (&(*result).ack_seq)))
	&& ((((*result).ack_seq <= UINT16_MAX)) || (zcbor_error(state, ZCBOR_ERR_WRONG_RANGE), false)))
	&& ((zcbor_uint32_decode(state, (&(*result).ack_code)))
	&& ((((*result).ack_code <= 7)) || (zcbor_error(state, ZCBOR_ERR_WRONG_RANGE), false)))) || (zcbor_list_map_end_force_decode(state), false)) && zcbor_list_end_decode(state))));

	log_result(state, res, __func__);
	return res;
}

static bool decode_greeting(
		zcbor_state_t *state, struct greeting *result)
{
	zcbor_log("%s\r\n", __func__);

	bool res = (((zcbor_list_start_decode(state) && ((((zcbor_uint32_expect(state, (5))))
	&& ((zcbor_uint32_decode(state, (&(*result).greeting_hw_rev)))
	&& ((((*result).greeting_hw_rev <= UINT8_MAX)) || (zcbor_error(state, ZCBOR_ERR_WRONG_RANGE), false)))
	&& ((zcbor_uint32_decode(state, (&(*result).greeting_reset_cause)))
	&& ((((*result).greeting_reset_cause <= 5)) || (zcbor_error(state, ZCBOR_ERR_WRONG_RANGE), false)))
	&& ((zcbor_uint32_decode(state, (&(*result).greeting_boot_id)))
	&& ((((*result).greeting_boot_id <= UINT32_MAX)) || (zcbor_error(state, ZCBOR_ERR_WRONG_RANGE), false)))
	&& ((zcbor_uint32_decode(state, (&(*result).greeting_clock_ms)))
	&& ((((*result).greeting_clock_ms <= UINT32_MAX)) || (zcbor_error(state, ZCBOR_ERR_WRONG_RANGE), false)))) || (zcbor_list_map_end_force_decode(state), false)) && zcbor_list_end_decode(state))));

	log_result(state, res, __func__);
	return res;
}

static bool decode_status(
		zcbor_state_t *state, struct status *result)
{
	zcbor_log("%s\r\n", __func__);

	bool res = (((zcbor_list_start_decode(state) && ((((zcbor_uint32_expect(state, (6))))
	&& ((zcbor_bool_decode(state, (&(*result).status_bypass))))
	&& ((zcbor_bool_decode(state, (&(*result).status_relay_feedback))))
	&& ((zcbor_int32_decode(state, (&(*result).status_temp_cc)))
	&& ((((*result).status_temp_cc >= -5500)
	&& ((*result).status_temp_cc <= 15500)) || (zcbor_error(state, ZCBOR_ERR_WRONG_RANGE), false)))
	&& ((zcbor_uint32_decode(state, (&(*result).status_supply_mv)))
	&& ((((*result).status_supply_mv <= 60000)) || (zcbor_error(state, ZCBOR_ERR_WRONG_RANGE), false)))
	&& ((zcbor_uint32_decode(state, (&(*result).status_faults)))
	&& ((((*result).status_faults <= UINT16_MAX)) || (zcbor_error(state, ZCBOR_ERR_WRONG_RANGE), false)))
	&& ((zcbor_uint32_decode(state, (&(*result).status_drops)))
	&& ((((*result).status_drops <= UINT32_MAX)) || (zcbor_error(state, ZCBOR_ERR_WRONG_RANGE), false)))
	&& ((zcbor_uint32_decode(state, (&(*result).status_refused)))
	&& ((((*result).status_refused <= UINT32_MAX)) || (zcbor_error(state, ZCBOR_ERR_WRONG_RANGE), false)))
	&& ((zcbor_uint32_decode(state, (&(*result).status_clock_ms)))
	&& ((((*result).status_clock_ms <= UINT32_MAX)) || (zcbor_error(state, ZCBOR_ERR_WRONG_RANGE), false)))) || (zcbor_list_map_end_force_decode(state), false)) && zcbor_list_end_decode(state))));

	log_result(state, res, __func__);
	return res;
}

static bool decode_input_event(
		zcbor_state_t *state, struct input_event *result)
{
	zcbor_log("%s\r\n", __func__);

	bool res = (((zcbor_list_start_decode(state) && ((((zcbor_uint32_expect(state, (7))))
	&& ((zcbor_uint32_decode(state, (&(*result).input_event_event_id)))
	&& ((((*result).input_event_event_id <= UINT32_MAX)) || (zcbor_error(state, ZCBOR_ERR_WRONG_RANGE), false)))
	&& ((zcbor_uint32_decode(state, (&(*result).input_event_source)))
	&& ((((*result).input_event_source <= 3)) || (zcbor_error(state, ZCBOR_ERR_WRONG_RANGE), false)))
	&& ((zcbor_uint32_decode(state, (&(*result).input_event_edge)))
	&& ((((*result).input_event_edge <= 1)) || (zcbor_error(state, ZCBOR_ERR_WRONG_RANGE), false)))
	&& ((zcbor_uint32_decode(state, (&(*result).input_event_t_ms)))
	&& ((((*result).input_event_t_ms <= UINT32_MAX)) || (zcbor_error(state, ZCBOR_ERR_WRONG_RANGE), false)))) || (zcbor_list_map_end_force_decode(state), false)) && zcbor_list_end_decode(state))));

	log_result(state, res, __func__);
	return res;
}

static bool decode_power_fail(
		zcbor_state_t *state, struct power_fail *result)
{
	zcbor_log("%s\r\n", __func__);

	bool res = (((zcbor_list_start_decode(state) && ((((zcbor_uint32_expect(state, (8))))
	&& ((zcbor_uint32_decode(state, (&(*result).power_fail_holdup_ms)))
	&& ((((*result).power_fail_holdup_ms <= UINT16_MAX)) || (zcbor_error(state, ZCBOR_ERR_WRONG_RANGE), false)))) || (zcbor_list_map_end_force_decode(state), false)) && zcbor_list_end_decode(state))));

	log_result(state, res, __func__);
	return res;
}

static bool decode_message(
		zcbor_state_t *state, struct message_r *result)
{
	zcbor_log("%s\r\n", __func__);
	bool int_res;

	bool res = (((zcbor_union_start_code(state) && (int_res = ((((decode_hello(state, (&(*result).message_hello_m)))) && (((*result).message_choice = message_hello_m_c), true))
	|| (zcbor_union_elem_code(state) && (((decode_heartbeat(state, (&(*result).message_heartbeat_m)))) && (((*result).message_choice = message_heartbeat_m_c), true)))
	|| (zcbor_union_elem_code(state) && (((decode_set_lamp(state, (&(*result).message_set_lamp_m)))) && (((*result).message_choice = message_set_lamp_m_c), true)))
	|| (zcbor_union_elem_code(state) && (((decode_set_route(state, (&(*result).message_set_route_m)))) && (((*result).message_choice = message_set_route_m_c), true)))
	|| (zcbor_union_elem_code(state) && (((decode_ack(state, (&(*result).message_ack_m)))) && (((*result).message_choice = message_ack_m_c), true)))
	|| (zcbor_union_elem_code(state) && (((decode_greeting(state, (&(*result).message_greeting_m)))) && (((*result).message_choice = message_greeting_m_c), true)))
	|| (zcbor_union_elem_code(state) && (((decode_status(state, (&(*result).message_status_m)))) && (((*result).message_choice = message_status_m_c), true)))
	|| (zcbor_union_elem_code(state) && (((decode_input_event(state, (&(*result).message_input_event_m)))) && (((*result).message_choice = message_input_event_m_c), true)))
	|| (zcbor_union_elem_code(state) && (((decode_power_fail(state, (&(*result).message_power_fail_m)))) && (((*result).message_choice = message_power_fail_m_c), true)))), zcbor_union_end_code(state), int_res))));

	log_result(state, res, __func__);
	return res;
}

static bool decode_envelope(
		zcbor_state_t *state, struct envelope *result)
{
	zcbor_log("%s\r\n", __func__);

	bool res = (((zcbor_list_start_decode(state) && ((((zcbor_uint32_decode(state, (&(*result).envelope_ver)))
	&& ((((*result).envelope_ver <= UINT8_MAX)) || (zcbor_error(state, ZCBOR_ERR_WRONG_RANGE), false)))
	&& ((zcbor_uint32_decode(state, (&(*result).envelope_seq)))
	&& ((((*result).envelope_seq <= UINT16_MAX)) || (zcbor_error(state, ZCBOR_ERR_WRONG_RANGE), false)))
	&& ((decode_message(state, (&(*result).envelope_msg))))) || (zcbor_list_map_end_force_decode(state), false)) && zcbor_list_end_decode(state))));

	log_result(state, res, __func__);
	return res;
}



int cbor_decode_envelope(
		const uint8_t *payload, size_t payload_len,
		struct envelope *result,
		size_t *payload_len_out)
{
	zcbor_state_t states[5];

	return zcbor_entry_function(payload, payload_len, (void *)result, payload_len_out, states,
		(zcbor_decoder_t *)decode_envelope, sizeof(states) / sizeof(zcbor_state_t), 1);
}
