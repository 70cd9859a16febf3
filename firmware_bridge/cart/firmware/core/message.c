#include "message.h"

#include "cart_decode.h"
#include "cart_encode.h"
#include "zcbor_decode.h"

bool message_preamble(const uint8_t *payload, size_t length, uint32_t *version, uint32_t *sequence)
{
    zcbor_state_t states[3];

    zcbor_new_decode_state(states, (sizeof states) / (sizeof states[0]), payload, length, 1u, NULL, 0u);
    return zcbor_list_start_decode(states) && zcbor_uint32_decode(states, version) &&
           zcbor_uint32_decode(states, sequence) && (*version <= UINT8_MAX) && (*sequence <= UINT16_MAX);
}

/* The codec checks a string's length alone. */
static bool printable(const struct zcbor_string *text)
{
    bool every = true;

    for (size_t i = 0u; i < text->len; i++) {
        every = every && (text->value[i] >= (uint8_t)' ') && (text->value[i] <= (uint8_t)'~');
    }
    return every;
}

bool message_decode(const uint8_t *payload, size_t length, struct envelope *envelope)
{
    size_t used = 0u;
    bool valid = (cbor_decode_envelope(payload, length, envelope, &used) == ZCBOR_SUCCESS) && (used == length);

    if (valid && (envelope->envelope_msg.message_choice == message_hello_m_c)) {
        valid = printable(&envelope->envelope_msg.message_hello_m.hello_fw);
    }
    return valid;
}

size_t message_encode(const struct envelope *envelope, uint8_t *payload, size_t room)
{
    size_t length = 0u;

    if (cbor_encode_envelope(payload, room, envelope, &length) != ZCBOR_SUCCESS) {
        length = 0u;
    }
    return length;
}
