/*
 * Generated using zcbor version 0.9.1
 * https://github.com/NordicSemiconductor/zcbor
 * Generated with a --default-max-qty of 3
 */

#include <stdint.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include "zcbor_encode.h"
#include "cart_encode.h"
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

static bool encode_hello(zcbor_state_t *state, const struct hello *input);
static bool encode_heartbeat(zcbor_state_t *state, const struct heartbeat *input);
static bool encode_set_lamp(zcbor_state_t *state, const struct set_lamp *input);
static bool encode_set_route(zcbor_state_t *state, const struct set_route *input);
static bool encode_ack(zcbor_state_t *state, const struct ack *input);
static bool encode_greeting(zcbor_state_t *state, const struct greeting *input);
static bool encode_status(zcbor_state_t *state, const struct status *input);
static bool encode_input_event(zcbor_state_t *state, const struct input_event *input);
static bool encode_power_fail(zcbor_state_t *state, const struct power_fail *input);
static bool encode_message(zcbor_state_t *state, const struct message_r *input);
static bool encode_envelope(zcbor_state_t *state, const struct envelope *input);


static bool encode_hello(
		zcbor_state_t *state, const struct hello *input)
{
	zcbor_log("%s\r\n", __func__);

	bool res = (((zcbor_list_start_encode(state, 4) && ((((zcbor_uint32_put(state, (0))))
	&& (((((*input).hello_role <= 1)) || (zcbor_error(state, ZCBOR_ERR_WRONG_RANGE), false))
	&& (zcbor_uint32_encode(state, (&(*input).hello_role))))
	&& (((((*input).hello_proto <= UINT8_MAX)) || (zcbor_error(state, ZCBOR_ERR_WRONG_RANGE), false))
	&& (zcbor_uint32_encode(state, (&(*input).hello_proto))))
	&& (((((*input).hello_fw.len >= 1)
	&& ((*input).hello_fw.len <= 24)) || (zcbor_error(state, ZCBOR_ERR_WRONG_RANGE), false))
	&& (zcbor_tstr_encode(state, (&(*input).hello_fw))))) || (zcbor_list_map_end_force_encode(state), false)) && zcbor_list_end_encode(state, 4))));

	log_result(state, res, __func__);
	return res;
}

static bool encode_heartbeat(
		zcbor_state_t *state, const struct heartbeat *input)
{
	zcbor_log("%s\r\n", __func__);

	bool res = (((zcbor_list_start_encode(state, 5) && ((((zcbor_uint32_put(state, (1))))
	&& (((((*input).heartbeat_boot_id <= UINT32_MAX)) || (zcbor_error(state, ZCBOR_ERR_WRONG_RANGE), false))
	&& (zcbor_uint32_encode(state, (&(*input).heartbeat_boot_id))))
	&& (((((*input).heartbeat_clock_ms <= UINT32_MAX)) || (zcbor_error(state, ZCBOR_ERR_WRONG_RANGE), false))
	&& (zcbor_uint32_encode(state, (&(*input).heartbeat_clock_ms))))
	&& (((((*input).heartbeat_state <= UINT8_MAX)) || (zcbor_error(state, ZCBOR_ERR_WRONG_RANGE), false))
	&& (zcbor_uint32_encode(state, (&(*input).heartbeat_state))))
	&& (((((*input).heartbeat_frame_age_ms <= UINT16_MAX)) || (zcbor_error(state, ZCBOR_ERR_WRONG_RANGE), false))
	&& (zcbor_uint32_encode(state, (&(*input).heartbeat_frame_age_ms))))) || (zcbor_list_map_end_force_encode(state), false)) && zcbor_list_end_encode(state, 5))));

	log_result(state, res, __func__);
	return res;
}

static bool encode_set_lamp(
		zcbor_state_t *state, const struct set_lamp *input)
{
	zcbor_log("%s\r\n", __func__);

	bool res = (((zcbor_list_start_encode(state, 3) && ((((zcbor_uint32_put(state, (2))))
	&& (((((*input).set_lamp_color <= 5)) || (zcbor_error(state, ZCBOR_ERR_WRONG_RANGE), false))
	&& (zcbor_uint32_encode(state, (&(*input).set_lamp_color))))
	&& (((((*input).set_lamp_blink_ms <= 10000)) || (zcbor_error(state, ZCBOR_ERR_WRONG_RANGE), false))
	&& (zcbor_uint32_encode(state, (&(*input).set_lamp_blink_ms))))) || (zcbor_list_map_end_force_encode(state), false)) && zcbor_list_end_encode(state, 3))));

	log_result(state, res, __func__);
	return res;
}

static bool encode_set_route(
		zcbor_state_t *state, const struct set_route *input)
{
	zcbor_log("%s\r\n", __func__);

	bool res = (((zcbor_list_start_encode(state, 3) && ((((zcbor_uint32_put(state, (3))))
	&& (((((*input).set_route_route <= 1)) || (zcbor_error(state, ZCBOR_ERR_WRONG_RANGE), false))
	&& (zcbor_uint32_encode(state, (&(*input).set_route_route))))
	&& (((((*input).set_route_lease_ms <= 500)) || (zcbor_error(state, ZCBOR_ERR_WRONG_RANGE), false))
	&& (zcbor_uint32_encode(state, (&(*input).set_route_lease_ms))))) || (zcbor_list_map_end_force_encode(state), false)) && zcbor_list_end_encode(state, 3))));

	log_result(state, res, __func__);
	return res;
}

static bool encode_ack(
		zcbor_state_t *state, const struct ack *input)
{
	zcbor_log("%s\r\n", __func__);

	bool res = (((zcbor_list_start_encode(state, 3) && ((((zcbor_uint32_put(state, (4))))
	&& (((((*input).ack_seq <= UINT16_MAX)) || (zcbor_error(state, ZCBOR_ERR_WRONG_RANGE), false))
	&& (zcbor_uint32_encode(state, (&(*input).ack_seq))))
	&& (((((*input).ack_code <= 7)) || (zcbor_error(state, ZCBOR_ERR_WRONG_RANGE), false))
	&& (zcbor_uint32_encode(state, (&(*input).ack_code))))) || (zcbor_list_map_end_force_encode(state), false)) && zcbor_list_end_encode(state, 3))));

	log_result(state, res, __func__);
	return res;
}

static bool encode_greeting(
		zcbor_state_t *state, const struct greeting *input)
{
	zcbor_log("%s\r\n", __func__);

	bool res = (((zcbor_list_start_encode(state, 5) && ((((zcbor_uint32_put(state, (5))))
	&& (((((*input).greeting_hw_rev <= UINT8_MAX)) || (zcbor_error(state, ZCBOR_ERR_WRONG_RANGE), false))
	&& (zcbor_uint32_encode(state, (&(*input).greeting_hw_rev))))
	&& (((((*input).greeting_reset_cause <= 5)) || (zcbor_error(state, ZCBOR_ERR_WRONG_RANGE), false))
	&& (zcbor_uint32_encode(state, (&(*input).greeting_reset_cause))))
	&& (((((*input).greeting_boot_id <= UINT32_MAX)) || (zcbor_error(state, ZCBOR_ERR_WRONG_RANGE), false))
	&& (zcbor_uint32_encode(state, (&(*input).greeting_boot_id))))
	&& (((((*input).greeting_clock_ms <= UINT32_MAX)) || (zcbor_error(state, ZCBOR_ERR_WRONG_RANGE), false))
	&& (zcbor_uint32_encode(state, (&(*input).greeting_clock_ms))))) || (zcbor_list_map_end_force_encode(state), false)) && zcbor_list_end_encode(state, 5))));

	log_result(state, res, __func__);
	return res;
}

static bool encode_status(
		zcbor_state_t *state, const struct status *input)
{
	zcbor_log("%s\r\n", __func__);

	bool res = (((zcbor_list_start_encode(state, 9) && ((((zcbor_uint32_put(state, (6))))
	&& ((zcbor_bool_encode(state, (&(*input).status_bypass))))
	&& ((zcbor_bool_encode(state, (&(*input).status_relay_feedback))))
	&& (((((*input).status_temp_cc >= -5500)
	&& ((*input).status_temp_cc <= 15500)) || (zcbor_error(state, ZCBOR_ERR_WRONG_RANGE), false))
	&& (zcbor_int32_encode(state, (&(*input).status_temp_cc))))
	&& (((((*input).status_supply_mv <= 60000)) || (zcbor_error(state, ZCBOR_ERR_WRONG_RANGE), false))
	&& (zcbor_uint32_encode(state, (&(*input).status_supply_mv))))
	&& (((((*input).status_faults <= UINT16_MAX)) || (zcbor_error(state, ZCBOR_ERR_WRONG_RANGE), false))
	&& (zcbor_uint32_encode(state, (&(*input).status_faults))))
	&& (((((*input).status_drops <= UINT32_MAX)) || (zcbor_error(state, ZCBOR_ERR_WRONG_RANGE), false))
	&& (zcbor_uint32_encode(state, (&(*input).status_drops))))
	&& (((((*input).status_refused <= UINT32_MAX)) || (zcbor_error(state, ZCBOR_ERR_WRONG_RANGE), false))
	&& (zcbor_uint32_encode(state, (&(*input).status_refused))))
	&& (((((*input).status_clock_ms <= UINT32_MAX)) || (zcbor_error(state, ZCBOR_ERR_WRONG_RANGE), false))
	&& (zcbor_uint32_encode(state, (&(*input).status_clock_ms))))) || (zcbor_list_map_end_force_encode(state), false)) && zcbor_list_end_encode(state, 9))));

	log_result(state, res, __func__);
	return res;
}

static bool encode_input_event(
		zcbor_state_t *state, const struct input_event *input)
{
	zcbor_log("%s\r\n", __func__);

	bool res = (((zcbor_list_start_encode(state, 5) && ((((zcbor_uint32_put(state, (7))))
	&& (((((*input).input_event_event_id <= UINT32_MAX)) || (zcbor_error(state, ZCBOR_ERR_WRONG_RANGE), false))
	&& (zcbor_uint32_encode(state, (&(*input).input_event_event_id))))
	&& (((((*input).input_event_source <= 3)) || (zcbor_error(state, ZCBOR_ERR_WRONG_RANGE), false))
	&& (zcbor_uint32_encode(state, (&(*input).input_event_source))))
	&& (((((*input).input_event_edge <= 1)) || (zcbor_error(state, ZCBOR_ERR_WRONG_RANGE), false))
	&& (zcbor_uint32_encode(state, (&(*input).input_event_edge))))
	&& (((((*input).input_event_t_ms <= UINT32_MAX)) || (zcbor_error(state, ZCBOR_ERR_WRONG_RANGE), false))
	&& (zcbor_uint32_encode(state, (&(*input).input_event_t_ms))))) || (zcbor_list_map_end_force_encode(state), false)) && zcbor_list_end_encode(state, 5))));

	log_result(state, res, __func__);
	return res;
}

static bool encode_power_fail(
		zcbor_state_t *state, const struct power_fail *input)
{
	zcbor_log("%s\r\n", __func__);

	bool res = (((zcbor_list_start_encode(state, 2) && ((((zcbor_uint32_put(state, (8))))
	&& (((((*input).power_fail_holdup_ms <= UINT16_MAX)) || (zcbor_error(state, ZCBOR_ERR_WRONG_RANGE), false))
	&& (zcbor_uint32_encode(state, (&(*input).power_fail_holdup_ms))))) || (zcbor_list_map_end_force_encode(state), false)) && zcbor_list_end_encode(state, 2))));

	log_result(state, res, __func__);
	return res;
}

static bool encode_message(
		zcbor_state_t *state, const struct message_r *input)
{
	zcbor_log("%s\r\n", __func__);

	bool res = (((((*input).message_choice == message_hello_m_c) ? ((encode_hello(state, (&(*input).message_hello_m))))
	: (((*input).message_choice == message_heartbeat_m_c) ? ((encode_heartbeat(state, (&(*input).message_heartbeat_m))))
	: (((*input).message_choice == message_set_lamp_m_c) ? ((encode_set_lamp(state, (&(*input).message_set_lamp_m))))
	: (((*input).message_choice == message_set_route_m_c) ? ((encode_set_route(state, (&(*input).message_set_route_m))))
	: (((*input).message_choice == message_ack_m_c) ? ((encode_ack(state, (&(*input).message_ack_m))))
	: (((*input).message_choice == message_greeting_m_c) ? ((encode_greeting(state, (&(*input).message_greeting_m))))
	: (((*input).message_choice == message_status_m_c) ? ((encode_status(state, (&(*input).message_status_m))))
	: (((*input).message_choice == message_input_event_m_c) ? ((encode_input_event(state, (&(*input).message_input_event_m))))
	: (((*input).message_choice == message_power_fail_m_c) ? ((encode_power_fail(state, (&(*input).message_power_fail_m))))
	: false)))))))))));

	log_result(state, res, __func__);
	return res;
}

static bool encode_envelope(
		zcbor_state_t *state, const struct envelope *input)
{
	zcbor_log("%s\r\n", __func__);

	bool res = (((zcbor_list_start_encode(state, 3) && (((((((*input).envelope_ver <= UINT8_MAX)) || (zcbor_error(state, ZCBOR_ERR_WRONG_RANGE), false))
	&& (zcbor_uint32_encode(state, (&(*input).envelope_ver))))
	&& (((((*input).envelope_seq <= UINT16_MAX)) || (zcbor_error(state, ZCBOR_ERR_WRONG_RANGE), false))
	&& (zcbor_uint32_encode(state, (&(*input).envelope_seq))))
	&& ((encode_message(state, (&(*input).envelope_msg))))) || (zcbor_list_map_end_force_encode(state), false)) && zcbor_list_end_encode(state, 3))));

	log_result(state, res, __func__);
	return res;
}



int cbor_encode_envelope(
		uint8_t *payload, size_t payload_len,
		const struct envelope *input,
		size_t *payload_len_out)
{
	zcbor_state_t states[5];

	return zcbor_entry_function(payload, payload_len, (void *)input, payload_len_out, states,
		(zcbor_decoder_t *)encode_envelope, sizeof(states) / sizeof(zcbor_state_t), 1);
}
